//! The command `encrypt-cloud-image encrypt`, through the built program; one file a promise.

#![allow(
    clippy::format_push_string,
    reason = "scripts for other programs, line by line"
)]

#[path = "../support/mod.rs"]
mod support;

mod judge;

/// True where the programs are there that build the images and judge what became of them.
fn can_judge() -> bool {
    support::programs(&[
        "mke2fs", "debugfs", "dumpe2fs", "e2fsck", "fdisk", "sfdisk", "sgdisk",
    ]) && support::programs(&[
        "mkfs.vfat",
        "fsck.vfat",
        "mcopy",
        "mmd",
        "cryptsetup",
        "qemu-img",
        "setpriv",
    ])
}
