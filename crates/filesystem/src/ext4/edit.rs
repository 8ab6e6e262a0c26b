//! The edits: a file, a symbolic link, a directory.
//!
//! Whatever has the name and is not a directory is replaced by a new inode, never followed and never written into:
//! a name in the image may be a link to anywhere, or one of several names of a file. Owner is 0:0, times are the
//! handle's; the directory's times change with it, no other inode does. Where the directory has an `SELinux` label
//! (`security.selinux`), the new inode gets the same one.

use std::ffi::CString;

use super::binding::{Failure, c_string};
use super::handle::{Kind, Metadata};
use super::path::{Follow, shown, split_last};
use super::{Filesystem, Warning};
use crate::{Error, Result};

const FLAG_CASEFOLD: u32 = 0x4000_0000;

/// Where the kernel begins to count directories no more (`dir_nlink`), which the library does not know.
const MOST_LINKS: u32 = 64_998;

/// A target must fit into the smallest block with its NUL.
const LONGEST_TARGET: usize = 1023;

/// Where something is to be put.
struct Place<'p> {
    path: &'p [u8],
    name: &'p [u8],
    directory: u32,
    /// What has the name now.
    existing: Option<(u32, Kind)>,
    /// What the directory's links count was before.
    links: u32,
    label: Option<Vec<u8>>,
}

impl Filesystem<'_> {
    /// Writes a regular file with exactly `mode` (0 to 0o7777), owner 0:0, in place of whatever has that name.
    ///
    /// The directory must exist; a directory of that name is refused.
    pub fn write_file(&self, path: impl AsRef<[u8]>, bytes: &[u8], mode: u32) -> Result<()> {
        let place = self.place(path.as_ref())?;
        place.refuse_directory()?;
        self.editing(&place, bytes.len() as u64, || {
            let name = self.cleared(&place)?;
            let inode = self.handle.create(place.directory, &name, mode, bytes)?;
            self.label(&place, inode)
        })
    }

    /// Makes a symbolic link with the text `target`, owner 0:0, in place of whatever has that name.
    ///
    /// The directory must exist; a directory of that name is refused, and a target longer than 1023 bytes.
    pub fn symlink(&self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Result<()> {
        let target = target.as_ref();
        let place = self.place(path.as_ref())?;
        place.refuse_directory()?;
        if !(1..=LONGEST_TARGET).contains(&target.len()) || target.contains(&0) {
            return Err(Error::InvalidTarget {
                path: shown(place.path),
                len_bytes: target.len(),
            });
        }
        // Up to 59 bytes lie in the inode.
        let data_bytes = if target.len() < 60 {
            0
        } else {
            target.len() as u64
        };
        self.editing(&place, data_bytes, || {
            let name = self.cleared(&place)?;
            let target = c_string(target)?;
            let inode = self.handle.symlink(place.directory, &name, &target)?;
            self.label(&place, inode)
        })
    }

    /// Makes a directory with mode 0755, owner 0:0. Its own directory must exist, its name must be free.
    pub fn mkdir(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let place = self.place(path.as_ref())?;
        if place.existing.is_some() {
            return Err(Error::AlreadyExists {
                path: shown(place.path),
            });
        }
        if !(2..MOST_LINKS).contains(&place.links) {
            let (directory, _) = split_last(place.path)?;
            return Err(Error::TooManyDirectories {
                path: shown(directory),
                links: place.links,
            });
        }
        self.editing(&place, u64::from(self.superblock.block_bytes()), || {
            let name = c_string(place.name)?;
            let inode = self.handle.mkdir(place.directory, &name)?;
            self.label(&place, inode)
        })
    }

    /// Makes every directory on `path` that is missing. Parts that exist may be links to directories; one that leads to
    /// nothing is refused, since what it leads to is not known to be meant.
    pub fn create_dir_all(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        let ends = path
            .iter()
            .enumerate()
            .filter(|(at, byte)| **byte == b'/' && *at > 0)
            .map(|(at, _)| at)
            .chain([path.len()]);
        for part in ends
            .filter_map(|end| path.get(..end))
            .filter(|part| !part.ends_with(b"/"))
        {
            match self.metadata(part)? {
                Some(metadata) if metadata.kind == Kind::Directory => {}
                Some(_) => return Err(Error::NotADirectory { path: shown(part) }),
                None => {
                    self.refuse_dangling(part)?;
                    self.mkdir(part)?;
                }
            }
        }
        Ok(())
    }

    /// Refuses a path that leads to nothing although its last part is there, as a symbolic link.
    pub fn refuse_dangling(&self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        let is_link = |found: Metadata| found.kind == Kind::Symlink;
        if self.metadata(path)?.is_none() && self.symlink_metadata(path)?.is_some_and(is_link) {
            return Err(Error::DanglingLink {
                path: shown(path),
                target: self.read_link(path)?.escape_ascii().to_string(),
            });
        }
        Ok(())
    }

    /// Runs an edit that needs room for `data_bytes`; after one that failed, the handle is of no more use.
    fn editing(
        &self,
        place: &Place<'_>,
        data_bytes: u64,
        edit: impl FnOnce() -> std::result::Result<(), Failure>,
    ) -> Result<()> {
        if self.failed.get() {
            return Err(Error::Abandoned);
        }
        let cluster_bytes = self.superblock.cluster_bytes();
        let needed_bytes = data_bytes.div_ceil(cluster_bytes) * cluster_bytes;
        let no_space = |free_bytes| Error::NoSpace {
            path: shown(place.path),
            needed_bytes,
            free_bytes,
        };
        let free_bytes = self
            .handle
            .free_blocks()
            .saturating_mul(u64::from(self.superblock.block_bytes()));
        if needed_bytes > free_bytes.saturating_add(self.replaced_bytes(place)?) {
            return Err(no_space(free_bytes));
        }
        self.failed.set(true);
        edit().map_err(|failure| match failure {
            Failure::NoBlocks => no_space(free_bytes),
            Failure::NoInodes => Error::NoInodes {
                path: shown(place.path),
            },
            failure => failure.while_doing(format!("writing {}", shown(place.path))),
        })?;
        self.failed.set(false);
        Ok(())
    }

    /// An upper bound of what taking away the present file frees.
    fn replaced_bytes(&self, place: &Place<'_>) -> Result<u64> {
        match place.existing {
            Some((inode, Kind::File)) => Ok(self.stat(inode, place.path)?.size),
            _ => Ok(0),
        }
    }

    /// Everything that can be refused before the first write.
    fn place<'p>(&self, path: &'p [u8]) -> Result<Place<'p>> {
        let (parent, name) = split_last(path)?;
        let directory = self.find(parent, Follow::Yes)?;
        let stat = self.stat(directory, parent)?;
        if Kind::of_mode(stat.mode) != Kind::Directory {
            return Err(Error::NotADirectory {
                path: shown(parent),
            });
        }
        self.refuse_encrypted(directory, parent)?;
        if stat.flags & FLAG_CASEFOLD != 0 {
            return Err(Error::Casefolded {
                path: shown(parent),
            });
        }
        let attribute = |name| {
            self.handle.attribute(directory, name).map_err(|failure| {
                failure.while_doing(format!("reading attributes of {}", shown(parent)))
            })
        };
        let existing = match self.handle.lookup(directory, name) {
            Ok(inode) => Some((inode, Kind::of_mode(self.stat(inode, path)?.mode))),
            Err(Failure::NotFound) => None,
            Err(failure) => {
                return Err(failure.while_doing(format!("looking for {}", shown(path))));
            }
        };
        let label = attribute(c"security.selinux")?;
        if attribute(c"system.posix_acl_default")?.is_some() {
            let warning = Warning::DefaultAcl {
                directory: shown(parent),
            };
            let mut warnings = self.warnings.borrow_mut();
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        Ok(Place {
            path,
            name,
            directory,
            existing,
            links: stat.links,
            label,
        })
    }

    /// The name for the library, with what has it taken away.
    fn cleared(&self, place: &Place<'_>) -> std::result::Result<CString, Failure> {
        let name = c_string(place.name)?;
        if let Some((inode, _)) = place.existing {
            self.handle.unlink(place.directory, &name, inode)?;
        }
        Ok(name)
    }

    fn label(&self, place: &Place<'_>, inode: u32) -> std::result::Result<(), Failure> {
        match &place.label {
            Some(label) => self.handle.set_attribute(inode, c"security.selinux", label),
            None => Ok(()),
        }
    }
}

impl Place<'_> {
    fn refuse_directory(&self) -> Result<()> {
        match self.existing {
            Some((_, Kind::Directory)) => Err(Error::IsADirectory {
                path: shown(self.path),
            }),
            _ => Ok(()),
        }
    }
}
