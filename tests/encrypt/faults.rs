//! Faults below the program: a call of the kernel fails, at many points. No output, no temporary, an untouched
//! source, and a message that says which side failed.
//!
//! `strace` injects the faults, so it is the built program that meets them.

use std::process::Output;

use crate::support::container::Container;
use crate::support::image::{ROOT, Shape, image};
use crate::support::trace::Trace;
use crate::support::workshop::{Workshop, state, stderr};
use crate::support::{disk, programs};

/// Runs with one fault: `call`, `error`, and at which of the calls.
fn inject(workshop: &Workshop, call: &str, error: &str, when: &str, arguments: &[&str]) -> Output {
    let mut strace = workshop.command("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]);
    if call == "pread64" {
        // The dynamic loader reads, too.
        strace.arg("-P").arg(workshop.path("source.img"));
    }
    strace.args(["-e", &format!("trace={call}"), "-e"]);
    strace.arg(format!("inject={call}:error={error}:when={when}"));
    strace
        .arg(workshop.program())
        .arg("encrypt")
        .args(arguments)
        .output()
        .unwrap()
}

/// How often a run makes this call; reads count where they are of the source.
fn count(workshop: &Workshop, call: &str) -> usize {
    let (trace, output) = Trace::of(
        workshop,
        &["-s", "0", "-e", &format!("trace={call}")],
        &workshop.program(),
        &[
            "encrypt",
            "--threads",
            "1",
            "-o",
            "counted.img",
            "source.img",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    std::fs::remove_file(workshop.path("counted.img")).unwrap();
    let counts = |arguments: &str| call != "pread64" || arguments.contains("/source.img>");
    trace.calls().filter(|made| counts(made.arguments)).count()
}

/// Some numbers from 1 to `count`: the first, the last, and a few between.
fn some(count: usize) -> Vec<usize> {
    assert!(count > 0);
    let mut numbers: Vec<_> = [1, 2, count / 4, count / 2, count * 3 / 4, count - 1, count].into();
    numbers.retain(|number| (1..=count).contains(number));
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[test]
fn a_call_that_fails_leaves_nothing_and_names_the_side() {
    if !crate::can_judge() || !programs(&["strace"]) {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    let before = state(&source);
    for (call, error, text) in [
        ("pread64", "EIO", "Input/output error (os error 5)"),
        (
            "pwrite64",
            "ENOSPC",
            "No space left on device (os error 28)",
        ),
        ("pwrite64", "EIO", "Input/output error (os error 5)"),
        ("fsync", "EIO", "Input/output error (os error 5)"),
        ("ftruncate", "EFBIG", "File too large (os error 27)"),
        ("linkat", "EIO", "Input/output error (os error 5)"),
    ] {
        for number in some(count(&workshop, call)) {
            let arguments = ["--threads", "1", "-o", "output.img", "source.img"];
            let output = inject(&workshop, call, error, &number.to_string(), &arguments);
            let talk = stderr(&output);
            let what = format!("{call} number {number}: {talk}");
            assert_eq!(state(&source), before, "{what}");
            if call == "fsync" && workshop.path("output.img").exists() {
                // The file was durable and has its name; its folder could not be flushed.
                assert!(
                    talk.contains("the output is complete, but its directory could not be flushed"),
                    "{what}"
                );
                std::fs::remove_file(workshop.path("output.img")).unwrap();
            }
            assert_eq!(output.status.code(), Some(1), "{what}");
            assert_eq!(workshop.names(), ["source.img"], "{what}");
            assert!(talk.contains("error: ") && talk.contains(text), "{what}");
        }
    }
}

#[test]
fn a_failed_rename_in_place_leaves_the_source_alone() {
    if !crate::can_judge() || !programs(&["strace"]) {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    let before = state(&source);
    for call in ["linkat", "rename,renameat,renameat2", "fsync", "pwrite64"] {
        let output = inject(&workshop, call, "EIO", "1", &["source.img"]);
        assert_eq!(output.status.code(), Some(1), "{call}: {}", stderr(&output));
        assert_eq!(state(&source), before, "{call}");
        assert_eq!(workshop.names(), ["source.img"], "{call}");
    }
}

#[test]
fn an_interrupted_call_is_made_again() {
    if !crate::can_judge() || !programs(&["strace"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    for call in ["pread64", "pwrite64"] {
        let arguments = ["--overwrite", "-o", "output.img", "source.img"];
        let output = inject(&workshop, call, "EINTR", "3+5", &arguments);
        assert_eq!(output.status.code(), Some(0), "{call}: {}", stderr(&output));
        let file = workshop.path("output.img");
        let container = Container::open(&file, &disk::read(&file), ROOT);
        assert_eq!(container.test_key(0, &container.unlock_key()), 0);
    }
}

#[test]
fn without_unnamed_files_a_named_temporary_is_used_and_removed() {
    if !crate::can_judge() || !programs(&["strace"]) {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    let before = state(&source);
    // Which of the calls asks for an unnamed file.
    let arguments = [
        "encrypt",
        "--threads",
        "1",
        "-o",
        "output.img",
        "source.img",
    ];
    let options = ["-s", "4096", "-e", "trace=openat"];
    let (trace, output) = Trace::of(&workshop, &options, &workshop.program(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let number = 1 + trace
        .calls()
        .position(|call| call.arguments.contains("O_TMPFILE"))
        .unwrap();
    std::fs::remove_file(workshop.path("output.img")).unwrap();

    let run = |more: &[&str]| {
        let mut strace = workshop.command("strace");
        strace
            .args(["-f", "-qq", "-s", "4096", "-y", "-o"])
            .arg(workshop.path("trace"));
        strace.args([
            "-e",
            "trace=openat,pwrite64,rename,renameat,renameat2",
            "-e",
        ]);
        strace
            .arg(format!("inject=openat:error=EOPNOTSUPP:when={number}"))
            .args(more);
        let output = strace
            .arg(workshop.program())
            .args(arguments)
            .output()
            .unwrap();
        let trace = std::fs::read_to_string(workshop.path("trace")).unwrap();
        std::fs::remove_file(workshop.path("trace")).unwrap();
        assert!(
            trace.contains(".partial>"),
            "a named temporary is in the trace"
        );
        output
    };
    let output = run(&["-e", "inject=pwrite64:error=ENOSPC:when=7"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(workshop.names(), ["source.img"]);
    let output = run(&["-e", "inject=rename,renameat,renameat2:error=EIO"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(workshop.names(), ["source.img"]);
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(workshop.names(), ["output.img", "source.img"]);
    let file = workshop.path("output.img");
    let container = Container::open(&file, &disk::read(&file), ROOT);
    assert_eq!(container.test_key(0, &container.unlock_key()), 0);
    assert_eq!(state(&source), before);
}
