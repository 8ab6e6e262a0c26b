//! A file beside an output, for plain bytes on their way.

use std::fs::File;
use std::path::Path;

use crate::output::create_beside;
use crate::{Output, Result};
use base::storage::FileStorage;

/// A file that has no name.
#[derive(Debug)]
pub struct Scratch {
    file: File,
}

impl Scratch {
    /// Makes an empty file, readable by its owner alone, in the directory of an output.
    pub fn create(output: &Path) -> Result<Self> {
        let file = create_beside(&Output::directory(output), output)?;
        Ok(Self { file })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its length, and makes a storage of it.
    pub(super) fn finish(self, len_bytes: u64) -> Result<FileStorage> {
        Ok(FileStorage::with_len(self.file, len_bytes)?)
    }
}
