//! Why a prediction fails, from the files it starts with.

use std::path::PathBuf;

use crate::{efi, measure, storage};

/// Why a prediction fails.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// A directory could not be listed.
    #[error("cannot list the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no shim where it must be.
    #[error("there is no EFI/ubuntu/shimx64.efi on the EFI system partition")]
    NoShim,
    /// A boot file cannot be read.
    #[error("{file}: cannot be read")]
    Unreadable {
        /// Its name.
        file: String,
        /// Why.
        source: storage::Error,
    },
    /// A boot file's name belongs to a directory.
    #[error("{file}: is a directory, not a boot file")]
    IsDirectory {
        /// Its name.
        file: String,
    },
    /// A boot file is no program that firmware could load.
    #[error("{file}: {problem}")]
    Program {
        /// Its name.
        file: String,
        /// Why.
        problem: efi::Error,
    },
    /// A chain is longer than what is known.
    #[error(
        "{count} programs in one chain: what is measured is known for one that firmware starts, and for shim and a kernel"
    )]
    ChainLength {
        /// How many were given.
        count: usize,
    },
    /// The prediction itself.
    #[error(transparent)]
    Measure(#[from] measure::Error),
}
