//! The files below a source that holds the changes to another one: those that the user named, and no others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::error::Error;
use image::{self, BackingFile, Lock, Source};

/// Files that are open, from the top down.
#[derive(Clone, Default)]
pub(crate) struct BackingFiles {
    sources: Vec<Arc<Source>>,
    files: Vec<BackingFile>,
}

impl BackingFiles {
    /// Opens and locks the files.
    pub fn open(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut opened = Self::default();
        for path in paths {
            let failed = |problem| {
                let (path, problem) = (path.clone(), Box::new(problem));
                Error::SourceFile(image::Error::BackingFile { path, problem })
            };
            let source = Arc::new(Source::open(path, Lock::Shared).map_err(failed)?);
            let disk_end_bytes = match gpt::disk_end_bytes(source.storage()) {
                Err(gpt::Error::Storage(error)) => return Err(failed(error.into())),
                disk_end_bytes => disk_end_bytes?,
            };
            opened.files.push(BackingFile {
                path: path.clone(),
                file: Arc::<Source>::clone(&source),
                disk_end_bytes,
            });
            opened.sources.push(source);
        }
        Ok(opened)
    }

    /// The files, for the one above them.
    pub fn files(&self) -> &[BackingFile] {
        &self.files
    }

    /// Fails where `output` is one of these files.
    pub fn refuse_as_output(&self, output: &Path) -> Result<(), Error> {
        let same = |(source, file): (&Arc<Source>, &BackingFile)| {
            let refused = source.refuse_as_output(output).is_err();
            refused.then(|| file.path.clone())
        };
        match self.sources.iter().zip(&self.files).find_map(same) {
            Some(path) => Err(Error::OutputIsBackingFile { path }),
            None => Ok(()),
        }
    }
}
