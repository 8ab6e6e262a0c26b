//! The file of `--report`: written beside its name before there is something to report, it appears behind it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap::error::ErrorKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::args::{EncryptCloudImage, RecoveryOptions};
use crate::files::Named;
use crate::message::{Failure, unanswered};
use crate::signals;
use operations::{Staged, is_device};

/// The file of a report, by its option; standard output is none.
pub fn named(given: Option<&PathBuf>) -> Named<'_> {
    ("--report", given.filter(|path| *path != Path::new("-")))
}

/// Where a report goes.
#[derive(Clone, Copy)]
pub struct ReportFile<'a>(&'a Path);

/// Where a report goes, when it was found that it can be written there.
pub struct CheckedReport<'a> {
    file: ReportFile<'a>,
    /// A pipe or a terminal, which is written as it is. It is open: a pipe was waited for while there was nothing to unwind, and
    /// its reader sees one writer.
    special: Option<File>,
}

/// A report that is written and has no name yet.
pub enum StagedReport<'a> {
    /// It goes to standard output.
    Stdout(String),
    /// It goes into a pipe or a terminal.
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
            let staged = signals::held(|| Staged::new(self.0, b"").map(drop));
            staged.map_err(|error| self.unwritten(error))?;
        }
        Ok(())
    }

    fn is_special(self) -> bool {
        !self.is_stdout() && self.0.exists() && !self.0.is_file() && !is_device(self.0)
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
    /// Gives it its name, behind the image `made`. A reader that does not read holds it up until a signal comes.
    pub fn publish(self, made: &Path) -> Result<(), Failure> {
        let _kept = signals::unwinding();
        let published = match self {
            Self::Stdout(text) => answer_until_stopped(&text),
            Self::Special(special, text, file) => {
                write_until_stopped(special, &text).map_err(|error| file.unwritten(error))
            }
            Self::File(staged, file) => staged.publish().map_err(|error| file.unwritten(error)),
        };
        published.map_err(|failure| failure.after(made))
    }
}

/// Bytes that a pipe takes without blocking, once it says that it takes some (`PIPE_BUF`).
const AT_ONCE_BYTES: usize = 4096;

/// How long a signal waits for its turn.
const TURN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Writes a text into a pipe or a device. Where nobody takes it, a signal ends that.
fn write_until_stopped(mut to: impl Write + AsFd, text: &str) -> io::Result<()> {
    for bytes in text.as_bytes().chunks(AT_ONCE_BYTES) {
        wait_for(&to)?;
        to.write_all(bytes)?;
        to.flush()?;
    }
    Ok(())
}

/// The same for standard output, of which the reader may have closed its end.
fn answer_until_stopped(text: &str) -> Result<(), Failure> {
    match write_until_stopped(io::stdout().lock(), text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unanswered(error)),
        _ => Ok(()),
    }
}

/// Waits until a pipe or a device takes some bytes, or a signal has come.
fn wait_for(to: &impl AsFd) -> io::Result<()> {
    let stop = signals::stop_flag();
    loop {
        let mut wanted = [PollFd::new(to, PollFlags::OUT)];
        match poll(&mut wanted, Some(&TURN)) {
            Ok(0) | Err(Errno::INTR) if stop.is_raised() => {
                return Err(io::Error::other("interrupted: nobody read it"));
            }
            Ok(0) | Err(Errno::INTR) => {}
            // A reader that is gone is told by the write.
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
