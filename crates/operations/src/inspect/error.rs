//! Why an image cannot be inspected, or a question about it not answered.

use std::path::{Path, PathBuf};

use crate::predict::PredictError;
use crate::{About, Error as CommonError, deploy};

/// Why an image cannot be inspected, or a question about it not answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be read as far as its partitions.
    #[error(transparent)]
    Common(#[from] CommonError),
    /// The container cannot be read.
    #[error(transparent)]
    Container(Box<deploy::Error>),
    /// A state cannot be predicted.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// There is no key that anything could be held against.
    #[error("no sealed key is in the image, so there is nothing that a guest could unseal: {what}")]
    NothingSealed {
        /// What the image is instead.
        what: &'static str,
        /// True where `deploy` would seal one.
        can_be_deployed: bool,
    },
    /// A report cannot be opened.
    #[error("--report: cannot read {}", path.display())]
    ReportUnreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A report is none.
    #[error("--report: {}: {problem}", path.display())]
    Report {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: ReportProblem,
    },
}

/// What is wrong with a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReportProblem {
    /// It is longer than any.
    #[error("it has more than 64 MiB, and is not read")]
    TooLong,
    /// It is no JSON.
    #[error("it is no JSON")]
    NotJson,
    /// It lacks what a report has.
    #[error("it is no report of deploy of version 1 with a policy")]
    NotAReport,
    /// It is of a run that sealed nothing.
    #[error(
        "it is of a run that completed another one, and sealed nothing; give the report of the first"
    )]
    NothingSealed,
}

impl From<deploy::Error> for Error {
    fn from(error: deploy::Error) -> Self {
        match error {
            deploy::Error::Common(error) => Self::Common(error),
            error => Self::Container(Box::new(error)),
        }
    }
}

impl Error {
    /// Which file the error is about.
    pub fn about(&self) -> About {
        match self {
            Self::Common(error) => error.about(),
            Self::Container(error) => error.about(),
            Self::Predict(error) if error.is_about_boot_files() => About::Source,
            Self::NothingSealed { .. } => About::Source,
            Self::Predict(_) | Self::ReportUnreadable { .. } | Self::Report { .. } => {
                About::Neither
            }
        }
    }

    /// The way out, where there is one: lines to show below the message. `source` is the image's name.
    pub fn hint(&self, source: &Path) -> Option<String> {
        match self {
            Self::Common(error) => error.hint(source),
            Self::Container(error) => error.hint(source),
            Self::Predict(error) => error.hint(),
            Self::NothingSealed {
                can_be_deployed: true,
                ..
            } => Some("deploy binds it to a guest: encrypt-cloud-image deploy".to_owned()),
            _ => None,
        }
    }
}
