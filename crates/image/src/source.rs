//! Opening an image: a regular file or a block device, locked, known by its place on the file system or by its number.
//!
//! A device is opened with `O_EXCL`, which the kernel refuses while it, or a partition of it, is mounted, mapped or
//! otherwise claimed.

use std::fs::{File, FileType, Metadata, OpenOptions, Permissions};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::{Error, FileKind, Result};
use base::storage::{self, FileStorage, ReadAt, WriteAt};

/// How a source is locked: with `flock`, which other programs may or may not heed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Others may read as well.
    Shared,
    /// Nobody else: the file will be replaced.
    Exclusive,
}

/// How often a loop device is followed to the file below, which may lie on another one.
const MAX_LOOPS: usize = 8;

/// Which file or device it is, whatever its names. A loop device is the file that it shows, where the kernel tells which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileIdentity {
    /// A file, by the device that it lies on and its inode.
    File {
        /// The device.
        device: u64,
        /// The inode.
        inode: u64,
    },
    /// A block device, by its number.
    Device(u64),
}

impl FileIdentity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let mut identity = Self::of_node(metadata);
        for _ in 0..MAX_LOOPS {
            let Self::Device(number) = identity else {
                break;
            };
            let Some(Ok(file)) = file_of_loop(number).map(|file| file.metadata()) else {
                break;
            };
            identity = Self::of_node(&file);
        }
        identity
    }

    fn of_node(metadata: &Metadata) -> Self {
        if metadata.file_type().is_block_device() {
            return Self::Device(metadata.rdev());
        }
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// The file that a path leads to, through symbolic links; `None` where there is none.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        match path.metadata() {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// An image file or a block device, open and locked as long as this lives. It can be written where it was opened for that.
#[derive(Debug)]
pub struct Source {
    storage: FileStorage,
    identity: FileIdentity,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    device_sector_bytes: Option<u64>,
}

impl Source {
    /// Opens a regular file or a block device, through symbolic links, and locks it without waiting.
    ///
    /// Where the file system has no such locks, a file is opened without one. A device that is in use is refused.
    pub fn open(path: &Path, lock: Lock) -> Result<Self> {
        Self::open_as(path, lock, false)
    }

    /// The same for a file that will be changed in place: open for writing, locked against everybody.
    pub fn open_to_change(path: &Path) -> Result<Self> {
        Self::open_as(path, Lock::Exclusive, true)
    }

    fn open_as(path: &Path, lock: Lock, to_change: bool) -> Result<Self> {
        let file = open_image(path, to_change)?;
        let metadata = file.metadata().map_err(Error::Open)?;
        take_lock(&file, lock)?;
        Ok(Self {
            device_sector_bytes: sector_bytes(&file)?,
            storage: FileStorage::new(file)?,
            identity: FileIdentity::of(&metadata),
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            links: metadata.nlink(),
        })
    }

    /// Sets the permission bits, 0o7777 at most.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        let permissions = Permissions::from_mode(mode);
        let set = self.storage.file().set_permissions(permissions);
        set.map_err(Error::Attributes)
    }

    /// The file's bytes.
    pub fn storage(&self) -> &FileStorage {
        &self.storage
    }

    /// Which file it is.
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Logical sector size of a block device in bytes; `None` for a file.
    pub fn device_sector_bytes(&self) -> Option<u64> {
        self.device_sector_bytes
    }

    /// Permission bits, 0o7777 at most.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// User and group that own the file.
    pub fn owner(&self) -> (u32, u32) {
        self.owner
    }

    /// How many names the file has.
    pub fn links(&self) -> u64 {
        self.links
    }

    /// Fails where `output` is this file, be it by another name or through a link.
    pub fn refuse_as_output(&self, output: &Path) -> Result<()> {
        match FileIdentity::at(output) {
            Ok(Some(identity)) if identity == self.identity => Err(Error::OutputIsSource),
            // A path that cannot be looked up is reported when the output is made.
            _ => Ok(()),
        }
    }
}

impl Drop for Source {
    /// Gives the lock back. Closing the file is not enough: a program that another thread starts at this moment
    /// still has the open file, and with it the lock, until it has loaded.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(self.storage.file(), FlockOperation::Unlock);
    }
}

impl ReadAt for Source {
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

impl WriteAt for Source {
    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> storage::Result<()> {
        self.storage.write_all_at(bytes, offset_bytes)
    }

    fn flush(&self) -> storage::Result<()> {
        self.storage.flush()
    }
}

/// The file that a loop device shows, or the one of which it is a partition.
fn file_of_loop(number: u64) -> Option<PathBuf> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let device = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let read = |from: &str| std::fs::read(device.join(from)).ok();
    let told = read("loop/backing_file").or_else(|| read("../loop/backing_file"))?;
    let path = told.strip_suffix(b"\n").unwrap_or(&told);
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(path)))
}

/// What a file is, if it is no regular one.
pub(super) fn other_kind(kind: FileType) -> Option<FileKind> {
    Some(if kind.is_dir() {
        FileKind::Directory
    } else if kind.is_block_device() {
        FileKind::BlockDevice
    } else if kind.is_char_device() {
        FileKind::CharacterDevice
    } else if kind.is_fifo() {
        FileKind::Fifo
    } else if kind.is_socket() {
        FileKind::Socket
    } else {
        return None;
    })
}

fn refuse_other_kinds(kind: FileType) -> Result<()> {
    match other_kind(kind) {
        None | Some(FileKind::BlockDevice) => Ok(()),
        Some(kind) => Err(Error::NotAFile { kind }),
    }
}

/// Opens a small file that must be a regular one, for reading. A pipe is not waited for, as where a directory holds one.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    match other_kind(file.metadata()?.file_type()) {
        // Reading it says so.
        None | Some(FileKind::Directory) => Ok(file),
        Some(kind) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("it is {kind}, and no regular file"),
        )),
    }
}

/// Opens a regular file, or a block device that nobody else uses.
pub(super) fn open_image(path: &Path, to_change: bool) -> Result<File> {
    // Looked at before it is opened, since opening a pipe waits and a socket fails; and afterwards,
    // since it may have been exchanged.
    let found = path.metadata().map_err(Error::Open)?.file_type();
    refuse_other_kinds(found)?;
    // Should it be a pipe by now, this keeps the opening from waiting for a writer.
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if found.is_block_device() {
        flags |= OFlags::EXCL;
    }
    let opened = OpenOptions::new()
        .read(true)
        .write(to_change)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(number) if number == Errno::BUSY.raw_os_error() => Error::InUse,
        _ => Error::Open(error),
    })?;
    let kind = file.metadata().map_err(Error::Open)?.file_type();
    refuse_other_kinds(kind)?;
    if kind.is_block_device() && !found.is_block_device() {
        return Err(Error::Open(io::Error::from(Errno::STALE))); // exchanged: nobody has asked whether it is in use
    }
    Ok(file)
}

/// Logical sector size of a block device; `None` for a file.
pub(super) fn sector_bytes(file: &File) -> Result<Option<u64>> {
    let kind = file.metadata().map_err(Error::Open)?.file_type();
    if !kind.is_block_device() {
        return Ok(None);
    }
    let sector_bytes = rustix::fs::ioctl_blksszget(file);
    let sector_bytes = sector_bytes.map_err(|error| Error::Open(error.into()))?;
    Ok(Some(sector_bytes.into()))
}

fn take_lock(file: &File, lock: Lock) -> Result<()> {
    let operation = match lock {
        Lock::Shared => FlockOperation::NonBlockingLockShared,
        Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::fs::flock(file, operation) {
        Err(Errno::WOULDBLOCK) => Err(Error::Locked),
        // NFS asks for a file open for writing (EBADF) or a lock daemon (ENOLCK); some file systems know no
        // locks at all. A lock is a courtesy between programs: without it the work can be done.
        _ => Ok(()),
    }
}
