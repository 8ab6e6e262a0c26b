//! Where a file system has no unnamed files, temporaries have names: a signal takes them away whatever the program is doing, and one
//! that cannot be removed is told.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::calls::{self, Call};
use crate::encrypted::{FLAGS, WITHOUT_PCRS};
use crate::runs::{self, Bench, Image, Run};
use crate::support::workshop::{error_in, stderr};

/// Two guests, the first with its report in a pipe.
const GUESTS: &str = concat!(
    r#"{"output": "a.img", "srk_pub": "srk.pub", "report": "pipe"}"#,
    "\n",
    r#"{"output": "b.img", "srk_pub": "srk.pub", "recovery_key_out": "b.key"}"#,
);

/// The call with which a run makes its first unnamed file.
fn first_unnamed(bench: &Bench, run: &Run) -> Call {
    let calls = calls::of(bench, run);
    calls
        .into_iter()
        .find(|call| call.name == "openat")
        .unwrap()
}

/// Waits for something.
#[track_caller]
fn wait_until(is_there: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_there() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The first guest's image is whole; the second one's is complete, and has no name yet.
#[test]
fn of_the_next_guest_when_nobody_reads_the_report_of_one() {
    if !crate::ready() {
        return;
    }
    let bench = Bench::new();
    bench.workshop().write("guests.jsonl", GUESTS.as_bytes());
    let mut reader = bench.full_pipe("pipe");
    let guests = ["--guests=guests.jsonl", "plain.img"];
    let arguments = [&["provision"][..], &WITHOUT_PCRS[2..], &guests].concat();
    let child = bench.start_without_unnamed_files(&arguments);
    let partial = |names: Vec<String>| names.iter().any(|name| name.ends_with(".partial"));
    wait_until(|| bench.has("a.img"));
    assert!(partial(bench.workshop().names()));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let talk = stderr(&output);
    assert_eq!(output.status.signal(), Some(15), "{talk}");
    assert!(!partial(bench.workshop().names()), "{talk}");
    assert!(!bench.has("b.img") && !bench.has("b.key"), "{talk}");
    let told: Vec<_> = error_in(&talk)
        .lines()
        .filter(|line| *line != "flushing")
        .collect();
    assert_eq!(
        told,
        [
            "error: line 1: a.img is complete, but: --report: cannot write pipe",
            "  because: interrupted: nobody read it",
            "error: guests.jsonl: interrupted; 1 of 2 images are whole, of the others nothing was left behind",
        ]
    );
    // Nothing of the report came behind what was in the way.
    let mut bytes = Vec::new();
    let _ = reader.read_to_end(&mut bytes);
    assert!(bytes.iter().all(|byte| *byte == b' '));
}

/// A report that is tried out has a name for a moment, and so has a log.
#[test]
fn of_what_is_tried_out() {
    if !crate::ready() {
        return;
    }
    let bench = Bench::new();
    let runs = runs::all();
    let deploy = runs
        .iter()
        .find(|run| !run.before.is_empty() && !run.reports.is_empty());
    let of_log = Run {
        name: "predict a log",
        arguments: [
            &["predict", "--tcg-log=new.json", "--branch=1", "disk.img"],
            &FLAGS[2..],
        ]
        .concat(),
        before: &[],
        images: &[],
        reports: &["new.json"],
    };
    for run in [deploy.unwrap(), &of_log] {
        let unnamed = format!(
            "error=EOPNOTSUPP:when={}",
            first_unnamed(&bench, run).number
        );
        bench.lay_out(run);
        let faults = [("openat", &*unnamed), ("fsync", "signal=TERM:when=1")];
        let output = bench.faults(run, &faults);
        let talk = stderr(&output);
        assert_eq!(output.status.signal(), Some(15), "{}: {talk}", run.name);
        assert_eq!(bench.strangers(run), [""; 0], "{}: {talk}", run.name);
    }
}

/// A temporary that cannot be removed is named, and no message promises that nothing is left.
#[test]
fn or_are_told() {
    if !crate::ready() {
        return;
    }
    let bench = Bench::new();
    let runs = runs::all();
    let run = runs.iter().find(|run| run.name == "encrypt").unwrap();
    let unnamed = format!(
        "error=EOPNOTSUPP:when={}",
        first_unnamed(&bench, run).number
    );
    let failed = |fault: &str| -> (Output, String) {
        bench.lay_out(run);
        let faults = [
            ("openat", &*unnamed),
            ("fsync", fault),
            ("unlink", "error=EACCES"),
        ];
        let output = bench.faults(run, &faults);
        assert_eq!(bench.image(run, run.images[0]), Image::Absent);
        let [left] = &bench.strangers(run)[..] else {
            panic!("{:?}", bench.strangers(run));
        };
        let said = format!(
            "warning: {}/{left} is left behind: it could not be removed (Permission denied (os error 13))\n",
            bench.workshop().folder().display()
        );
        assert!(stderr(&output).contains(&said), "{said}{}", stderr(&output));
        bench.clear();
        let error = error_in(&stderr(&output)).to_owned();
        (output, error)
    };
    let (output, error) = failed("error=EIO");
    assert_eq!(output.status.code(), Some(1));
    assert!(error.starts_with("error: new.img: cannot flush"), "{error}");
    let (output, error) = failed("signal=INT");
    assert_eq!(output.status.signal(), Some(2));
    assert_eq!(error, "error: interrupted\n");
}

/// What fails when a signal has come is told as well.
#[test]
fn and_a_signal_hides_no_failure() {
    if !crate::ready() {
        return;
    }
    let bench = Bench::new();
    let runs = runs::all();
    let run = runs.iter().find(|run| run.images.len() > 1).unwrap();
    let calls = calls::of_names(calls::of(&bench, run));
    let links: Vec<usize> = (0..calls.len())
        .filter(|at| calls[*at].name == "linkat")
        .collect();
    assert_eq!(links.len(), 5, "two keys, two images, a report: {calls:?}");
    bench.lay_out(run);
    let flush = &calls[links[3] + 1];
    assert_eq!(flush.name, "fsync");
    let stop = format!("signal=INT:when={}", flush.number);
    let full = format!("error=EDQUOT:when={}", calls[links[4]].number);
    let output = bench.faults(run, &[("fsync", &stop), ("linkat", &full)]);
    assert_eq!(output.status.signal(), Some(2));
    assert_eq!(
        error_in(&stderr(&output)),
        "error: line 2: b.img is complete, but: --report: cannot write b.json\n  \
         because: Disk quota exceeded (os error 122)\n\
         error: guests.jsonl: interrupted; 2 of 2 images are whole\n"
    );
}
