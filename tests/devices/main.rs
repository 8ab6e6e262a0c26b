//! Block devices as source, as output and in place; one file a promise.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod a_device_is_a_source;
mod a_device_is_an_output;
mod a_device_is_converted_where_it_lies;
mod a_device_is_made_for_a_guest;
mod a_former_life_never_comes_back;
mod a_loop_device_is_the_file_that_it_shows;
mod a_part_is_never_taken_for_the_whole;
mod loops;
mod no_other_device_is_in_reach;
mod no_small_file_is_written_over_a_device;

#[path = "../predict/data.rs"]
#[allow(dead_code, reason = "parts of it")]
mod data;
#[path = "../deploy/encrypted.rs"]
#[allow(dead_code, reason = "parts of it")]
mod encrypted;
#[path = "../provision/plain.rs"]
#[allow(dead_code, reason = "parts of it")]
mod plain;
#[path = "../support/mod.rs"]
mod support;

use support::all;

/// True where the programs are there that build images and judge them.
fn ready() -> bool {
    support::programs(&[
        "mke2fs", "debugfs", "dumpe2fs", "e2fsck", "fdisk", "sfdisk", "sgdisk",
    ]) && support::programs(&[
        "mkfs.vfat",
        "fsck.vfat",
        "mcopy",
        "mmd",
        "cryptsetup",
        "setpriv",
    ])
}
