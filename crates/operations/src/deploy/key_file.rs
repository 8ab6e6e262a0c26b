//! The file of a new recovery key: it is there when the image is that the key opens, and with no other.
//!
//! One value owns it from the first byte to the end of a run. It is written, and flushed, while nothing has a name
//! ([`KeyFile::create`]); a run that ends then leaves nothing. It gets its name, durably, right before what it opens gets
//! its own ([`KeyFile::give_name`]): no image is ever there without its key. Then the run says what came of the image: the
//! file stays (dropped, or [`KeyFile::kept`]) or goes ([`KeyFile::take_back`]). [`KeyFile::with`] does these for an image that
//! appears in one step. A process that is killed between the two names leaves the key's file alone.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::Error as CommonError;
use crate::deploy::Error;
use base::secret::SecretBytes;
use base::storage::WriteAt as _;
use image::{self, Finished, Output, Published, Replace, Temporary};

/// The file of a new recovery key, or none where no key is new. Dropped, it stays if it has its name.
#[must_use]
pub(crate) struct KeyFile {
    path: PathBuf,
    state: State,
}

enum State {
    /// No key is new.
    None,
    Unnamed(Finished),
    Named(Published),
}

impl KeyFile {
    /// No file: no key is new.
    pub fn none() -> Self {
        Self {
            path: PathBuf::new(),
            state: State::None,
        }
    }

    /// Writes a key into a new file of mode 0600, which will be `path`.
    pub fn create(path: &Path, key: &SecretBytes) -> Result<Self, Error> {
        let bytes = key.expose();
        let write = || -> image::Result<Finished> {
            let len_bytes = bytes.len() as u64; // usize is at most 64 bits wide
            let output = Output::create(path, len_bytes, Replace::Never, Temporary::default())?;
            output.storage().write_all_at(bytes, 0)?;
            output.finish()
        };
        let path = path.to_owned();
        match write() {
            Ok(finished) => Ok(Self {
                path,
                state: State::Unnamed(finished),
            }),
            Err(error) => Err(unwritten(path, error)),
        }
    }

    /// Gives the file its name, and makes that durable. What the key opens comes next.
    pub fn give_name(&mut self) -> Result<(), Error> {
        let finished = match std::mem::replace(&mut self.state, State::None) {
            State::Unnamed(finished) => finished,
            named => {
                self.state = named;
                return Ok(());
            }
        };
        let unwritten = |error| unwritten(self.path.clone(), error);
        let published = finished.publish(&mut |_| ControlFlow::Continue(()));
        let mut published = published.map_err(unwritten)?;
        let durable = published.durable().map_err(unwritten);
        self.state = State::Named(published);
        durable
    }

    /// `problem` left it unknown whether there is an image that the key opens: the file stays. Returns what the run has to
    /// say.
    pub fn kept(self, problem: Error) -> Error {
        match self.state {
            State::Named(_) => Error::RecoveryKeyKept {
                path: self.path,
                problem: Box::new(problem),
            },
            State::Unnamed(_) | State::None => problem,
        }
    }

    /// There is no image that the key opens, because of `problem`: the file goes. Returns what the run has to say.
    pub fn take_back(self, problem: Error) -> Error {
        let Self { path, state } = self;
        let taken_back = match state {
            State::Named(published) => published.take_back(),
            State::Unnamed(_) | State::None => Ok(()),
        };
        match taken_back {
            Ok(()) => problem,
            Err(source) => Error::RecoveryKeyLeft {
                path,
                source,
                problem: match problem {
                    Error::Common(CommonError::Interrupted) => None,
                    problem => Some(Box::new(problem)),
                },
            },
        }
    }

    /// Gives the file its name, then the image its own by `image`, whose error says that there is none.
    pub fn with<T>(mut self, image: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        match self.give_name().and_then(|()| image()) {
            Ok(made) => Ok(made),
            Err(problem) => Err(self.take_back(problem)),
        }
    }
}

/// Why there is no file of a new key.
fn unwritten(path: PathBuf, error: image::Error) -> Error {
    match error {
        image::Error::Exists | image::Error::DanglingLink | image::Error::TargetNotAFile { .. } => {
            Error::RecoveryKeyExists { path }
        }
        error => Error::RecoveryKeyOut {
            path,
            source: io::Error::from(error),
        },
    }
}
