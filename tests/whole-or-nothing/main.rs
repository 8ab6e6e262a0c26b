//! The files that a run makes beside each other: whatever call fails and whatever signal comes in the phase in which they get
//! their names, no image is without its recovery key, no recovery key without its image, and the messages say what is there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod a_late_signal_changes_nothing;
mod calls;
mod every_call_that_fails;
mod every_kill;
mod every_stop;
mod names_of_temporaries_go;
mod no_output_is_another_file;
mod runs;

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

/// True where the judges are there.
fn ready() -> bool {
    encrypted::ready() && support::programs(&["strace"])
}
