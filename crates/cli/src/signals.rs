//! Signals. A signal ends the program at once, as it would any other, except where there is something to unwind: then it
//! raises the stop flag, so that the work ends at its next step and takes back what it made. A file-size limit becomes an
//! ordinary write error.
//!
//! The kernel does to process 1 of a container nothing that the program has not asked for: what a signal does by default is
//! not done there, and neither is an abort. So process 1 ends by the status that a shell gives for a signal, 128 + N.

use std::io;
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::{flag, low_level};

use operations::StopFlag;

/// What the handlers look at, and what they leave.
#[derive(Default)]
struct Signals {
    /// The signal that came last; 0 for none.
    came: Arc<AtomicUsize>,
    /// There is nothing to unwind.
    at_once: Arc<AtomicBool>,
    stop: StopFlag,
}

static SIGNALS: OnceLock<Signals> = OnceLock::new();

fn signals() -> &'static Signals {
    SIGNALS.get_or_init(Signals::default)
}

/// Installs the handlers: from here on a signal ends the program at once.
pub fn install() -> io::Result<()> {
    let signals = signals();
    signals.at_once.store(true, Ordering::Relaxed);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // The second signal of a kind ends the program at once, should unwinding take too long.
        let second = Arc::new(AtomicBool::new(false));
        for condition in [&signals.at_once, &second] {
            end_where(signal, Arc::clone(condition))?;
        }
        flag::register(signal, second)?;
        flag::register(signal, signals.stop.shared())?;
        let number = usize::try_from(signal).unwrap_or(0);
        flag::register_usize(signal, Arc::clone(&signals.came), number)?;
    }
    // Without a handler the kernel would end the process at a file-size limit; with one the write fails.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}

/// Lets a signal end the program while a condition holds.
fn end_where(signal: i32, condition: Arc<AtomicBool>) -> io::Result<()> {
    if is_process_1() {
        flag::register_conditional_shutdown(signal, status(signal), condition)?;
    } else {
        flag::register_conditional_default(signal, condition)?;
    }
    Ok(())
}

/// Whether a signal is kept for [`stop_flag`] or ends the program; as before, when this is dropped.
#[must_use]
pub struct Unwinding {
    before: bool,
}

impl Unwinding {
    /// What the run came to is final: a signal changes nothing any more, neither what is there nor the exit status. A second one
    /// of its kind ends the program still.
    pub fn until_the_end(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unwinding {
    fn drop(&mut self) {
        signals().at_once.store(self.before, Ordering::Relaxed);
    }
}

/// From here on there is something to unwind: a signal raises the flag.
pub fn unwinding() -> Unwinding {
    Unwinding {
        before: signals().at_once.swap(false, Ordering::Relaxed),
    }
}

/// Does something short that takes back what it made: a signal waits for its end, and ends the program then.
pub fn held<T>(work: impl FnOnce() -> T) -> T {
    let kept = unwinding();
    let done = work();
    drop(kept);
    if signals().at_once.load(Ordering::Relaxed) {
        die_of_the_one_that_came();
    }
    done
}

/// The same, unless it may wait for somebody.
pub fn held_unless<T>(waits: bool, work: impl FnOnce() -> T) -> T {
    if waits { work() } else { held(work) }
}

/// What a signal raises.
pub fn stop_flag() -> StopFlag {
    signals().stop.clone()
}

/// If a signal came, ends the process as that signal would have, so that a shell sees it.
pub fn die_of_the_one_that_came() {
    let signal = signals().came.load(Ordering::Relaxed);
    if signal != 0 {
        let signal = i32::try_from(signal).unwrap_or(SIGTERM);
        if is_process_1() {
            exit(status(signal));
        }
        let _ = low_level::emulate_default_handler(signal);
    }
}

fn is_process_1() -> bool {
    std::process::id() == 1
}

/// What a shell makes of a process that a signal has ended.
fn status(signal: i32) -> i32 {
    128 + signal
}
