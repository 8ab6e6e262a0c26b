//! `encrypt-cloud-image encrypt --in-place` and `--resume`; one file a promise.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod a_crash_loses_nothing;
mod a_disk_is_converted_where_it_lies;
mod a_former_life_never_comes_back;
mod a_killed_run_is_resumed;
mod disks;
mod flaky;
mod what_was_changed_is_not_resumed;

#[path = "../support/mod.rs"]
mod support;

use support::all;
