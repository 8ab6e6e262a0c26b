//! A conversion that goes on: the new head, then chunk after chunk, then what is left.
//!
//! What is done is never read off the data. The record says that a conversion was begun, the header copy that counts
//! says how far it is, and what stands behind that is done again in full.

use std::ops::Range;

use super::journal::Journal;
use super::leftovers;
use super::moving::Moving;
use super::tail::Tail;
use crate::Error;
use crate::common::half_converted::error::Error as InPlaceError;
use crate::common::half_converted::mark::Mark;
use crate::common::half_converted::record::Facts;
use crate::common::observer::{Control, Phase};
use crate::common::partitions::window;
use base::secret::Entropy;
use base::storage::{ReadAt, WriteAt};
use luks2::{self, Header, VolumeKey};

/// Length of a header's copies; the material of keyslots follows.
const COPIES_BYTES: usize = 1 << 20;
/// Length of a binary header: what makes a filesystem's superblock unknown.
const FIRST_BLOCK_BYTES: usize = 4096;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A conversion of which the record is durable.
pub struct Conversion {
    /// Where the partition lies in the disk.
    pub(super) partition: Range<u64>,
    /// What is left to do.
    pub(super) work: Work,
}

/// What is left of a conversion.
pub enum Work {
    /// Data have to move, or what they left behind has to go.
    Move(Box<Move>),
    /// One copy of the header is that of a complete container; the other one may not be.
    Close(Box<Header>),
}

/// A conversion with data to move.
pub struct Move {
    /// Which conversion.
    pub(super) facts: Facts,
    /// Where the plain bytes end.
    pub(super) boundary_bytes: u64,
    /// The key.
    pub(super) volume_key: VolumeKey,
    /// What is kept; `None` where all data have moved.
    pub(super) tail: Option<Tail>,
    /// The beginning of the partition as it shall be; `None` where it is written.
    pub(super) new_head: Option<Vec<u8>>,
}

/// The volume key of a container that holds its clear key.
pub(super) fn volume_key(header: &Header, container: &dyn ReadAt) -> Result<VolumeKey, Error> {
    let (_, clear_key) = header
        .metadata()
        .clear_key()?
        .ok_or(luks2::Error::WrongKey { keyslot: None })?;
    let keyslot = clear_key.keyslots.first().copied();
    let (_, volume_key) = header.unlock(keyslot, &clear_key.key, container)?;
    Ok(volume_key)
}

impl Conversion {
    /// How many bytes are converted, and how many there are; `None` where no data are left to move.
    pub fn progress(&self) -> Option<(u64, u64)> {
        match &self.work {
            Work::Move(work) => {
                let converted_bytes = work.facts.filesystem_bytes - work.boundary_bytes;
                Some((converted_bytes, work.facts.segment_bytes()))
            }
            Work::Close(_) => None,
        }
    }

    /// Goes on until the partition is a container like any other. Whatever ends it, it can go on again from what is
    /// on the disk.
    pub fn run(
        &self,
        disk: &dyn WriteAt,
        threads: usize,
        control: Control<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Error> {
        let moved = self.go_on(disk, threads, control, entropy);
        moved.map_err(|error| match error {
            Error::InPlace(_) => error,
            error => Error::Unfinished(Box::new(error)),
        })
    }

    fn go_on(
        &self,
        disk: &dyn WriteAt,
        threads: usize,
        control: Control<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Error> {
        let partition = window(disk, &self.partition)?;
        match &self.work {
            Work::Move(work) => work.go_on(&partition, threads, control, entropy),
            Work::Close(header) => close(&partition, header, entropy),
        }
    }
}

impl Move {
    fn go_on(
        &self,
        partition: &dyn WriteAt,
        threads: usize,
        control: Control<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Error> {
        let Control { observer, stop } = control;
        if let Some(head) = &self.new_head {
            leftovers::replace(partition, head).map_err(Error::Output)?;
            write_head(partition, head).map_err(Error::Output)?;
        }
        let (mut journal, mut mark) = Journal::open(partition)?;
        let moving = Moving {
            partition,
            facts: self.facts,
            volume_key: &self.volume_key,
            threads,
        };
        observer.begin(Phase::Encrypt, self.facts.segment_bytes());
        observer.advance(self.facts.filesystem_bytes - mark.boundary_bytes);
        if mark.boundary_bytes > 0 {
            let tail = self.tail.as_ref().ok_or(InPlaceError::TailChanged)?;
            let used = moving.used(tail, mark.boundary_bytes)?;
            while mark.boundary_bytes > 0 {
                if stop.is_raised() {
                    return Err(self.stopped(mark.boundary_bytes).into());
                }
                let (boundary_bytes, last_sha256) =
                    moving.convert(tail, &used, mark.boundary_bytes, observer)?;
                mark = Mark {
                    boundary_bytes,
                    last_sha256,
                    ..mark
                };
                journal.record(&mark, entropy)?;
            }
        }
        let cleared = moving.clear_rest(entropy, observer, stop);
        cleared.map_err(|error| match error {
            Error::Interrupted => self.stopped(0).into(),
            error => error,
        })?;
        observer.begin(Phase::Flush, 0);
        journal.finish(entropy)
    }

    fn stopped(&self, boundary_bytes: u64) -> InPlaceError {
        InPlaceError::Stopped {
            converted_bytes: self.facts.filesystem_bytes - boundary_bytes,
            total_bytes: self.facts.segment_bytes(),
        }
    }
}

/// Writes both header copies of a complete container again.
fn close(partition: &dyn WriteAt, header: &Header, entropy: &mut dyn Entropy) -> Result<(), Error> {
    let update = header.update()?;
    for position in update.order() {
        let bytes = update.copy_bytes(position, entropy)?;
        partition
            .write_all_at(&bytes, update.offset_bytes(position))
            .and_then(|()| partition.flush())
            .map_err(Error::Output)?;
    }
    Ok(())
}

/// Writes the new beginning of the partition, and makes it durable. The first sector goes first: its magic number is there
/// before the filesystem's superblock goes, since an older one of another kind (btrfs, LVM) may lie behind both, and
/// would count where neither is. With the rest of the first block the superblock is gone, so nobody mounts what is half
/// moved. The header copies go last: where one is whole, the keyslots are.
fn write_head(partition: &dyn WriteAt, head: &[u8]) -> base::storage::Result<()> {
    let (copies, keyslots) = head.split_at(COPIES_BYTES.min(head.len()));
    let (first, rest) = copies.split_at(FIRST_BLOCK_BYTES.min(copies.len()));
    let (magic, first) = first.split_at(SECTOR_BYTES.min(first.len()));
    for (bytes, offset_bytes) in [
        (magic, 0),
        (first, SECTOR_BYTES as u64),
        (keyslots, COPIES_BYTES as u64),
        (rest, FIRST_BLOCK_BYTES as u64),
    ] {
        partition.write_all_at(bytes, offset_bytes)?;
        partition.flush()?;
    }
    Ok(())
}
