//! Ctrl-C leaves the image with its key, or neither, and the message says which.

use std::os::unix::process::ExitStatusExt as _;

use crate::calls::{self, Call};
use crate::every_call_that_fails::look_at;
use crate::runs::{self, Bench, Run};
use crate::support::workshop::stderr;

/// Interrupts a run at a call, and looks at what is left.
#[track_caller]
fn try_one(bench: &Bench, run: &Run, call: &Call) {
    bench.lay_out(run);
    let output = bench.faulty(run, call, "signal=INT");
    let what = format!("{}, {call:?}: {}", run.name, stderr(&output));
    let is_done = output.status.code() == Some(0);
    assert!(is_done || output.status.signal() == Some(2), "{what}");
    assert_eq!(bench.strangers(run), [""; 0], "{what}");
    look_at(bench, run, &output, &what);
    bench.runs_again(run, &what);
}

#[test]
fn where_names_are_given() {
    runs::for_each(calls::between_names, try_one);
}

#[test]
fn at_every_call() {
    if crate::all() {
        runs::for_each(calls::of, try_one);
    }
}
