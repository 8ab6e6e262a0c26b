//! `print-recovery-key`.

use std::path::Path;

use super::message::{Failure, answer};
use crate::provision::recovery_key;

/// Prints the digits of the key in `file`.
pub fn run(file: &Path) -> Result<(), Failure> {
    let key = recovery_key::read(file).map_err(|error| Failure::new(error.into(), None))?;
    let mut line = key.text();
    line.push('\n');
    answer(&line)
}
