//! The name of a file that will get another one, or none: where it is not renamed, it is removed.
//!
//! A name that cannot be removed stays behind, and whoever has the file system should hear of it. It is found when a value
//! is dropped, where there is nobody to return an error to; so it is kept for the end of the run ([`left_behind`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::TempPath;

/// A file that is left behind, and why it could not be removed.
pub type LeftBehind = (PathBuf, io::Error);

static LEFT: Mutex<Vec<LeftBehind>> = Mutex::new(Vec::new());

/// Takes what was left behind so far.
pub fn left_behind() -> Vec<LeftBehind> {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *left)
}

/// A name that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct TemporaryName(Option<TempPath>);

impl TemporaryName {
    pub fn new(name: TempPath) -> Self {
        Self(Some(name))
    }

    /// Renames the file over whatever has that name.
    pub fn rename(mut self, to: &Path) -> io::Result<()> {
        self.renamed(|name| name.persist(to))
    }

    /// Renames the file, where nothing has that name.
    pub fn rename_to_new(mut self, to: &Path) -> io::Result<()> {
        self.renamed(|name| name.persist_noclobber(to))
    }

    fn renamed(
        &mut self,
        rename: impl FnOnce(TempPath) -> Result<(), tempfile::PathPersistError>,
    ) -> io::Result<()> {
        let Some(name) = self.0.take() else {
            return Ok(());
        };
        rename(name).map_err(|failed| {
            self.0 = Some(failed.path);
            failed.error
        })
    }
}

impl Drop for TemporaryName {
    fn drop(&mut self) {
        let kept = self.0.take().map(TempPath::keep);
        let Some(Ok(name)) = kept else { return };
        // Without a dot between its directories.
        let name: PathBuf = name.components().collect();
        match fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
                left.push((name, error));
            }
            _ => {}
        }
    }
}
