//! Giving an output its name: the moment at which it appears, whole and durable.
//!
//! 1. The file is flushed ([`Output::finish`]).
//! 2. It gets its name ([`Finished::publish`]). An unnamed file is linked there, which never replaces anything. Where a file
//!    has to be replaced, it is linked beside it as `.NAME.encrypt-cloud-image.XXXXXX.finished` and renamed over it.
//!    A named temporary is renamed.
//! 3. The directory is flushed ([`flush_directory`]). Where that fails the file is whole and has its name: that is a
//!    [`Published`], not an error.
//!
//! A process that is killed before 2 leaves nothing (a named temporary: its `.partial`); between link and
//! rename, the finished file under that name and the old one under its own; afterwards, the output.
//!
//! Whether the file has its name is asked of the name, where a call failed: over a network the answer to a link or rename
//! that was made can be lost, and the call that is sent again fails.

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::directory::flush_directory;
use super::output::{Output, Replace, proc_path, temporary_prefix};
use super::temporary_name::TemporaryName;
use super::{Error, Result};
use base::storage::WriteAt;
use rustix::fs::{AtFlags, CWD};

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

/// A complete file, flushed, that has no name yet. It vanishes when it is dropped.
#[derive(Debug)]
pub struct Finished(Output);

/// A file that has its name, and stays.
#[derive(Debug)]
#[must_use = "its name may not be durable"]
pub struct Published {
    file: File,
    directory: File,
    path: PathBuf,
    flushed: io::Result<()>,
}

impl Output {
    /// Flushes the file: it is complete.
    pub fn finish(self) -> Result<Finished> {
        self.storage.flush()?;
        Ok(Finished(self))
    }

    /// Flushes the file, gives it its name and makes that durable. As [`Finished::publish`], but a directory that could not be
    /// flushed is an error: [`Error::SyncDirectory`].
    pub fn publish(self, on_step: &mut dyn FnMut(PublishStep) -> ControlFlow<()>) -> Result<()> {
        self.finish()?.publish(on_step)?.durable()
    }
}

impl Finished {
    /// Gives the file its name. An error says that it has none, and nothing is left of it.
    ///
    /// `on_step` is called at each step; where it breaks before the file has its name, the result is [`Error::Stopped`].
    /// Later breaks are too late and change nothing. A file that has appeared under the name meanwhile is not replaced,
    /// unless that was asked for.
    pub fn publish(
        self,
        on_step: &mut dyn FnMut(PublishStep) -> ControlFlow<()>,
    ) -> Result<Published> {
        let Self(mut output) = self;
        go_on(on_step(PublishStep::BeforeLink))?;
        let path = output.directory_path.join(&output.name);
        match output.temporary.take() {
            Some(temporary) => output.rename_named(temporary, &path)?,
            None => output.link_unnamed(&path, on_step)?,
        }
        let _ = on_step(PublishStep::BeforeDirectorySync);
        let flushed = flush_directory(&output.directory);
        if flushed.is_ok() {
            let _ = on_step(PublishStep::Published);
        }
        Ok(Published {
            file: output.storage.into_file(),
            directory: output.directory,
            path,
            flushed,
        })
    }
}

impl Published {
    /// Fails, the first time, where the name may not outlast a power cut: [`Error::SyncDirectory`].
    pub fn durable(&mut self) -> Result<()> {
        let flushed = std::mem::replace(&mut self.flushed, Ok(()));
        flushed.map_err(Error::SyncDirectory)
    }

    /// Takes the name away again, and with it the file. What another file has taken over meanwhile stays.
    pub fn take_back(self) -> io::Result<()> {
        if has_name(&self.file, &self.path) {
            fs::remove_file(&self.path)?;
            // It is gone; whether it stays so through a power cut is not worth an error.
            let _ = flush_directory(&self.directory);
        }
        Ok(())
    }
}

impl Output {
    fn rename_named(&self, temporary: TemporaryName, path: &Path) -> Result<()> {
        let renamed = match self.replace {
            Replace::Never => temporary.rename_to_new(path),
            Replace::Existing => temporary.rename(path),
        };
        self.named(renamed, path)
    }

    fn link_unnamed(
        &self,
        path: &Path,
        on_step: &mut dyn FnMut(PublishStep) -> ControlFlow<()>,
    ) -> Result<()> {
        match self.link(path) {
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && self.replace == Replace::Existing
                    && !self.has_name(path) => {}
            linked => return self.named(linked, path),
        }
        // Removed again, should anything go wrong before it is renamed.
        let beside = tempfile::Builder::new()
            .prefix(&temporary_prefix(&self.name))
            .suffix(".finished")
            .make_in(&self.directory_path, |beside| self.link(beside))
            .map_err(publish_error)?;
        let beside = TemporaryName::new(beside.into_temp_path());
        go_on(on_step(PublishStep::BetweenLinkAndRename))?;
        self.named(beside.rename(path), path)
    }

    fn link(&self, path: &Path) -> io::Result<()> {
        let unnamed = proc_path(self.storage.file());
        rustix::fs::linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
        Ok(())
    }

    /// What came of giving the file a name, by what the name says.
    fn named(&self, tried: io::Result<()>, path: &Path) -> Result<()> {
        match tried {
            Err(error) if !self.has_name(path) => Err(publish_error(error)),
            _ => Ok(()),
        }
    }

    fn has_name(&self, path: &Path) -> bool {
        has_name(self.storage.file(), path)
    }
}

/// True where a path leads to this very file.
fn has_name(file: &File, path: &Path) -> bool {
    let (Ok(file), Ok(found)) = (file.metadata(), path.symlink_metadata()) else {
        return false;
    };
    (file.dev(), file.ino()) == (found.dev(), found.ino())
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

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::Temporary;

    /// A call that was made, and whose answer was lost.
    #[test]
    fn a_file_that_has_its_name_has_it_whatever_the_call_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        for temporary in [Temporary::UnnamedIfPossible, Temporary::Named] {
            let mut output = Output::create(&path, 4096, Replace::Never, temporary).unwrap();
            let lost = |error: Errno| Err(io::Error::from(error));
            let refused = output.named(lost(Errno::EXIST), &path).unwrap_err();
            assert!(matches!(refused, Error::Exists), "{refused}");
            let refused = output.named(lost(Errno::IO), &path).unwrap_err();
            assert!(matches!(refused, Error::Publish(_)), "{refused}");
            match output.temporary.take() {
                Some(temporary) => temporary.rename(&path).unwrap(),
                None => output.link(&path).unwrap(),
            }
            output.named(lost(Errno::EXIST), &path).unwrap();
            output.named(lost(Errno::IO), &path).unwrap();
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_took_over_the_name_is_not_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let publish = || {
            let output = Output::create(&path, 1, Replace::Never, Temporary::default()).unwrap();
            let finished = output.finish().unwrap();
            finished
                .publish(&mut |_| ControlFlow::Continue(()))
                .unwrap()
        };
        publish().take_back().unwrap();
        assert!(!path.exists());
        let published = publish();
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"of somebody else").unwrap();
        published.take_back().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"of somebody else");
    }
}
