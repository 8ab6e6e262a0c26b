//! Giving an output its name: the moment at which it appears, whole and durable.
//!
//! 1. The file is flushed.
//! 2. It gets its name. An unnamed file is linked there, which never replaces anything. Where a file has to
//!    be replaced, it is linked beside it as `.NAME.encrypt-cloud-image.XXXXXX.finished` and renamed over it.
//!    A named temporary is renamed.
//! 3. The directory is flushed.
//!
//! A process that is killed before 2 leaves nothing (a named temporary: its `.partial`); between link and
//! rename, the finished file under that name and the old one under its own; afterwards, the output.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;
use tempfile::TempPath;

use super::output::{Output, Replace, proc_path, temporary_prefix};
use super::{Error, Result};
use crate::storage::WriteAt;

/// The points at which a publishing can be watched, and called off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishStep {
    /// The file is flushed and has no name.
    BeforeLink,
    /// The file is linked beside the one that it will replace. Comes only where an unnamed file replaces.
    BetweenLinkAndRename,
    /// The file has its name, and the directory is not flushed.
    BeforeDirectorySync,
    /// All is done and durable.
    Published,
}

impl Output {
    /// Flushes the file and gives it its name.
    ///
    /// `on_step` is called at each step; where it breaks before the file has its name, nothing is left of it
    /// and the result is [`Error::Stopped`]. Later breaks are too late and change nothing. A file that has
    /// appeared under the name meanwhile is not replaced, unless that was asked for.
    pub fn publish(
        mut self,
        on_step: &mut dyn FnMut(PublishStep) -> ControlFlow<()>,
    ) -> Result<()> {
        self.storage.flush()?;
        go_on(on_step(PublishStep::BeforeLink))?;
        let path = self.directory_path.join(&self.name);
        match self.temporary.take() {
            Some(temporary) => self.rename_named(temporary, &path)?,
            None => self.link_unnamed(&path, on_step)?,
        }
        let _ = on_step(PublishStep::BeforeDirectorySync);
        match self.directory.sync_all() {
            // Some file systems know no flushing of directories.
            Err(error) if error.raw_os_error() != Some(Errno::INVAL.raw_os_error()) => {
                return Err(Error::SyncDirectory(error));
            }
            _ => {}
        }
        let _ = on_step(PublishStep::Published);
        Ok(())
    }

    fn rename_named(&self, temporary: TempPath, path: &Path) -> Result<()> {
        let renamed = match self.replace {
            Replace::Never => temporary.persist_noclobber(path),
            Replace::Existing => temporary.persist(path),
        };
        renamed.map_err(|failed| publish_error(failed.error))
    }

    fn link_unnamed(
        &self,
        path: &Path,
        on_step: &mut dyn FnMut(PublishStep) -> ControlFlow<()>,
    ) -> Result<()> {
        match self.link(path) {
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && self.replace == Replace::Existing => {}
            linked => return linked.map_err(publish_error),
        }
        // Removed again, should anything go wrong before it is renamed.
        let beside = tempfile::Builder::new()
            .prefix(&temporary_prefix(&self.name))
            .suffix(".finished")
            .make_in(&self.directory_path, |beside| self.link(beside))
            .map_err(publish_error)?
            .into_temp_path();
        go_on(on_step(PublishStep::BetweenLinkAndRename))?;
        beside
            .persist(path)
            .map_err(|failed| publish_error(failed.error))
    }

    fn link(&self, path: &Path) -> io::Result<()> {
        let unnamed = proc_path(self.storage.file());
        rustix::fs::linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
        Ok(())
    }
}

fn go_on(flow: ControlFlow<()>) -> Result<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Stopped),
    }
}

fn publish_error(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::AlreadyExists {
        Error::Exists
    } else {
        Error::Publish(error)
    }
}
