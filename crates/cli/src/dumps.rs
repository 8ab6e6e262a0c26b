//! Keys are in this process's memory: nobody gets a dump of it.
//!
//! The pages of keys are left out of dumps by themselves ([`base::secret`]). Copies of a key in registers, on the stack and in
//! the state of a cipher are not, so the whole process writes no core file; and no other process of the same user reads its
//! memory or traces it, unless one traces it already: that one has seen its memory.

use std::fs;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Forbids dumps from here on. Where the system refuses, the work is done all the same.
pub fn forbid() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::debug!(%error, "core files are not forbidden");
    }
    // A tracer would lose sight of /proc/PID.
    if !is_traced() {
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

fn is_traced() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}
