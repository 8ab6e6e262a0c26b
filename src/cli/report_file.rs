//! The file of `--report`: written beside its name before there is something to report, it appears behind it.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::args::{EncryptCloudImage, RecoveryOptions};
use super::message::{Failure, answer};
use super::signals;
use crate::provision::Staged;

/// Where a report goes.
#[derive(Clone, Copy)]
pub struct ReportFile<'a>(&'a Path);

/// Where a report goes, when it was found that it can be written there.
pub struct CheckedReport<'a> {
    file: ReportFile<'a>,
    /// A pipe or a device, which is written as it is. It is open: a pipe was waited for while there was nothing to unwind, and
    /// its reader sees one writer.
    special: Option<File>,
}

/// A report that is written and has no name yet.
pub enum StagedReport<'a> {
    /// It goes to standard output.
    Stdout(String),
    /// It goes into a pipe or a device.
    Special(&'a File, String, ReportFile<'a>),
    /// It goes into a file.
    File(Staged, ReportFile<'a>),
}

impl<'a> ReportFile<'a> {
    /// The file that was named, or the end of the program where both would go to standard output.
    pub fn new(given: Option<&'a Path>, recovery: &RecoveryOptions) -> Option<Self> {
        let this = Self(given?);
        if this.is_stdout() && recovery.print {
            let message = "--report - and --print both write to standard output";
            EncryptCloudImage::command()
                .error(ErrorKind::ArgumentConflict, message)
                .exit();
        }
        Some(this)
    }

    /// A file, whatever its name.
    pub fn of(path: &'a Path) -> Self {
        Self(path)
    }

    fn is_stdout(self) -> bool {
        self.0 == Path::new("-")
    }

    /// Refuses what cannot be written, before a whole image is read for it. A pipe without a reader is waited for.
    pub fn check(self) -> Result<CheckedReport<'a>, Failure> {
        self.try_out()?;
        let special = if self.is_special() {
            let opened = OpenOptions::new().write(true).open(self.0);
            Some(opened.map_err(|error| self.unwritten(error))?)
        } else {
            None
        };
        Ok(CheckedReport {
            file: self,
            special,
        })
    }

    /// The same where nothing will be written: nothing is waited for.
    pub fn try_out(self) -> Result<(), Failure> {
        if !self.is_stdout() && !self.is_special() {
            Staged::new(self.0, b"").map_err(|error| self.unwritten(error))?;
        }
        Ok(())
    }

    fn is_special(self) -> bool {
        !self.is_stdout() && self.0.exists() && !self.0.is_file()
    }

    fn unwritten(self, error: std::io::Error) -> Failure {
        let what = format!("--report: cannot write {}", self.0.display());
        Failure::new(anyhow::Error::new(error).context(what), None)
    }
}

impl<'a> CheckedReport<'a> {
    /// Writes the report, under no name.
    pub fn stage(&'a self, text: String) -> Result<StagedReport<'a>, Failure> {
        let file = self.file;
        if file.is_stdout() {
            return Ok(StagedReport::Stdout(text));
        }
        if let Some(special) = &self.special {
            return Ok(StagedReport::Special(special, text, file));
        }
        let staged = Staged::new(file.0, text.as_bytes());
        let staged = staged.map_err(|error| file.unwritten(error))?;
        Ok(StagedReport::File(staged, file))
    }
}

impl StagedReport<'_> {
    /// Gives it its name, behind the image `made`.
    pub fn publish(self, made: &Path) -> Result<(), Failure> {
        // The image is whole: a reader that does not read holds up nothing that has to be unwound.
        let _kept = (!matches!(self, Self::File(..))).then(signals::at_once);
        let published = match self {
            Self::Stdout(text) => answer(&text),
            Self::Special(mut special, text, file) => special
                .write_all(text.as_bytes())
                .map_err(|error| file.unwritten(error)),
            Self::File(staged, file) => staged.publish().map_err(|error| file.unwritten(error)),
        };
        published.map_err(|failure| failure.after(made))
    }
}
