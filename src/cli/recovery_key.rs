//! `print-recovery-key`.

use std::path::Path;

use zeroize::Zeroizing;

use super::message::{Failure, answer};
use crate::provision::recovery_key;

/// Prints the digits of the key in `file`.
pub fn run(file: &Path) -> Result<(), Failure> {
    let key = recovery_key::read(file).map_err(|error| Failure::new(error.into(), None))?;
    answer_digits(&key.text())
}

/// Writes the digits of a key to standard output, in a line.
pub fn answer_digits(digits: &str) -> Result<(), Failure> {
    // A buffer that grew would leave the digits where it was before, unwiped.
    let mut line = Zeroizing::new(String::with_capacity(digits.len() + 1));
    line.push_str(digits);
    line.push('\n');
    answer(&line)
}
