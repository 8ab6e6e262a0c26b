//! The files of a command line: what a run writes must not be what it reads, nor two of it one file, by whatever names. A
//! report would replace the image. And nothing else is opened.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::confinement::{Confinement, directory};
use crate::message::Failure;
use operations::FileIdentity;

/// A file by its option; `None` where it is not given.
pub type Named<'a> = (&'static str, Option<&'a PathBuf>);

/// The files of a run, each with the option that names it.
#[derive(Default)]
pub struct Files {
    known: HashMap<Identity, Known>,
    /// Directories, of which any file may be read.
    folders: Vec<Known>,
}

/// What a run does to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Reads,
    /// It is there, and changed where it lies.
    Changes,
    /// It is made, or replaced.
    Writes,
}

/// An option, and the path that it gave.
struct Known {
    option: Cow<'static, str>,
    path: PathBuf,
    is_used: Use,
}

impl Files {
    /// The files that a run writes.
    pub fn written<'a>(files: impl IntoIterator<Item = Named<'a>>) -> Result<Self, Failure> {
        let mut these = Self::default();
        for (option, path) in files {
            these.write(option.into(), path)?;
        }
        Ok(these)
    }

    /// The same with a file that is changed where it lies.
    pub fn changing(mut self, (option, path): Named<'_>) -> Result<Self, Failure> {
        self.add(option.into(), path, Use::Changes)?;
        Ok(self)
    }

    /// The same with files that are read.
    pub fn reading<'a>(
        mut self,
        files: impl IntoIterator<Item = Named<'a>>,
    ) -> Result<Self, Failure> {
        for (option, path) in files {
            // An output onto its source has a message of its own. It is told by the files' own names: what a loop device
            // shows cannot be looked up any more by then.
            let is_onto_source = option == "SOURCE"
                && self.of(path).is_some_and(|output| {
                    output.option == "--output"
                        && path.is_some_and(|path| is_one_node(&output.path, path))
                });
            if !is_onto_source {
                self.read(option.into(), path)?;
            }
        }
        Ok(self)
    }

    /// A file that is written: no other may be the same.
    pub fn write(
        &mut self,
        option: Cow<'static, str>,
        path: Option<&PathBuf>,
    ) -> Result<(), Failure> {
        self.add(option, path, Use::Writes)
    }

    /// A file that is read, or a directory: none that is written may be the same, or lie in it.
    pub fn read(
        &mut self,
        option: Cow<'static, str>,
        path: Option<&PathBuf>,
    ) -> Result<(), Failure> {
        self.add(option, path, Use::Reads)
    }

    fn add(
        &mut self,
        option: Cow<'static, str>,
        path: Option<&PathBuf>,
        is_used: Use,
    ) -> Result<(), Failure> {
        let Some(path) = path else { return Ok(()) };
        let new = Known {
            option,
            path: path.clone(),
            is_used,
        };
        if is_used == Use::Reads && path.is_dir() {
            let mut changed = self.known.iter().filter(|(_, known)| known.is_changed());
            let inside = changed.find(|(identity, _)| identity.lies_below(path));
            if let Some((_, known)) = inside {
                return Err(known.is_also(&new.option));
            }
            self.folders.push(new);
            return Ok(());
        }
        let Some(identity) = Identity::of(path) else {
            return Ok(());
        };
        if new.is_changed()
            && let Some(folder) = self.folders.iter().find(|f| identity.lies_below(&f.path))
        {
            return Err(new.is_also(&folder.option));
        }
        match self.known.get(&identity) {
            Some(other) if other.is_changed() || new.is_changed() => {
                return Err(other.is_also(&new.option));
            }
            Some(_) => {}
            None => {
                self.known.insert(identity, new);
            }
        }
        Ok(())
    }

    /// What a run still gets at: these files, and what is added.
    pub fn confinement(&self, added: Confinement) -> Confinement {
        let known = self.known.values().chain(&self.folders);
        known.fold(added, |all, known| match known.is_used {
            Use::Reads => all.reads(&known.path),
            Use::Changes => all.changes(&known.path),
            Use::Writes => all.writes(&known.path),
        })
    }

    fn of(&self, path: Option<&PathBuf>) -> Option<&Known> {
        self.known.get(&Identity::of(path?)?)
    }
}

impl Known {
    fn is_changed(&self) -> bool {
        self.is_used != Use::Reads
    }

    fn is_also(&self, other: &str) -> Failure {
        let Self { option, path, .. } = self;
        let what = format!("{option} and {other} name one file: {}", path.display());
        Failure::new(anyhow::anyhow!(what), None)
    }
}

/// What all names of one file have in common.
#[derive(PartialEq, Eq, Hash)]
enum Identity {
    /// A file that is there, or a block device.
    There(FileIdentity),
    /// A terminal, `/dev/null`: nothing that is written there can be lost, so two may share it.
    Stream(PathBuf),
    /// One that will be there.
    ToBe(PathBuf),
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        if let Ok(found) = fs::metadata(path) {
            let kind = found.file_type();
            return if kind.is_char_device() {
                Some(Self::Stream(path.to_owned()))
            } else {
                FileIdentity::at(path).ok()?.map(Self::There)
            };
        }
        let folder = fs::canonicalize(directory(path)).ok()?;
        Some(Self::ToBe(folder.join(path.file_name()?)))
    }

    /// True for a file that is there, below a directory or behind a link below it.
    fn lies_below(&self, folder: &Path) -> bool {
        matches!(self, Self::There(FileIdentity::File { .. }))
            && self.is_among(folder, &mut HashSet::new())
    }

    fn is_among(&self, folder: &Path, seen: &mut HashSet<Self>) -> bool {
        let is_new = Self::of(folder).is_some_and(|folder| seen.insert(folder));
        let Ok(entries) = fs::read_dir(folder) else {
            return false;
        };
        is_new
            && entries.flatten().any(|entry| {
                let path = entry.path();
                if path.is_dir() {
                    self.is_among(&path, seen)
                } else {
                    Self::of(&path).as_ref() == Some(self)
                }
            })
    }
}

/// True where two paths lead to one file, or to nodes of one device.
fn is_one_node(one: &Path, other: &Path) -> bool {
    let node = |path| {
        let found = fs::metadata(path).ok()?;
        let is_device = found.file_type().is_block_device();
        Some(if is_device {
            (true, found.rdev(), 0)
        } else {
            (false, found.dev(), found.ino())
        })
    };
    match (node(one), node(other)) {
        (Some(one), Some(other)) => one == other,
        _ => true, // of one that will be there the name is the same
    }
}
