//! Boot files that real firmware starts: Debian's shim, which Microsoft has signed, and in the place of the kernel a
//! small program that Debian has signed.

use std::path::Path;

use super::disk::Disk;
use super::image::{ESP, change_partition};
use super::{command, data, run, scratch};

/// Puts them on the EFI system partition of an image.
pub fn put(image: &Path, table: &Disk) {
    let folder = scratch();
    let shim = unpacked(folder.path(), "shim-debian-16.1.efi.gz");
    let program = unpacked(folder.path(), "fwupd-debian-1.4.efi.signed.gz");
    change_partition(image, table, ESP, |esp| {
        for (from, to) in [
            (&shim, "EFI/BOOT/BOOTX64.EFI"),
            (&shim, "EFI/ubuntu/shimx64.efi"),
            (&program, "EFI/ubuntu/grubx64.efi"),
        ] {
            let mut mcopy = command("mcopy");
            mcopy.env("MTOOLS_SKIP_CHECK", "1").arg("-o").arg("-i");
            run(mcopy.arg(esp).arg(from).arg(format!("::{to}")));
        }
    });
}

fn unpacked(folder: &Path, name: &str) -> std::path::PathBuf {
    let file = folder.join(name);
    std::fs::copy(data("vectors/pe").join(name), &file).unwrap();
    run(command("gzip").arg("-d").arg(&file));
    file.with_extension("")
}
