//! `print-recovery-key`.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fstat};
use zeroize::Zeroizing;

use crate::args::RecoveryOptions;
use crate::message::{Failure, answer};
use operations::recovery_key;

/// Prints the digits of the key in `file`.
pub fn run(file: &Path) -> Result<(), Failure> {
    if is_stdout_closed() {
        return Err(Failure::new(
            anyhow::anyhow!("standard output is closed"),
            None,
        ));
    }
    let key = recovery_key::read(file).map_err(|error| Failure::new(error.into(), None))?;
    answer_digits(&key.text())
}

/// Refuses `--print` where standard output is closed, before there is a key whose digits would be lost.
pub fn check_output(given: &RecoveryOptions) -> Result<(), Failure> {
    if given.print && is_stdout_closed() {
        let what = anyhow::anyhow!("--print: standard output is closed");
        return Err(Failure::new(what, None));
    }
    Ok(())
}

/// A program of Rust that is started with a closed standard output has `/dev/null` there, open for reading as well; a shell
/// opens that for writing alone.
fn is_stdout_closed() -> bool {
    let stdout = std::io::stdout();
    let is_both_ways = fcntl_getfl(&stdout).is_ok_and(|flags| flags.contains(OFlags::RDWR));
    let null = std::fs::metadata("/dev/null").map(|null| null.rdev());
    is_both_ways && fstat(&stdout).is_ok_and(|found| null.is_ok_and(|null| null == found.st_rdev))
}

/// Writes the digits of a key to standard output, in a line.
pub fn answer_digits(digits: &str) -> Result<(), Failure> {
    // A buffer that grew would leave the digits where it was before, unwiped.
    let mut line = Zeroizing::new(String::with_capacity(digits.len() + 1));
    line.push_str(digits);
    line.push('\n');
    answer(&line)
}
