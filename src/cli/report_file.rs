//! The file of `--report`: written beside its name before there is something to report, it appears behind it.

use std::path::Path;

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::args::{EncryptCloudImage, RecoveryOptions};
use super::message::{Failure, answer};
use crate::provision::Staged;

/// Where a report goes.
#[derive(Clone, Copy)]
pub struct ReportFile<'a>(&'a Path);

/// A report that is written and has no name yet.
pub enum StagedReport<'a> {
    /// It goes to standard output.
    Stdout(String),
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

    /// Refuses what cannot be written, before a whole image is read for it. A pipe is opened once alone.
    pub fn check(self) -> Result<(), Failure> {
        if !self.is_stdout() && (!self.0.exists() || self.0.is_file()) {
            Staged::new(self.0, b"").map_err(|error| self.unwritten(error))?;
        }
        Ok(())
    }

    /// Writes the report, under no name.
    pub fn stage(self, text: String) -> Result<StagedReport<'a>, Failure> {
        if self.is_stdout() {
            return Ok(StagedReport::Stdout(text));
        }
        let staged = Staged::new(self.0, text.as_bytes());
        let staged = staged.map_err(|error| self.unwritten(error))?;
        Ok(StagedReport::File(staged, self))
    }

    fn unwritten(self, error: std::io::Error) -> Failure {
        let what = format!("--report: cannot write {}", self.0.display());
        Failure::new(anyhow::Error::new(error).context(what), None)
    }
}

impl StagedReport<'_> {
    /// Gives it its name, behind the image `made`.
    pub fn publish(self, made: &Path) -> Result<(), Failure> {
        let published = match self {
            Self::Stdout(text) => answer(&text),
            Self::File(staged, file) => staged.publish().map_err(|error| file.unwritten(error)),
        };
        published.map_err(|failure| failure.after(made))
    }
}
