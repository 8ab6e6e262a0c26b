//! Code that a hostile image has taken over opens no other file, starts no program and makes no connection.

use std::fs;

use crate::encrypted::{Encrypted, FLAGS, ready};
use crate::support::intruder::{Intruder, got, kernel_can_confine, lay_out, nothing_at};
use crate::support::workshop::stderr;
use crate::support::{exits, programs, run};
use crate::{data, judged};

#[test]
fn foreign_code_in_the_process_gets_at_nothing_else() {
    if !ready() || !programs(&["cc", "python3"]) || !kernel_can_confine() {
        return;
    }
    let image = Encrypted::new().deployed(&FLAGS);
    lay_out(&image.workshop);
    let against = ["--against", "--uefi-config", "uefi-config.json"];
    for arguments in [&[][..], &["--json"], &against] {
        let mut program = Intruder::new(&image.workshop).program(&image.workshop);
        program.arg("inspect").args(arguments).arg("disk.img");
        let talk = stderr(&exits(&mut program, 0));
        assert_eq!(got(&talk), nothing_at(&["read"]));
        let prey = fs::read_dir(image.workshop.path("prey")).unwrap();
        assert_eq!(prey.count(), 1);
    }
}

/// Everything that a command line can name is still read.
#[test]
fn what_is_named_is_read() {
    if !ready() || !programs(&["qemu-img"]) {
        return;
    }
    let image = Encrypted::new();
    let image = image.deployed(&[&FLAGS[..], &["--report", "report.json"]].concat());
    let folders = ["esp/EFI/ubuntu", "far", "state"];
    for folder in folders {
        fs::create_dir_all(image.workshop.path(folder)).unwrap();
    }
    let put = |name: &str, content: &str| image.workshop.write(name, &data::content(content));
    put("esp/EFI/ubuntu/shimx64.efi", "vectors/pe/shim-std.efi");
    put("esp/EFI/ubuntu/grubx64.efi", "vectors/pe/kernel-db-a.efi");
    put("far/kernel.efi", "vectors/pe/kernel-db-a.efi");
    put("earlier.json", "vectors/uefi/dbx-hash.json");
    // By another place, and through a link.
    fs::rename(&image.image, image.workshop.path("far/base")).unwrap();
    let mut create = image.workshop.command("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-b", "far/base", "-F"]);
    run(create.args(["raw", "disk.img"]));
    std::os::unix::fs::symlink("../uefi-config.json", image.workshop.path("state/link")).unwrap();
    let common = [
        "--backing-file",
        "far/base",
        "--uefi-config",
        "state/link",
        "--no-verify-signatures",
        "--report",
        "report.json",
        "--earlier-uefi-config",
        "earlier.json",
    ];
    for boot_files in [
        &[][..],
        &["--esp", "esp"],
        &["--chain", "esp/EFI/ubuntu/shimx64.efi,far/kernel.efi"],
    ] {
        judged(&image, &[&common[..], boot_files].concat());
    }
}
