//! A FAT filesystem that is open: find, read, list, make directories, replace files.

use std::cell::{Cell, RefCell};

use hadris_fat::{
    DirectoryEntry, Error as HadrisError, FatDir, FatVolume, FatVolumeReadExt, FatVolumeWriteExt,
    FileEntry,
};

use super::clock::{self, THREAD_CLOCK};
use super::cursor::{Aside, Below, Cursor};
use super::{FatType, Geometry};
use crate::{Error, Result};
use base::storage::{ReadAt, WriteAt};

/// A directory with more entries than that is not listed; FAT allows 65536 slots of one.
const MOST_ENTRIES: usize = 65_536;

/// A file or directory, as its entry tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The long name, where there is one, else the short one, in its case.
    pub name: String,
    /// True for a directory.
    pub is_directory: bool,
    /// Length in bytes; 0 for a directory.
    pub size_bytes: u64,
}

impl Entry {
    fn of(entry: &FileEntry) -> Self {
        Self {
            name: entry.name().into_owned(),
            is_directory: entry.is_directory(),
            size_bytes: entry.len(),
        }
    }
}

/// A FAT filesystem in a storage that begins with it.
///
/// Paths have slashes, names match without regard to case, and what is replaced keeps the case of its name. An edit
/// that failed half-way leaves the storage to be thrown away, and the filesystem refuses further ones.
pub struct Fat<'s> {
    below: Below<'s>,
    geometry: Geometry,
    volume: FatVolume<Cursor<'s>>,
    aside: Aside,
    now_seconds: i64,
    failed: Cell<bool>,
    /// Clusters of files that were switched or removed, not free yet, and their entries.
    kept: RefCell<Vec<(u64, u64)>>,
}

impl std::fmt::Debug for Fat<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fat")
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}

impl<'s> Fat<'s> {
    /// Opens a filesystem to be changed. New entries and replaced files get the time `now_seconds` (since 1970).
    pub fn open(storage: &'s dyn WriteAt, now_seconds: i64) -> Result<Self> {
        Self::with(Below::Write(storage), now_seconds)
    }

    /// Opens a filesystem to be read.
    pub fn open_read_only(storage: &'s dyn ReadAt) -> Result<Self> {
        Self::with(Below::Read(storage), 0)
    }

    fn with(below: Below<'s>, now_seconds: i64) -> Result<Self> {
        let geometry = Geometry::read(&below)?;
        let aside = Aside::default();
        let cursor = Cursor::new(below, Aside::clone(&aside));
        let volume = FatVolume::builder(cursor)
            .time_provider(&THREAD_CLOCK)
            .open()
            .map_err(|error| error_of(&aside, &error, "opening the filesystem"))?;
        Ok(Self {
            below,
            geometry,
            volume,
            aside,
            now_seconds,
            failed: Cell::new(false),
            kept: RefCell::default(),
        })
    }

    /// Where everything lies in the filesystem.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The width of the allocation table's entries.
    pub fn fat_type(&self) -> FatType {
        self.geometry.fat_type()
    }

    /// How many bytes are in free clusters, counted in the table.
    pub fn free_bytes(&self) -> Result<u64> {
        Ok(self.geometry.free_clusters(&self.below)? * self.geometry.cluster_bytes())
    }

    /// The volume's label: that of the root directory, else that of the boot sector. `None` where there is none.
    pub fn label(&self) -> Result<Option<String>> {
        let in_root = self
            .volume
            .read_root_label()
            .map_err(|error| self.error_of(&error, "reading the label"))?;
        let label = in_root.map_or_else(
            || self.volume.volume_info().volume_label().to_owned(),
            |label| String::from_utf8_lossy(&label).trim_end().to_owned(),
        );
        Ok((!label.is_empty() && label != "NO NAME").then_some(label))
    }

    /// True where the filesystem was not unmounted. Nothing is to be replayed, but clusters may be lost.
    pub fn is_dirty(&self) -> Result<bool> {
        let flags = self.volume.read_status_flags();
        Ok(flags
            .map_err(|error| self.error_of(&error, "reading the state"))?
            .dirty)
    }

    /// What `path` names; `None` where there is nothing of that name.
    pub fn find(&self, path: &str) -> Result<Option<Entry>> {
        Ok(self.look(path)?.map(|entry| Entry::of(&entry)))
    }

    /// The bytes of a file. Refuses one of more than `limit_bytes`.
    pub fn read_file(&self, path: &str, limit_bytes: u64) -> Result<Vec<u8>> {
        let entry = self.look(path)?.ok_or_else(|| not_found(path))?;
        if entry.is_directory() {
            return Err(Error::IsADirectory { path: shown(path) });
        }
        let size_bytes = entry.len();
        if size_bytes > limit_bytes {
            return Err(Error::FileTooLarge {
                path: shown(path),
                size_bytes,
                limit_bytes,
            });
        }
        let failed = |error| self.error_of(&error, &format!("reading {}", shown(path)));
        let mut reader = self.volume.read_file(&entry).map_err(failed)?;
        let bytes = reader.read_to_vec().map_err(failed)?;
        if bytes.len() as u64 != size_bytes {
            return Err(Error::Fat {
                doing: format!("reading {}", shown(path)),
                message: format!("it ends after {} of {size_bytes} bytes", bytes.len()),
            });
        }
        Ok(bytes)
    }

    /// The entries of a directory in the order on the disk, without `.` and `..`.
    pub fn list_dir(&self, path: &str) -> Result<Vec<Entry>> {
        let directory = self.directory(path)?;
        let mut entries = Vec::new();
        for entry in directory.entries() {
            let DirectoryEntry::Entry(entry) = entry
                .map_err(|error| self.error_of(&error, &format!("listing {}", shown(path))))?;
            let entry = Entry::of(&entry);
            if entry.name != "." && entry.name != ".." {
                entries.push(entry);
            }
            if entries.len() > MOST_ENTRIES {
                return Err(Error::Fat {
                    doing: format!("listing {}", shown(path)),
                    message: format!("more than {MOST_ENTRIES} entries"),
                });
            }
        }
        Ok(entries)
    }

    /// Makes a directory; the one that it lies in must exist, its name must be free.
    pub fn create_dir(&self, path: &str) -> Result<()> {
        let (parent, name) = split_last(path)?;
        let directory = self.directory(parent)?;
        if self.look(path)?.is_some() {
            return Err(Error::AlreadyExists { path: shown(path) });
        }
        self.check_room(path, self.geometry.cluster_bytes(), 0)?;
        self.editing(path, || {
            self.volume.create_dir(&directory, name).map(|_| ())
        })
    }

    /// Makes every directory on `path` that is missing.
    pub fn create_dir_all(&self, path: &str) -> Result<()> {
        let mut so_far = String::new();
        for part in parts(path) {
            so_far.push('/');
            so_far.push_str(part);
            match self.look(&so_far)? {
                Some(entry) if entry.is_directory() => {}
                Some(_) => return Err(Error::NotADirectory { path: so_far }),
                None => self.create_dir(&so_far)?,
            }
        }
        Ok(())
    }

    /// Gives the file `path` these bytes; a new file where there is none. Its directory must exist.
    ///
    /// An existing entry keeps its names, attributes and time of creation. Its clusters are used again; whether the
    /// bytes fit is checked before anything is written.
    pub fn replace_file(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let (parent, name) = split_last(path)?;
        let directory = self.directory(parent)?;
        let existing = self.look(path)?;
        let mut replaced = 0;
        if let Some(entry) = &existing {
            if entry.is_directory() {
                return Err(Error::IsADirectory { path: shown(path) });
            }
            let first = entry.cluster().0 as u64;
            replaced = self.geometry.chain(&self.below, first)?.len() as u64;
        }
        self.check_room(path, bytes.len() as u64, replaced)?;
        self.editing(path, || {
            let entry = match existing {
                Some(entry) => entry,
                None => self.volume.create_file(&directory, name)?,
            };
            let mut writer = self.volume.write_file(&entry)?;
            writer.write(bytes)?;
            writer.finish()
        })
    }

    /// Gives the file `path` these bytes as [`Fat::replace_file`] does, in clusters that are free now: those of a file
    /// that is replaced stay allocated, and hold its bytes, until [`Fat::finish`].
    ///
    /// So an existing file changes by its entry alone, which lies in one sector.
    pub fn switch_file(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.check_room(path, bytes.len() as u64, 0)?;
        if let Some(entry) = self.look(path)? {
            let clusters = self.clusters_of_file(path, &entry)?;
            if !clusters.is_empty() {
                self.editing(path, || self.volume.truncate(&entry, 0))?;
                self.keep(clusters)?;
            }
        }
        self.replace_file(path, bytes)
    }

    /// Removes a file. Its clusters stay allocated until [`Fat::finish`].
    pub fn remove_file(&self, path: &str) -> Result<()> {
        let entry = self.look(path)?.ok_or_else(|| not_found(path))?;
        let clusters = self.clusters_of_file(path, &entry)?;
        self.editing(path, || self.volume.delete(&entry))?;
        self.keep(clusters)
    }

    /// Frees the clusters that [`Fat::switch_file`] and [`Fat::remove_file`] left allocated, and counts for `FSInfo` how
    /// many are free: an interrupted edit may have left another number there.
    pub fn finish(&self) -> Result<()> {
        let storage = self.writable()?;
        for (cluster, _) in self.kept.take() {
            self.geometry.set_entry(storage, cluster, 0)?;
        }
        self.geometry.count_free(storage)
    }

    /// The chain of a file.
    fn clusters_of_file(&self, path: &str, entry: &FileEntry) -> Result<Vec<(u64, u64)>> {
        if entry.is_directory() {
            return Err(Error::IsADirectory { path: shown(path) });
        }
        let first = entry.cluster().0 as u64;
        let clusters = self.geometry.chain(&self.below, first)?;
        if entry.is_empty() && !clusters.is_empty() {
            return Err(Error::FatChain { first });
        }
        let entry = |cluster| Ok((cluster, self.geometry.entry(&self.below, cluster)?));
        clusters.into_iter().map(entry).collect()
    }

    /// Allocates again what the library has freed, so that nothing else takes it.
    fn keep(&self, clusters: Vec<(u64, u64)>) -> Result<()> {
        for (cluster, entry) in &clusters {
            self.geometry
                .set_entry(self.writable()?, *cluster, *entry)?;
        }
        self.kept.borrow_mut().extend(clusters);
        Ok(())
    }

    fn writable(&self) -> Result<&'s dyn WriteAt> {
        match self.below {
            Below::Write(storage) => Ok(storage),
            Below::Read(_) => Err(Error::Abandoned), // no edit has succeeded before
        }
    }

    /// Runs an edit; after one that failed there is no other.
    fn editing(
        &self,
        path: &str,
        edit: impl FnOnce() -> std::result::Result<(), HadrisError>,
    ) -> Result<()> {
        if self.failed.replace(true) {
            return Err(Error::Abandoned);
        }
        clock::set(self.now_seconds);
        edit().map_err(|error| self.error_of(&error, &format!("writing {}", shown(path))))?;
        self.failed.set(false);
        Ok(())
    }

    /// Checks that `len_bytes` of data fit, where `replaced` clusters become free.
    fn check_room(&self, path: &str, len_bytes: u64, replaced: u64) -> Result<()> {
        let cluster_bytes = self.geometry.cluster_bytes();
        let needed = len_bytes.div_ceil(cluster_bytes);
        let free = self.geometry.free_clusters(&self.below)? + replaced;
        if needed > free || u32::try_from(len_bytes).is_err() {
            return Err(Error::FatNoSpace {
                path: shown(path),
                needed_bytes: needed * cluster_bytes,
                free_bytes: free * cluster_bytes,
            });
        }
        Ok(())
    }

    /// The directory `path`; the root for an empty one.
    fn directory(&self, path: &str) -> Result<FatDir<'_, Cursor<'s>>> {
        let mut directory = self.volume.root_dir();
        for part in parts(path) {
            let entry = self
                .entry(&directory, part, path)?
                .ok_or_else(|| not_found(path))?;
            if !entry.is_directory() {
                return Err(Error::NotADirectory { path: shown(path) });
            }
            // The library takes the number as it stands: 0 and 1 lie before the first cluster.
            let first = entry.cluster().0 as u64;
            if !self.geometry.has_cluster(first) {
                return Err(Error::FatChain { first });
            }
            directory = directory
                .open_entry(&entry)
                .map_err(|error| self.error_of(&error, &format!("opening {}", shown(path))))?;
        }
        Ok(directory)
    }

    fn look(&self, path: &str) -> Result<Option<FileEntry>> {
        let Ok((parent, name)) = split_last(path) else {
            return Ok(None);
        };
        let directory = match self.directory(parent) {
            Err(Error::NotFound { .. }) => return Ok(None),
            directory => directory?,
        };
        self.entry(&directory, name, path)
    }

    fn entry(
        &self,
        directory: &FatDir<'_, Cursor<'s>>,
        name: &str,
        path: &str,
    ) -> Result<Option<FileEntry>> {
        if name == "." || name == ".." {
            return Ok(None); // their clusters are what an image says
        }
        directory
            .find(name)
            .map_err(|error| self.error_of(&error, &format!("looking for {}", shown(path))))
    }

    fn error_of(&self, error: &HadrisError, doing: &str) -> Error {
        error_of(&self.aside, error, doing)
    }
}

/// What the storage said, else what the library says.
fn error_of(aside: &Aside, error: &HadrisError, doing: &str) -> Error {
    match aside.borrow_mut().take() {
        Some(error) => Error::Storage(error),
        None => Error::Fat {
            doing: doing.to_owned(),
            message: error.to_string(),
        },
    }
}

fn not_found(path: &str) -> Error {
    Error::NotFound { path: shown(path) }
}

/// A path as messages show it.
fn shown(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/').escape_debug())
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

/// The directory part and the last part.
fn split_last(path: &str) -> Result<(&str, &str)> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() || name == "." || name == ".." {
        return Err(Error::InvalidName { path: shown(path) });
    }
    Ok((directory, name))
}
