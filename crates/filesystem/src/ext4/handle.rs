//! An open ext4 filesystem: what can be asked of it.

use std::cell::{Cell, RefCell};

use super::binding::{Below, Failure, Handle, READ_LIMIT_BYTES, Stat};
use super::path::{Follow, shown};
use super::{BlockBitmap, Superblock, Warning};
use crate::{Error, Result};
use base::storage::{ReadAt, WriteAt};

const FLAG_ENCRYPT: u32 = 0x800;

/// A directory with more entries than that is not listed.
const MOST_ENTRIES: usize = 1 << 20;

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a pipe or a socket.
    Special,
}

impl Kind {
    pub(super) fn of_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o100_000 => Self::File,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            _ => Self::Special,
        }
    }
}

/// What an inode says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// The permission bits, 0 to 0o7777.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Length in bytes; of a link, that of its target.
    pub size_bytes: u64,
    /// How many names it has.
    pub links: u32,
    /// The inode's number.
    pub inode: u32,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, in most images UTF-8.
    pub name: Vec<u8>,
    /// The inode that it names.
    pub inode: u32,
}

/// An ext2, ext3 or ext4 filesystem in a storage that it fills.
///
/// Paths are of the image: they begin at its root with or without a slash, and symbolic links on the way are followed
/// within the image (absolute targets begin at its root, `..` of the root is the root, at most 40 links).
///
/// An edit writes to the storage as it goes; [`Filesystem::close`] writes the rest. After an edit that failed, the
/// storage holds half of it and has to be thrown away: that is why it is an overlay.
pub struct Filesystem<'s> {
    pub(super) handle: Handle<'s>,
    pub(super) superblock: Superblock,
    pub(super) warnings: RefCell<Vec<Warning>>,
    pub(super) failed: Cell<bool>,
    writable: bool,
}

impl std::fmt::Debug for Filesystem<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filesystem")
            .field("superblock", &self.superblock)
            .finish_non_exhaustive()
    }
}

impl<'s> Filesystem<'s> {
    /// Opens a filesystem to be edited. Everything that an edit changes gets the time `now_seconds` (since 1970).
    ///
    /// Fails, before anything is written, where [`Superblock::read`] or [`Superblock::check_editable`] does.
    pub fn open(storage: &'s dyn WriteAt, now_seconds: i64) -> Result<Self> {
        let superblock = Superblock::read(&storage)?;
        let warnings = superblock.check_editable()?;
        Self::with(Below::Write(storage), superblock, warnings, now_seconds)
    }

    /// Opens a filesystem to be read. One that must not be edited may be read, but its journal is not looked at.
    pub fn open_read_only(storage: &'s dyn ReadAt) -> Result<Self> {
        let superblock = Superblock::read(storage)?;
        Self::with(Below::Read(storage), superblock, Vec::new(), 1)
    }

    fn with(
        below: Below<'s>,
        superblock: Superblock,
        warnings: Vec<Warning>,
        now_seconds: i64,
    ) -> Result<Self> {
        // The library takes the clock where it is given 0.
        let now_seconds = if now_seconds == 0 { 1 } else { now_seconds };
        let handle = Handle::open(below, now_seconds)
            .map_err(|failure| failure.while_doing("opening the filesystem".to_owned()))?;
        Ok(Self {
            handle,
            superblock,
            warnings: RefCell::new(warnings),
            failed: Cell::new(false),
            writable: matches!(below, Below::Write(_)),
        })
    }

    /// The superblock as it was when the filesystem was opened.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// What is worth saying so far.
    pub fn warnings(&self) -> Vec<Warning> {
        self.warnings.borrow().clone()
    }

    /// Writes what is still in memory: bitmaps, group descriptors, the superblock. The storage is not flushed.
    ///
    /// Without it, what was edited is lost in part; errors of writing surface here.
    pub fn close(self) -> Result<()> {
        if self.failed.get() {
            return Err(Error::Abandoned);
        }
        if !self.writable {
            return Ok(());
        }
        let doing = "writing the bitmaps and the superblock";
        self.handle
            .close()
            .map_err(|failure| failure.while_doing(doing.to_owned()))
    }

    /// What the last part of `path` is; a link there is not followed. `None` where nothing has that name.
    pub fn symlink_metadata(&self, path: impl AsRef<[u8]>) -> Result<Option<Metadata>> {
        self.look(path.as_ref(), Follow::No)
    }

    /// What `path` leads to, links followed. `None` where it leads to nothing.
    pub fn metadata(&self, path: impl AsRef<[u8]>) -> Result<Option<Metadata>> {
        self.look(path.as_ref(), Follow::Yes)
    }

    /// True where `path` leads to something, links followed.
    pub fn exists(&self, path: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.metadata(path)?.is_some())
    }

    fn look(&self, path: &[u8], follow: Follow) -> Result<Option<Metadata>> {
        match self.find(path, follow) {
            Ok(inode) => Ok(Some(self.metadata_of(inode, path)?)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of the regular file that `path` leads to, holes as zeros. Refuses one of more than `limit_bytes`.
    pub fn read_file(&self, path: impl AsRef<[u8]>, limit_bytes: u64) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let inode = self.find(path, Follow::Yes)?;
        let metadata = self.metadata_of(inode, path)?;
        match metadata.kind {
            Kind::File => {}
            Kind::Directory => return Err(Error::IsADirectory { path: shown(path) }),
            _ => return Err(Error::NotAFile { path: shown(path) }),
        }
        self.refuse_encrypted(inode, path)?;
        self.read_inode(inode, metadata.size_bytes, path, limit_bytes)
    }

    /// The target of the symbolic link `path`.
    pub fn read_link(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let inode = self.find(path, Follow::No)?;
        let stat = self.stat(inode, path)?;
        if Kind::of_mode(stat.mode) != Kind::Symlink {
            return Err(Error::NotALink { path: shown(path) });
        }
        self.target_of(inode, &stat, path)
    }

    /// The entries of the directory that `path` leads to, without `.` and `..`, in the order on the disk.
    pub fn list_dir(&self, path: impl AsRef<[u8]>) -> Result<Vec<DirEntry>> {
        let path = path.as_ref();
        let inode = self.find(path, Follow::Yes)?;
        self.refuse_encrypted(inode, path)?;
        if Kind::of_mode(self.stat(inode, path)?.mode) != Kind::Directory {
            return Err(Error::NotADirectory { path: shown(path) });
        }
        let mut entries = Vec::new();
        let mut each = |inode, _, name: &[u8]| {
            if name != b"." && name != b".." {
                let name = name.to_vec();
                entries.push(DirEntry { name, inode });
            }
            entries.len() <= MOST_ENTRIES
        };
        self.handle
            .list(inode, &mut each)
            .map_err(|failure| failure.while_doing(format!("listing {}", shown(path))))?;
        if entries.len() > MOST_ENTRIES {
            return Err(Error::Library {
                doing: format!("listing {}", shown(path)),
                message: format!("more than {MOST_ENTRIES} entries"),
            });
        }
        Ok(entries)
    }

    /// Which bytes of the filesystem are used, edits so far included.
    ///
    /// Refuses a filesystem that [`Superblock::check_editable`] refuses: what its bitmap says may be old.
    pub fn used_blocks(&self) -> Result<BlockBitmap> {
        self.superblock.check_editable()?;
        let cluster_bytes = self.superblock.cluster_bytes();
        let start_bytes = u64::from(self.superblock.first_data_block())
            * u64::from(self.superblock.block_bytes());
        let len_bytes = self.superblock.len_bytes();
        let first = start_bytes / cluster_bytes;
        let count = (len_bytes - start_bytes).div_ceil(cluster_bytes);
        let doing = "reading the bitmap of used blocks";
        let mut bits = usize::try_from(count.div_ceil(8))
            .map(|bytes| vec![0; bytes])
            .map_err(|_| Error::Library {
                doing: doing.to_owned(),
                message: "it does not fit into memory".to_owned(),
            })?;
        self.handle
            .used_clusters(first, count, &mut bits)
            .map_err(|failure| failure.while_doing(doing.to_owned()))?;
        Ok(BlockBitmap::new(
            bits,
            cluster_bytes,
            start_bytes,
            len_bytes,
        ))
    }

    /// Whether the byte at `offset_bytes` lies in a block of an inode table of which no inode was ever in use. The bitmap calls it used, but
    /// neither the kernel nor `e2fsck` reads it: mke2fs leaves there what the disk held (`lazy_itable_init`), and the kernel
    /// overwrites it with zeros when it has time.
    pub fn is_unused_inode_table(&self, offset_bytes: u64) -> bool {
        let block = offset_bytes / u64::from(self.superblock.block_bytes());
        self.handle.is_unused_inode_table(block)
    }

    pub(super) fn stat(&self, inode: u32, path: &[u8]) -> Result<Stat> {
        self.handle
            .stat(inode)
            .map_err(|failure| failure.while_doing(format!("reading the inode of {}", shown(path))))
    }

    fn metadata_of(&self, inode: u32, path: &[u8]) -> Result<Metadata> {
        let stat = self.stat(inode, path)?;
        Ok(Metadata {
            kind: Kind::of_mode(stat.mode),
            mode: stat.mode & 0o7777,
            uid: stat.uid,
            gid: stat.gid,
            size_bytes: stat.size,
            links: stat.links,
            inode,
        })
    }

    /// The target of a symbolic link, at most as long as the kernel's limit of a path.
    pub(super) fn target_of(&self, inode: u32, stat: &Stat, path: &[u8]) -> Result<Vec<u8>> {
        const PATH_BYTES: u64 = 4096;
        if stat.flags & FLAG_ENCRYPT != 0 {
            return Err(Error::Encrypted { path: shown(path) });
        }
        self.read_inode(inode, stat.size, path, PATH_BYTES)
    }

    fn read_inode(
        &self,
        inode: u32,
        size_bytes: u64,
        path: &[u8],
        limit_bytes: u64,
    ) -> Result<Vec<u8>> {
        let too_large = || Error::FileTooLarge {
            path: shown(path),
            size_bytes,
            limit_bytes,
        };
        if size_bytes > limit_bytes {
            return Err(too_large());
        }
        let mut bytes = vec![0; usize::try_from(size_bytes).map_err(|_| too_large())?];
        let got = self
            .handle
            .read(inode, &mut bytes)
            .map_err(|failure| failure.while_doing(format!("reading {}", shown(path))))?;
        if got < bytes.len() {
            return Err(Error::Library {
                doing: format!("reading {}", shown(path)),
                message: format!("it ends after {got} of {size_bytes} bytes"),
            });
        }
        Ok(bytes)
    }

    pub(super) fn refuse_encrypted(&self, inode: u32, path: &[u8]) -> Result<()> {
        if self.stat(inode, path)?.flags & FLAG_ENCRYPT != 0 {
            return Err(Error::Encrypted { path: shown(path) });
        }
        Ok(())
    }
}

impl Failure {
    /// The failure of a call that has no path or size of its own to tell.
    pub(super) fn while_doing(self, doing: String) -> Error {
        let message = match self {
            Self::Storage(error) => return Error::Storage(error),
            Self::Endless => {
                let limit_bytes = READ_LIMIT_BYTES;
                return Error::Endless { doing, limit_bytes };
            }
            Self::NotFound => "File not found by ext2_lookup".to_owned(),
            Self::NoBlocks => "no free block".to_owned(),
            Self::NoInodes => "no free inode".to_owned(),
            Self::Library(message) => message,
        };
        Error::Library { doing, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_reads_without_end_is_told_as_damage() {
        let error = Failure::Endless.while_doing("listing /etc".to_owned());
        assert_eq!(
            error.to_string(),
            "the ext4 filesystem is damaged: listing /etc read more than 1073741824 bytes"
        );
        assert!(error.is_ext4_damage() && !error.is_mendable_by_e2fsck());
    }
}
