//! An output file that has no name yet.
//!
//! It is made in the directory where it will lie, as an *unnamed* file (`O_TMPFILE`), which vanishes with the
//! process, whatever ends it. Where the file system has none (NFS, FAT, some of FUSE), it is a *named*
//! temporary `.NAME.encrypt-cloud-image.XXXXXX.partial`, removed when the value is dropped: a process that is
//! killed by SIGKILL leaves that behind. Its mode is 0600. [`Output::publish`] gives it its name.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::source::other_kind;
use super::temporary_name::TemporaryName;
use super::{Error, Result};
use base::storage::FileStorage;
use rustix::fs::{Access, AtFlags, Mode, OFlags};

/// What happens to a file that has the output's name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It stays, and the output is refused.
    Never,
    /// It is replaced in one step at the end, and untouched until then. A symbolic link stays, and the file
    /// that it leads to is replaced.
    Existing,
}

/// Which kind of temporary an output is made as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Temporary {
    /// Unnamed where the file system has that, named otherwise.
    #[default]
    UnnamedIfPossible,
    /// Named, as on a file system that has no other: for tests.
    Named,
}

/// A file under construction, of a given length and full of holes at first.
#[derive(Debug)]
pub struct Output {
    pub(super) storage: FileStorage,
    pub(super) directory: File,
    pub(super) directory_path: PathBuf,
    pub(super) name: OsString,
    pub(super) replace: Replace,
    /// The name of a named temporary; removed when dropped.
    pub(super) temporary: Option<TemporaryName>,
}

impl Output {
    /// Makes an output of `len_bytes` bytes that will be published as `path`.
    ///
    /// Everything about the path that can be found wrong is found now, before hours of work.
    pub fn create(
        path: &Path,
        len_bytes: u64,
        replace: Replace,
        temporary: Temporary,
    ) -> Result<Self> {
        Self::create_with_mode(path, len_bytes, replace, temporary, 0o600)
    }

    /// The same with other permission bits, of which the process's mask takes its own away.
    pub fn create_with_mode(
        path: &Path,
        len_bytes: u64,
        replace: Replace,
        temporary: Temporary,
        mode: u32,
    ) -> Result<Self> {
        let path = checked_target(path, replace)?;
        let name = path.file_name().ok_or(Error::NoName)?.to_owned();
        let directory_path = directory_of(&path);
        let directory = open_directory(&directory_path)?;
        let unnamed = match temporary {
            Temporary::UnnamedIfPossible => create_unnamed(&directory, mode),
            Temporary::Named => None,
        };
        let (file, temporary) = match unnamed {
            Some(file) => (file, None),
            None => create_named(&directory_path, &name, mode)?,
        };
        let storage = FileStorage::with_len(file, len_bytes)?;
        Ok(Self {
            storage,
            directory,
            directory_path,
            name,
            replace,
            temporary,
        })
    }

    /// Fails where [`Output::create`] would for reasons that lie in the path, and makes nothing.
    pub fn check(path: &Path, replace: Replace) -> Result<()> {
        open_directory(&directory_of(&checked_target(path, replace)?)).map(|_| ())
    }

    /// The directory that an output at `path` is made in: where a link is replaced, that of its target.
    pub fn directory(path: &Path) -> PathBuf {
        let target = path.canonicalize();
        directory_of(target.as_deref().unwrap_or(path))
    }

    /// The file's bytes, to be filled.
    pub fn storage(&self) -> &FileStorage {
        &self.storage
    }

    /// True where a killed process leaves nothing behind.
    pub fn is_unnamed(&self) -> bool {
        self.temporary.is_none()
    }

    /// Sets the permission bits, 0o7777 at most; 0600 without this.
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        let permissions = Permissions::from_mode(mode);
        self.storage
            .file()
            .set_permissions(permissions)
            .map_err(Error::Attributes)
    }

    /// Gives the file to a user and a group. An ordinary user can give it to groups of their own only; the
    /// system takes set-user-id bits away with this, so the mode is set afterwards.
    pub fn set_owner(&self, user: u32, group: u32) -> Result<()> {
        std::os::unix::fs::fchown(self.storage.file(), Some(user), Some(group))
            .map_err(Error::Attributes)
    }
}

/// How many bytes an ordinary user may still write into the file system of a directory.
pub fn free_bytes(directory: &Path) -> Result<u64> {
    let space = rustix::fs::statvfs(directory).map_err(|error| Error::Space {
        directory: directory.to_owned(),
        source: error.into(),
    })?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// The path that will get the output: checked, and with a symbolic link in its last part resolved.
fn checked_target(path: &Path, replace: Replace) -> Result<PathBuf> {
    if path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(Error::NoName);
    }
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        // What is wrong with its directory is told when that is opened.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(path.to_owned());
        }
        Err(error) => return Err(Error::Target(error)),
    };
    let is_link = metadata.is_symlink();
    // Through the link, where it is one; `None` where that leads nowhere.
    let kind = path.metadata().ok().map(|metadata| metadata.file_type());
    if let Some(kind) = kind.and_then(other_kind) {
        return Err(Error::TargetNotAFile { kind });
    }
    match (replace, is_link) {
        (_, true) if kind.is_none() => Err(Error::DanglingLink),
        (Replace::Never, _) => Err(Error::Exists),
        (Replace::Existing, false) => Ok(path.to_owned()),
        (Replace::Existing, true) => fs::canonicalize(path).map_err(|_| Error::DanglingLink),
    }
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn open_directory(path: &Path) -> Result<File> {
    let directory = path.to_owned();
    // A pipe of that name is not waited for.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
        .open(path);
    match opened {
        Ok(file) => match refuse_read_only(&file) {
            Ok(()) => Ok(file),
            Err(source) => Err(Error::CannotCreate { directory, source }),
        },
        Err(source) => Err(match source.kind() {
            io::ErrorKind::NotFound => Error::NoDirectory { directory },
            io::ErrorKind::NotADirectory => Error::NotADirectory { directory },
            _ => Error::CannotCreate { directory, source },
        }),
    }
}

/// Fails where this user may make no file in the directory.
fn refuse_read_only(directory: &File) -> io::Result<()> {
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    Ok(rustix::fs::accessat(
        directory,
        ".",
        wanted,
        AtFlags::empty(),
    )?)
}

/// An unnamed file, `None` where that is not possible for whatever reason: the named one tells it.
fn create_unnamed(directory: &File, mode: u32) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, ".", flags, Mode::from_raw_mode(mode)).ok()?;
    let file = File::from(file);
    // It gets its name by way of /proc; where that is missing, better know now.
    let by_proc = proc_path(&file).metadata().ok()?;
    let itself = file.metadata().ok()?;
    ((by_proc.dev(), by_proc.ino()) == (itself.dev(), itself.ino())).then_some(file)
}

/// An empty file in a directory that has no name, for what is written on the way to an output. Where the file system has no such
/// files it loses its name at once: whatever ends the process, nothing of it is left.
pub(super) fn create_beside(directory_path: &Path, output: &Path) -> Result<File> {
    let directory = open_directory(directory_path)?;
    if let Some(file) = create_unnamed(&directory, 0o600) {
        return Ok(file);
    }
    let name = output.file_name().unwrap_or_default();
    let (file, temporary) = create_named(directory_path, name, 0o600)?;
    drop(temporary);
    Ok(file)
}

fn create_named(
    directory_path: &Path,
    name: &OsStr,
    mode: u32,
) -> Result<(File, Option<TemporaryName>)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(mode);
    let named = tempfile::Builder::new()
        .prefix(&temporary_prefix(name))
        .suffix(".partial")
        .make_in(directory_path, |path| options.open(path))
        .map_err(|source| Error::CannotCreate {
            directory: directory_path.to_owned(),
            source,
        })?;
    let (file, path) = named.into_parts();
    Ok((file, Some(TemporaryName::new(path))))
}

/// The path by which an open file can be linked.
pub(super) fn proc_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// What the names of temporaries for `name` start with. They stay within the 255 bytes that a name may have:
/// the start, six letters and a suffix of up to nine bytes.
pub(super) fn temporary_prefix(name: &OsStr) -> OsString {
    const MIDDLE: &[u8] = b".encrypt-cloud-image.";
    const ROOM: usize = 255 - 1 - MIDDLE.len() - 6 - 9;
    let name = name.as_bytes();
    let mut end = name.len().min(ROOM);
    // A letter is not cut in two: some file systems take whole ones only.
    while end < name.len() && end > 0 && name[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    OsString::from_vec([b".", &name[..end], MIDDLE].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_temporaries_fit_whatever_the_name() {
        let prefix = |name: &str| temporary_prefix(OsStr::new(name)).into_string().unwrap();
        assert_eq!(prefix("disk.img"), ".disk.img.encrypt-cloud-image.");
        assert_eq!(prefix(&"a".repeat(255)).len() + 6 + ".finished".len(), 255);
        assert!(prefix(&"ä".repeat(127)).starts_with(".ä"));
    }
}
