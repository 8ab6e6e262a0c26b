//! What can go wrong with bytes at offsets.

use std::io;

/// A read, write or flush that failed, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The range does not lie within the storage: a truncated image, or a structure that lies.
    #[error("{len_bytes} bytes at offset {offset_bytes} reach beyond the end at {end_bytes}")]
    BeyondEnd {
        /// First byte of the range.
        offset_bytes: u64,
        /// Length of the range.
        len_bytes: u64,
        /// Length of the storage.
        end_bytes: u64,
    },
    /// The operating system could not read.
    #[error("cannot read at offset {offset_bytes}")]
    Read {
        /// Where the read began.
        offset_bytes: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system could not write: no space, a file-size limit, an I/O error.
    #[error("cannot write at offset {offset_bytes}")]
    Write {
        /// Where the write began.
        offset_bytes: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// What was written could not be made durable.
    #[error("cannot flush what was written")]
    Flush(#[source] io::Error),
    /// The length or the extents of a file could not be learnt, or its length not be set.
    #[error("cannot learn or set the extent of the file")]
    Extent(#[source] io::Error),
}

impl From<Error> for io::Error {
    /// The operating system's part of it, where there is one.
    fn from(error: Error) -> Self {
        match error {
            Error::Read { source, .. }
            | Error::Write { source, .. }
            | Error::Flush(source)
            | Error::Extent(source) => source,
            error @ Error::BeyondEnd { .. } => io::Error::other(error),
        }
    }
}

impl Error {
    /// The operating system's part of the error, where there is one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::BeyondEnd { .. } => None,
            Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::Flush(source)
            | Self::Extent(source) => Some(source),
        }
    }
}
