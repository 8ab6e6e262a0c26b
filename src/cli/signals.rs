//! Signals: an interruption raises the stop flag, so that the work unwinds and leaves nothing behind;
//! a file-size limit becomes an ordinary write error.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::{flag, low_level};

use super::message::Failure;
use crate::provision::StopFlag;

/// The signal that came last; 0 for none.
static CAME: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Installs the handlers and returns the flag that they raise.
///
/// The second signal of a kind ends the program at once, should unwinding take too long; an unnamed
/// output vanishes all the same.
pub fn install() -> Result<StopFlag, Failure> {
    handlers().map_err(|error| {
        let error = anyhow::Error::new(error).context("cannot handle signals");
        Failure::new(error, None)
    })
}

fn handlers() -> io::Result<StopFlag> {
    let stop = StopFlag::new();
    let came = CAME.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let second = Arc::new(AtomicBool::new(false));
        flag::register_conditional_default(signal, Arc::clone(&second))?;
        flag::register(signal, second)?;
        flag::register(signal, stop.shared())?;
        flag::register_usize(
            signal,
            Arc::clone(came),
            usize::try_from(signal).unwrap_or(0),
        )?;
    }
    // Without a handler the kernel would end the process at a file-size limit; with one the write fails.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    Ok(stop)
}

/// If a signal came, ends the process as that signal would have, so that a shell sees it.
pub fn die_of_the_one_that_came() {
    let signal = CAME.get().map_or(0, |came| came.load(Ordering::Relaxed));
    if signal != 0 {
        let _ = low_level::emulate_default_handler(i32::try_from(signal).unwrap_or(SIGTERM));
    }
}
