//! A block device that is written.
//!
//! It has no name to get at the end, and what stood there is lost with the first write. So it is *blanked* first: without
//! its old partition table, and with the new one written last, nobody takes a part of an image for the whole.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::source::{FileIdentity, open_image, sector_bytes};
use super::{Error, Result};
use base::number::to_usize;
use base::storage::{FileStorage, ReadAt, WriteAt};

/// How much at either end tells whether a device is blank: partition tables of all kinds, and the beginnings of most
/// filesystems, lie there.
const ENDS_BYTES: u64 = 1 << 20;

/// A block device, open for writing, that nobody else uses.
#[derive(Debug)]
pub struct Device {
    storage: FileStorage,
    identity: FileIdentity,
    sector_bytes: u64,
}

/// True where a path leads to a block device.
pub fn is_device(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.file_type().is_block_device())
}

impl Device {
    /// Opens a device. It is refused where it is in use, and without `overwrite` where it is not blank.
    pub fn open(path: &Path, overwrite: bool) -> Result<Self> {
        let file = open_image(path, true)?;
        let identity = FileIdentity::of(&file.metadata().map_err(Error::Open)?);
        // What is no device any more was exchanged, and is no place to write to.
        let sector_bytes = sector_bytes(&file)?.ok_or(Error::DanglingLink)?;
        let device = Self {
            storage: FileStorage::new(file)?,
            identity,
            sector_bytes,
        };
        if !overwrite && !device.is_blank()? {
            return Err(Error::DeviceNotBlank);
        }
        Ok(device)
    }

    /// Its bytes.
    pub fn storage(&self) -> &FileStorage {
        &self.storage
    }

    /// Logical sector size in bytes.
    pub fn sector_bytes(&self) -> u64 {
        self.sector_bytes
    }

    /// Which device it is.
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Overwrites both ends with zeros, and makes that durable.
    pub fn blank(&self) -> Result<()> {
        blank(&self.storage)
    }

    fn is_blank(&self) -> Result<bool> {
        for (offset_bytes, len) in ends(&self.storage) {
            let end = self.storage.read_vec(offset_bytes, len)?;
            if end.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Overwrites both ends of a disk with zeros, and makes that durable.
pub fn blank(disk: &dyn WriteAt) -> Result<()> {
    for (offset_bytes, len) in ends(disk) {
        disk.write_all_at(&vec![0; len], offset_bytes)?;
    }
    Ok(disk.flush()?)
}

/// Offset and length of both ends.
fn ends(disk: &dyn ReadAt) -> [(u64, usize); 2] {
    let len_bytes = disk.len_bytes();
    let end_bytes = ENDS_BYTES.min(len_bytes);
    let len = to_usize(end_bytes); // 1 MiB at most
    [(0, len), (len_bytes.saturating_sub(end_bytes), len)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::storage::MemoryStorage;

    #[test]
    fn both_ends_are_blanked_and_nothing_between() {
        let disk = MemoryStorage::new(vec![1; 3 << 20]);
        blank(&disk).unwrap();
        let bytes = disk.into_bytes();
        let count = |range: std::ops::Range<usize>| bytes[range].iter().filter(|byte| **byte == 1);
        assert_eq!(count(0..1 << 20).count(), 0);
        assert_eq!(count(1 << 20..2 << 20).count(), 1 << 20);
        assert_eq!(count(2 << 20..3 << 20).count(), 0);
        let short = MemoryStorage::new(vec![1; 5000]);
        blank(&short).unwrap();
        assert_eq!(short.into_bytes(), vec![0; 5000]);
    }
}
