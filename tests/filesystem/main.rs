//! The room `filesystem`, judged by e2fsck, debugfs, ext4-view, fsck.vfat and mtools.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on shall say so"
)]

mod every_kind_of_ext4_can_be_edited;
mod ext4_edits_replace_and_keep;
mod ext4_image;
mod ext4_paths_stay_in_the_image;
mod ext4_reads_what_others_wrote;
mod ext4_refuses_what_must_not_be_edited;
mod fat_files_are_replaced;
mod fat_image;
mod fat_switches_survive_a_crash;
mod faults;
mod hostile_fat_does_not_crash;
mod hostile_superblocks_do_not_crash;
mod used_blocks_are_those_of_dumpe2fs;

#[path = "../support/mod.rs"]
mod support;
