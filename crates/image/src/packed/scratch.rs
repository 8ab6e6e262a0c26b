//! A file beside an output, for plain bytes on their way.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use crate::output::create_beside;
use crate::{Output, Result};
use base::storage::{self, FileStorage, ReadAt};

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
    pub(super) fn finish(self, len_bytes: u64) -> Result<Unpacked> {
        Ok(Unpacked {
            storage: FileStorage::with_len(self.file, len_bytes)?,
        })
    }
}

/// What was unpacked.
#[derive(Debug)]
pub struct Unpacked {
    storage: FileStorage,
}

impl ReadAt for Unpacked {
    fn len_bytes(&self) -> u64 {
        self.storage.len_bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> storage::Result<()> {
        self.storage.read_exact_at(buffer, offset_bytes)
    }

    fn next_data(&self, from_bytes: u64) -> storage::Result<Option<Range<u64>>> {
        self.storage.next_data(from_bytes)
    }
}
