//! SIGKILL leaves the image with its key, or the key alone, whose name a second run tells.

use crate::calls::{self, Call};
use crate::runs::{self, Bench, Image, Run};
use crate::support::workshop::stderr;

/// Kills a run at a call, and looks at what is left.
#[track_caller]
fn try_one(bench: &Bench, run: &Run, call: &Call) {
    bench.lay_out(run);
    let output = bench.faulty(run, call, "signal=KILL");
    let what = format!("{}, {call:?}: {}", run.name, stderr(&output));
    let mut strangers = bench.strangers(run);
    // Between the link and the rename of an image that replaces a file, and of a report that does.
    strangers.retain(|name| !name.ends_with(".finished"));
    assert_eq!(strangers, [""; 0], "{what}");
    for (name, key) in run.images {
        let has_key = key.is_some_and(|key| bench.has(key));
        if bench.image(run, (name, *key)) == Image::Whole {
            assert_eq!(has_key, key.is_some(), "{what}");
        }
    }
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
