//! Disks that held something else before: what a sparse copy leaves of it is never taken for what is there; one file a
//! promise.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod a_container_in_another_partition_is_not_the_root;
mod a_killed_conversion_goes_on_with_itself;
mod a_lost_primary_header_is_not_made_up_for;
mod an_old_header_copy_is_not_the_container;
mod heads_beside_a_superblock_do_no_harm;
mod past;
mod what_may_be_two_things_is_refused;

#[path = "../support/mod.rs"]
mod support;

use support::all;
