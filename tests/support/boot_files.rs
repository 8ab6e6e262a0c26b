//! Boot files that firmware starts.

use std::path::{Path, PathBuf};

use firmware::config::Rules;
use firmware::{Database, UefiConfig};

use super::disk::Disk;
use super::image::{ESP, change_partition};
use super::{command, data, run, scratch, succeeds_fed};

/// Puts Debian's shim, which Microsoft has signed, on the EFI system partition of an image, and a kernel image of the
/// tests' own. A firmware with Microsoft's certificates and [`signer`]'s starts them.
pub fn put(image: &Path, table: &Disk) {
    let folder = scratch();
    let shim = unpacked(folder.path(), "shim-debian-16.1.efi.gz");
    let kernel = data("vectors/pe").join("kernel-db-a.efi");
    copy(image, table, &shim, &kernel);
}

/// The certificate of who signed that kernel image, in PEM: the last one in db of a configuration of the vectors.
pub fn signer() -> Vec<u8> {
    let text = std::fs::read(data("vectors/uefi/microsoft-and-a.json")).unwrap();
    let configuration = UefiConfig::from_json(&text, Rules::Ours).unwrap().config;
    let lists = configuration.lists(Database::Db).unwrap();
    let certificate = &lists.last().unwrap().entries[0].data;
    let mut openssl = command("openssl");
    openssl.args(["x509", "-inform", "DER", "-outform", "PEM"]);
    succeeds_fed(&mut openssl, certificate).stdout
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
