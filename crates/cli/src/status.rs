//! How a program ends: one table for all of them.

use std::process::ExitCode;

/// What every program says of how it ends, below its long help and in its reference page.
pub const TABLE: &str = "\
Exit status: 0 done, or the answer is yes; 1 refused or failed; 2 wrong usage; 3 the answer is no (predict --explain, \
inspect --against); 4 some guests failed, the images of the others are whole (provision --guests); 128+N ended by \
signal N. Warnings do not change it.";

/// An exit status. That of a signal has no value here: the process ends as the signal would end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Done, or the answer is yes.
    Done = 0,
    /// Refused or failed.
    Failed = 1,
    /// The command line is wrong: what the parser ends with, wherever it finds that.
    WrongUsage = 2,
    /// The question was answered, and the answer is no.
    No = 3,
    /// Some guests failed, and the images of the others are whole.
    SomeFailed = 4,
}

impl Status {
    /// The number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.number())
    }
}
