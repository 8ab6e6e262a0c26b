//! Runs of the program that are killed at one of their system calls.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;

use super::workshop::{Workshop, stderr};

/// Runs the program with a fault at a system call, in strace's words: `signal=KILL:when=3`, `error=EIO:when=4+`.
pub fn inject(workshop: &Workshop, call: &str, fault: &str, arguments: &[&str]) -> Output {
    let mut strace = workshop.command("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
    strace.arg(format!("trace={call}"));
    strace.arg("-e").arg(format!("inject={call}:{fault}"));
    strace.arg(workshop.program()).args(arguments);
    strace.output().unwrap()
}

/// Kills the program at its n-th call of this name. False where it ended well before that.
#[track_caller]
pub fn at(workshop: &Workshop, (call, number): (&str, u64), arguments: &[&str]) -> bool {
    let fault = format!("signal=KILL:when={number}");
    let output = inject(workshop, call, &fault, arguments);
    let is_killed = output.status.signal() == Some(9);
    assert!(
        is_killed || output.status.success(),
        "{call} {number}: {output:?}"
    );
    is_killed
}

/// True where `--resume` went on with a conversion; where it says that none is unfinished, `begin` begins one.
#[track_caller]
pub fn resumed(output: &Output, begin: impl FnOnce()) -> bool {
    if output.status.success() {
        return true;
    }
    let said = stderr(output);
    let is_none = said.contains("no conversion in place is unfinished");
    assert!(is_none, "{said}");
    begin();
    false
}
