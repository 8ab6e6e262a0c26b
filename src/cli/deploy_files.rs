//! The files of a run. What it writes must not be what it reads, nor two of it one file: a report would replace the
//! image. And nothing else is opened.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::confinement::{Confinement, directory};
use super::message::Failure;

/// A file by its option; `None` where it is not given.
pub type Named<'a> = (&'static str, Option<&'a PathBuf>);

/// The files of a command line. One in which two of them are one, and one of them is written, is refused.
pub fn files<'a>(
    written: impl IntoIterator<Item = Named<'a>>,
    read: impl IntoIterator<Item = Named<'a>>,
) -> Result<Files, Failure> {
    let mut files = Files::default();
    for (option, path) in written {
        files.write(option.into(), path)?;
    }
    for (option, path) in read {
        // An output onto its source has a message of its own.
        if option != "SOURCE" || files.label_of(path) != Some("--output") {
            files.read(option.into(), path)?;
        }
    }
    Ok(files)
}

/// The files of a run, each with the option that names it.
#[derive(Default)]
pub struct Files {
    written: HashMap<Identity, Known>,
    read: HashMap<Identity, Known>,
}

/// An option, and the path that it gave.
struct Known {
    option: Cow<'static, str>,
    path: PathBuf,
}

impl Files {
    /// A file that is written: no other may be the same.
    pub fn write(
        &mut self,
        option: Cow<'static, str>,
        path: Option<&PathBuf>,
    ) -> Result<(), Failure> {
        let Some((path, identity)) = identified(path) else {
            return Ok(());
        };
        let other = self.written.get(&identity).or(self.read.get(&identity));
        if let Some(other) = other {
            return Err(other.is_also(&option));
        }
        let path = path.clone();
        self.written.insert(identity, Known { option, path });
        Ok(())
    }

    /// A file that is read: none that is written may be the same.
    pub fn read(
        &mut self,
        option: Cow<'static, str>,
        path: Option<&PathBuf>,
    ) -> Result<(), Failure> {
        let Some((path, identity)) = identified(path) else {
            return Ok(());
        };
        if let Some(other) = self.written.get(&identity) {
            return Err(other.is_also(&option));
        }
        let path = path.clone();
        self.read.entry(identity).or_insert(Known { option, path });
        Ok(())
    }

    /// What a run still gets at: these files, and what is added.
    pub fn confinement(&self, added: Confinement) -> Confinement {
        let read = self.read.values();
        let confinement = read.fold(added, |all, known| all.reads(&known.path));
        let written = self.written.values();
        let written = written.filter(|known| known.path != Path::new("-"));
        written.fold(confinement, |all, known| all.writes(&known.path))
    }

    fn label_of(&self, path: Option<&PathBuf>) -> Option<&str> {
        let (_, identity) = identified(path)?;
        self.written.get(&identity).map(|known| &*known.option)
    }
}

fn identified(path: Option<&PathBuf>) -> Option<(&PathBuf, Identity)> {
    let path = path?;
    Some((path, Identity::of(path)?))
}

impl Known {
    fn is_also(&self, other: &str) -> Failure {
        let Self { option, path } = self;
        let what = format!("{option} and {other} name one file: {}", path.display());
        Failure::new(anyhow::anyhow!(what), None)
    }
}

/// What two names of one file have in common.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    /// A file that is there: device and inode.
    There(u64, u64),
    /// One that will be there.
    ToBe(PathBuf),
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        if let Ok(found) = fs::metadata(path) {
            return Some(Self::There(found.dev(), found.ino()));
        }
        let folder = fs::canonicalize(directory(path)).ok()?;
        Some(Self::ToBe(folder.join(path.file_name()?)))
    }
}
