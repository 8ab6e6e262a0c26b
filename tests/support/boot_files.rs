//! Boot files that firmware starts.

use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::image::{ESP, change_partition};
use super::{command, data, run, scratch};

/// Puts Debian's shim, which Microsoft has signed, on the EFI system partition of an image, and in the place of the
/// kernel a small program that Debian has signed. Every firmware with Microsoft's certificates starts them.
pub fn put(image: &Path, table: &Disk) {
    let folder = scratch();
    let shim = unpacked(folder.path(), "shim-debian-16.1.efi.gz");
    let program = unpacked(folder.path(), "fwupd-debian-1.4.efi.signed.gz");
    copy(image, table, &shim, &program);
}

/// Puts a shim and a kernel there that are signed by keys of the tests' own. `vectors/uefi/std.json` describes a firmware
/// that starts them.
pub fn put_of_tests(image: &Path, table: &Disk) {
    let file = |name: &str| data("vectors/pe").join(name);
    copy(
        image,
        table,
        &file("shim-std.efi"),
        &file("kernel-vendor-1.efi"),
    );
}

fn copy(image: &Path, table: &Disk, shim: &Path, kernel: &Path) {
    change_partition(image, table, ESP, |esp| {
        for (from, to) in [
            (shim, "EFI/BOOT/BOOTX64.EFI"),
            (shim, "EFI/ubuntu/shimx64.efi"),
            (kernel, "EFI/ubuntu/grubx64.efi"),
        ] {
            let mut mcopy = command("mcopy");
            mcopy.env("MTOOLS_SKIP_CHECK", "1").arg("-o").arg("-i");
            run(mcopy.arg(esp).arg(from).arg(format!("::{to}")));
        }
    });
}

fn unpacked(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::copy(data("vectors/pe").join(name), &file).unwrap();
    run(command("gzip").arg("-d").arg(&file));
    file.with_extension("")
}
