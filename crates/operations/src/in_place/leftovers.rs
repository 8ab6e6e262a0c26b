//! Copies of the LUKS2 header of an earlier container, in blocks that the filesystem does not use.
//!
//! While the header of a conversion is not whole, a reader looks for a secondary copy at nine places, 0x4000 … 0x400000,
//! and cryptsetup writes the first valid one over the primary. So an old one must be gone before the first block of the
//! new header is there:
//!
//! - one in a block that the filesystem uses is left alone, and the conversion refused: it may be anybody's data, and
//!   behind the first 2 MiB the tail keeps nothing of it. A block of an inode table of which no inode was ever in use counts as free: nobody
//!   reads it before it was overwritten;
//! - one behind the first 2 MiB is overwritten with zeros before the record is there;
//! - one within the first 2 MiB is overwritten with what the new header has there, when tail and record are durable. So
//!   each sector is the old or the new one, and the filesystem can still be used as before.
//!
//! The sector in front of ext4's superblock is overwritten with them: ext4 leaves it alone, and of a volume of LVM it has the label,
//! which libblkid takes for what the partition is where the first sector says LUKS2.

use super::tail::KEPT_HEAD_BYTES;
use crate::Error;
use crate::common::half_converted::error::Error as InPlaceError;
use base::storage::{self, ReadAt, Slice, WriteAt};
use filesystem::ext4::Filesystem;
use probe::old_copies;

/// What is overwritten of a copy: without its magic number nobody takes it for one. No block is smaller.
const SECTOR_BYTES: usize = 512;

/// The sector in front of ext4's superblock.
const IN_FRONT_BYTES: u64 = 512;

/// Old copies behind the part of the partition that the tail keeps.
pub struct Leftovers(Vec<u64>);

impl Leftovers {
    /// Looks for old copies in a partition with a filesystem of `filesystem_bytes`.
    ///
    /// Fails where the filesystem uses a block with one.
    pub fn find(partition: &dyn ReadAt, filesystem_bytes: u64) -> Result<Self, Error> {
        let mut found = old_copies(partition).map_err(Error::Source)?;
        if !found.is_empty() {
            check_unused(&found, partition, filesystem_bytes)?;
        }
        found.retain(|offset_bytes| *offset_bytes >= KEPT_HEAD_BYTES);
        Ok(Self(found))
    }

    /// Overwrites them, and makes it durable.
    pub fn clear(&self, partition: &dyn WriteAt) -> storage::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        for offset_bytes in &self.0 {
            partition.write_all_at(&[0; SECTOR_BYTES], *offset_bytes)?;
        }
        partition.flush()
    }
}

/// Checks that no block with a copy is one of the filesystem's as it is, without the edits to come.
fn check_unused(found: &[u64], partition: &dyn ReadAt, filesystem_bytes: u64) -> Result<(), Error> {
    let range = 0..filesystem_bytes;
    let problem = |problem| Error::in_root_filesystem(problem, &range);
    let filesystem = Slice::new(partition, 0, filesystem_bytes).map_err(Error::Source)?;
    let filesystem = Filesystem::open_read_only(&filesystem).map_err(problem)?;
    let used = filesystem.used_blocks().map_err(problem)?;
    let is_of_filesystem =
        |at: &&u64| used.is_used(**at) && !filesystem.is_unused_inode_table(**at);
    match found.iter().find(is_of_filesystem) {
        Some(offset_bytes) => Err(InPlaceError::OldHeaderInUse {
            offset_bytes: *offset_bytes,
        }
        .into()),
        None => Ok(()),
    }
}

/// Puts the sectors of `new_head` into the places of old copies within it, and in front of the superblock, and makes it
/// durable.
pub fn replace(partition: &dyn WriteAt, new_head: &[u8]) -> storage::Result<()> {
    let mut is_written = false;
    let places = old_copies(&partition)?;
    for offset_bytes in [IN_FRONT_BYTES].into_iter().chain(places) {
        let sector = usize::try_from(offset_bytes)
            .ok()
            .and_then(|at| new_head.get(at..)?.get(..SECTOR_BYTES));
        if let Some(sector) = sector
            && partition.read_vec(offset_bytes, SECTOR_BYTES)? != sector
        {
            partition.write_all_at(sector, offset_bytes)?;
            is_written = true;
        }
    }
    if is_written {
        partition.flush()
    } else {
        Ok(())
    }
}
