//! A call that fails leaves the image with its key, or neither, and a message that says which.

use std::process::Output;

use crate::calls::{self, Call};
use crate::runs::{self, Bench, Image, Run};
use crate::support::workshop::{error_in, stderr};

/// Answers of a disk, a quota, a policy and a file system that knows less.
const ERRORS: [&str; 11] = [
    "EIO",
    "ENOSPC",
    "EDQUOT",
    "EPERM",
    "EACCES",
    "EINVAL",
    "EOPNOTSUPP",
    "ENOSYS",
    "EROFS",
    "EMFILE",
    "EINTR",
];

/// Runs it with one call that fails, and looks at what is left.
#[track_caller]
fn try_one(bench: &Bench, run: &Run, call: &Call, error: &str) {
    bench.lay_out(run);
    let output = bench.faulty(run, call, &format!("error={error}"));
    let what = format!("{}, {call:?}, {error}: {}", run.name, stderr(&output));
    let some = run.images.len() > 1
        && run
            .images
            .iter()
            .any(|(name, key)| bench.image(run, (name, *key)) == Image::Whole);
    match output.status.code() {
        Some(0 | 1) => {}
        Some(4) => assert!(some, "{what}"),
        _ => panic!("{what}"),
    }
    assert_eq!(bench.strangers(run), [""; 0], "{what}");
    look_at(bench, run, &output, &what);
    bench.runs_again(run, &what);
}

/// What is there is what belongs together, and what the message says.
#[track_caller]
pub fn look_at(bench: &Bench, run: &Run, output: &Output, what: &str) {
    let talk = stderr(output);
    let is_done = output.status.code() == Some(0);
    for (name, key) in run.images {
        let image = bench.image(run, (name, *key));
        let has_key = key.is_some_and(|key| bench.has(key));
        match &image {
            Image::Absent | Image::AsBefore | Image::WithoutKeyslot => {
                assert!(!is_done, "{what}");
                assert!(!talk.contains("is complete"), "{what}");
                let stays = key.is_some_and(|key| talk.contains(&format!("{key} stays: ")));
                assert!(
                    !has_key || stays && image == Image::WithoutKeyslot,
                    "{what}"
                );
            }
            Image::Whole => {
                assert_eq!(has_key, key.is_some(), "{what}");
                let is_told = [
                    "is complete",
                    &format!("{name}: provisioned"),
                    "stays: a keyslot of the image may have its key",
                    "do not ship the image before",
                ];
                assert!(
                    is_done || is_told.iter().any(|told| talk.contains(told)),
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn of_those_that_give_names() {
    if !crate::ready() {
        return;
    }
    let bench = Bench::new();
    for (index, run) in runs::all().iter().enumerate() {
        let calls = calls::of_names(calls::of(&bench, run));
        let calls = calls::that_name_and_flush(&calls);
        assert!(calls.len() >= 2, "{calls:?}");
        // Every other call, with another answer for each.
        for (number, call) in calls.iter().enumerate().skip(index % 2).step_by(2) {
            let error = ERRORS[(index * 3 + number) % ERRORS.len()];
            try_one(&bench, run, call, error);
        }
    }
}

/// A directory that its file system does not flush is no failure, and one whose disk fails takes nothing back.
#[test]
fn the_flush_of_a_directory() {
    if !crate::ready() {
        return;
    }
    let bench = Bench::new();
    let runs = runs::all();
    let run = runs.iter().find(|run| run.name == "provision").unwrap();
    let calls = calls::of_names(calls::of(&bench, run));
    let position = calls.iter().rposition(|call| call.name == "linkat");
    let links = calls.iter().filter(|call| call.name == "linkat").count();
    assert_eq!(links, 3, "key, image and report: {calls:?}");
    let of_image = calls.iter().filter(|call| call.name == "linkat").nth(1);
    let position = position.min(calls.iter().position(|call| Some(call) == of_image));
    let flush = &calls[position.unwrap() + 1];
    assert_eq!(flush.name, "fsync");
    for (error, code) in [("EINVAL", 0), ("EOPNOTSUPP", 0), ("ENOSYS", 0), ("EIO", 1)] {
        bench.lay_out(run);
        let output = bench.faulty(run, flush, &format!("error={error}"));
        let talk = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{error}: {talk}");
        for file in ["new.img", "new.key", "new.json"] {
            assert!(bench.has(file), "{error}: {file}: {talk}");
        }
        look_at(&bench, run, &output, error);
        if code == 1 {
            let said = "error: new.img: the output is complete, but its directory could not be flushed\n  \
                        because: Input/output error (os error 5)\n\
                        hint: its name may be lost if the machine fails now: find out what is wrong with the file system, then run sync\n";
            assert!(talk.ends_with(said), "{talk}");
        }
    }
}

/// What a run says of a key's file that is not where it should be.
#[test]
fn of_those_that_take_a_key_back() {
    if !crate::ready() {
        return;
    }
    let bench = Bench::new();
    let runs = runs::all();
    let run = |name: &str| runs.iter().find(|run| run.name == name).unwrap();
    // The link of the image fails, and the key's file cannot be removed.
    let copy = run("deploy a copy, for systemd");
    let calls = calls::that_name(calls::of_names(calls::of(&bench, copy)));
    bench.lay_out(copy);
    let fault = format!("error=EPERM:when={}", calls[1].number);
    let faults = [(calls[1].name.as_str(), &*fault), ("unlink", "error=EROFS")];
    let output = bench.faults(copy, &faults);
    let said = "error: --recovery-key-out: new.key is left behind, and opens nothing: it could not be removed (Read-only file system (os error 30))\n  \
                because: cannot give the finished output its name\n  \
                because: Operation not permitted (os error 1)\n\
                hint: rm new.key\n";
    assert_eq!(error_in(&stderr(&output)), said);
    assert!(bench.has("new.key") && !bench.has("new.img"));

    // The flush of the first header copy fails: the key's file stays, since that copy may be on the disk.
    let change = run("deploy a file where it lies");
    let calls = calls::of_names(calls::of(&bench, change));
    let named = calls.iter().position(|call| call.name == "linkat").unwrap();
    let flush = &calls[named + 2];
    assert_eq!(flush.name, "fsync");
    bench.lay_out(change);
    let output = bench.faulty(change, flush, "error=EIO");
    let said = "error: work.img: new.key stays: a keyslot of the image may have its key\n  \
                because: writing the first LUKS2 header copy\n  \
                because: cannot flush what was written\n  \
                because: Input/output error (os error 5)\n\
                hint: run deploy again when the cause is gone; do not ship the image before\n";
    assert_eq!(error_in(&stderr(&output)), said);
    look_at(&bench, change, &output, said);
    bench.runs_again(change, said);
}

/// A copy that cannot be written is no image that could be shipped.
#[test]
fn of_a_copy_there_is_nothing_to_ship() {
    if !crate::ready() {
        return;
    }
    let bench = Bench::new();
    let runs = runs::all();
    let copy = runs
        .iter()
        .find(|run| run.name == "deploy a copy, for systemd")
        .unwrap();
    let calls = calls::of_names(calls::of(&bench, copy));
    let flush = calls.iter().find(|call| call.name == "fsync").unwrap();
    bench.lay_out(copy);
    let output = bench.faulty(copy, flush, "error=EIO");
    let talk = error_in(&stderr(&output)).to_owned();
    assert!(talk.contains("Input/output error"), "{talk}");
    assert!(!talk.contains("run deploy again"), "{talk}");
}

/// An image that is there without its report is not one that is not there.
#[test]
fn of_a_report() {
    if !crate::ready() {
        return;
    }
    let bench = Bench::new();
    let runs = runs::all();
    let run = runs.iter().find(|run| run.name == "provision").unwrap();
    let calls = calls::that_name(calls::of_names(calls::of(&bench, run)));
    bench.lay_out(run);
    let output = bench.faulty(run, &calls[2], "error=EDQUOT");
    let said = "error: new.img is complete, but: --report: cannot write new.json\n  \
                because: Disk quota exceeded (os error 122)\n";
    assert_eq!(error_in(&stderr(&output)), said);
    look_at(&bench, run, &output, said);
    assert!(!bench.has("new.json"));
}

#[test]
fn each_in_every_way() {
    if !crate::all() || !crate::ready() {
        return;
    }
    let bench = Bench::new();
    for run in runs::all() {
        let calls = calls::of(&bench, &run);
        let names = calls::of_names(calls.clone());
        for (number, call) in calls.iter().enumerate() {
            let (from, count) = if names.contains(call) {
                (0, ERRORS.len())
            } else {
                (number, 2)
            };
            for error in ERRORS.iter().cycle().skip(from).take(count) {
                try_one(&bench, &run, call, error);
            }
        }
    }
}
