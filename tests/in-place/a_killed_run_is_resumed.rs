//! A run of the program that is killed, interrupted or fails says what to do, and `--resume` completes it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;

use crate::all;
use crate::disks::{Roomy, ready};
use crate::flaky::Coins;
use crate::support::image::Shape;
use crate::support::programs;
use crate::support::trace::Trace;
use crate::support::workshop::{Workshop, error_in, stderr, stdout};

const CALLS: &str = "pwrite64,fsync";

/// Runs the program with a fault at a call, counted over all that write or flush.
pub fn inject(workshop: &Workshop, call: &str, what: &str, arguments: &[&str]) -> Output {
    let mut strace = workshop.command("strace");
    strace.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={CALLS}"),
        "-e",
    ]);
    strace.arg(format!("inject={call}:{what}"));
    strace
        .arg(workshop.program())
        .arg("encrypt")
        .args(arguments);
    strace.output().unwrap()
}

/// Resumes until it is complete; begins again where nothing had begun. Returns how often it was resumed.
pub fn complete(workshop: &Workshop) -> usize {
    let resume = workshop
        .encrypt()
        .args(["--resume", "source.img"])
        .output()
        .unwrap();
    if resume.status.success() {
        return 1;
    }
    let talk = stderr(&resume);
    if talk.contains("nothing is left to resume") {
        return 0; // killed when all was done
    }
    let nothing = "error: source.img: no conversion in place is unfinished in the root partition\n\
                   hint: leave --resume out to begin\n";
    assert_eq!(talk, nothing);
    let begin = workshop
        .encrypt()
        .args(["--in-place", "source.img"])
        .output()
        .unwrap();
    assert_eq!(begin.status.code(), Some(0), "{}", stderr(&begin));
    0
}

#[test]
fn after_sigkill_at_random_calls() {
    if !ready() || !programs(&["strace"]) {
        return;
    }
    let roomy = Roomy::of(Shape::Stock);
    let workshop = Workshop::new();
    let arguments = ["encrypt", "--threads=1", "--in-place", "source.img"];
    roomy.put(&workshop);
    let options = ["-s", "0", "-e", "trace=pwrite64,fsync"];
    let (trace, output) = Trace::of(&workshop, &options, &workshop.program(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let count = |call: &str| trace.calls().filter(|made| made.name == call).count() as u64;
    let mut coins = Coins(17);
    let runs = if all() { 30 } else { 6 };
    let mut resumed = 0;
    for run in 0..runs {
        let call = ["pwrite64", "fsync"][run % 2];
        let number = 1 + coins.below(count(call));
        let disk = roomy.put(&workshop);
        let what = format!("signal=KILL:when={number}");
        let killed = inject(&workshop, call, &what, &arguments[1..]);
        assert_eq!(killed.status.signal(), Some(9), "{call} {number}");
        resumed += complete(&workshop);
        roomy.judge(&disk);
    }
    println!("{resumed} of {runs} were resumed");
    assert!(resumed > 0);
}

#[test]
fn after_a_write_that_failed() {
    if !ready() || !programs(&["strace"]) {
        return;
    }
    let roomy = Roomy::of(Shape::Stock);
    let workshop = Workshop::new();
    let disk = roomy.put(&workshop);
    // The chunks come after table, tail and head.
    let arguments = ["--threads=1", "--in-place", "source.img"];
    let failed = inject(&workshop, "pwrite64", "error=EIO:when=15", &arguments);
    assert_eq!(failed.status.code(), Some(1));
    let talk = stderr(&failed);
    let error = error_in(&talk);
    assert!(
        error.starts_with("error: source.img: cannot write at offset "),
        "{error}"
    );
    let rest = "  because: Input/output error (os error 5)\n\
                hint: run again with --resume when the cause is gone; until then neither boot nor mount the disk\n";
    assert!(error.ends_with(rest), "{error}");
    assert_eq!(complete(&workshop), 1);
    roomy.judge(&disk);
}

#[test]
fn after_an_interruption() {
    if !ready() || !programs(&["strace"]) {
        return;
    }
    let roomy = Roomy::of(Shape::Stock);
    let workshop = Workshop::new();
    let disk = roomy.put(&workshop);
    let arguments = ["--threads=1", "--in-place", "source.img"];
    // With the first chunk: the next one is not begun.
    let stopped = inject(&workshop, "pwrite64", "signal=TERM:when=14", &arguments);
    assert_eq!(stopped.status.signal(), Some(15), "{}", stderr(&stopped));
    let talk = stderr(&stopped);
    let error = error_in(&talk);
    let total = roomy.expected().root_last_lba + 1 - roomy.source.geometry.root_first_lba;
    let total = total * 512 - (16 << 20);
    assert_eq!(
        error,
        format!(
            "error: source.img: interrupted; 16777216 of {total} bytes are converted\n\
             hint: run again with --resume; until then neither boot nor mount the disk\n"
        )
    );
    let plan = workshop
        .encrypt()
        .args(["--resume", "--dry-run", "source.img"])
        .output()
        .unwrap();
    assert_eq!(
        stdout(&plan),
        "the conversion goes on: 16.0 MiB of 47.9 MiB are converted\n"
    );
    assert_eq!(complete(&workshop), 1);
    roomy.judge(&disk);
}
