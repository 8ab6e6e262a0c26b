//! The command `encrypt-cloud-image encrypt`, through the built program; one file a promise.

#![allow(
    clippy::format_push_string,
    reason = "scripts for other programs, line by line"
)]

#[path = "../support/mod.rs"]
mod support;

use support::all;

mod backing_files;
mod bad_images;
mod bad_partition_tables;
mod bad_root_filesystems;
mod cloud_init;
mod confined;
mod conversion;
mod customisations;
mod decrypts_to_the_source;
mod dry_run;
mod faults;
mod formats;
mod free_space;
mod hostile_links;
mod in_place;
mod judge;
mod kernel_efi;
mod killed;
mod layout;
mod memory;
mod no_room;
mod no_root;
mod oracle;
mod ordinary_user;
mod output_file;
mod packed;
mod parameters;
mod plaintext;
mod profiles;
mod refusal;
mod source_is_read_once;
mod usage;
mod vhd;

use support::image::{SHAPES, Shape};

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

/// All shapes that are large enough for every kind of conversion.
fn full_shapes() -> Vec<Shape> {
    SHAPES
        .into_iter()
        .filter(|shape| *shape != Shape::Tiny)
        .collect()
}
