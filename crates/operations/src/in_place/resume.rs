//! Finding a conversion that was begun, and whether it can go on: nothing is written here.
//!
//! Where the primary header copy is not whole, the record is asked first: a secondary one counts only where it says the
//! same, since an old one may lie there. Where the header holds a mark, the partition, the tail, the key and the chunk
//! that was converted last must be those of the mark. Else the record must vouch for the tail, and every sector of the
//! partition's beginning must be the old or the new one.
//!
//! Where nothing is begun, and nothing can be begun either, that is what is said: "leave --resume out" would not help.
//!
//! What was changed in other chunks goes unnoticed.

use super::moving::Moving;
use super::run::{Conversion, Move, Work, volume_key};
use super::tail::{BODY, KEPT_HEAD_BYTES, NEW_HEAD_AT, Tail};
use crate::Error;
use crate::common::content::{HalfConverted, PartitionContent};
use crate::common::half_converted::error::Error as InPlaceError;
use crate::common::half_converted::mark::Mark;
use crate::common::half_converted::record::tail_window;
use crate::common::half_converted::record::{Facts, Record, sha256};
use crate::common::partitions::{byte_range, window};
use base::number::to_usize;
use base::storage::{MemoryStorage, ReadAt, WriteAt};
use gpt::Partition;
use luks2::{self, HEAD_BYTES, Header, VolumeKey};

const SECTOR_BYTES: usize = 512;
/// How a LUKS header begins.
const MAGIC: &[u8] = b"LUKS\xba\xbe";
/// Sectors of the block that is written first.
const FIRST_SECTORS: usize = 8;

/// What is left to do in a partition.
enum Stage {
    /// The header holds a mark.
    Marked(Box<Header>, Box<Mark>),
    /// The header is not whole yet, and there is a record; perhaps beside a filesystem of which nothing is touched.
    Recorded { record: Box<Record>, is_plain: bool },
    /// The header is that of a complete container that is not deployed, and one of its copies is none or another one.
    Closing(Box<Header>),
    /// Such a container, and both copies are the same.
    Complete,
}

impl Stage {
    /// What is left to do in a partition with this content.
    fn of(partition: &dyn ReadAt, number: u32) -> Result<Self, Error> {
        Ok(match PartitionContent::of(partition)? {
            PartitionContent::HalfConverted(HalfConverted::Marked(header, mark)) => {
                let mark = mark.ok_or(InPlaceError::Mark)?;
                Self::Marked(header, Box::new(mark))
            }
            PartitionContent::HalfConverted(HalfConverted::Recorded(record)) => Self::Recorded {
                record,
                is_plain: false,
            },
            PartitionContent::Container(header)
                if matches!(header.metadata().clear_key(), Ok(Some(_))) =>
            {
                if header.warnings().is_empty() {
                    Self::Complete
                } else {
                    Self::Closing(header)
                }
            }
            // Nothing can be begun in anything else, either.
            other => {
                other.plain_ext4(number)?;
                let record = Record::read(partition)?;
                let record = record.ok_or(InPlaceError::NothingToResume)?;
                Self::Recorded {
                    record: Box::new(record),
                    is_plain: true,
                }
            }
        })
    }
}

impl Conversion {
    /// Finds the unfinished conversion of a partition, and checks that it can go on.
    pub fn find(disk: &dyn WriteAt, root: &Partition, sector_bytes: u64) -> Result<Self, Error> {
        let range = byte_range(root, sector_bytes);
        let partition = window(disk, &range)?;
        let work = match Stage::of(&partition, root.number)? {
            Stage::Marked(header, mark) => {
                Work::Move(Box::new(Move::marked(&partition, root, &header, &mark)?))
            }
            Stage::Recorded { record, is_plain } => Work::Move(Box::new(Move::recorded(
                &partition, root, &record, is_plain,
            )?)),
            Stage::Closing(header) => Work::Close(header),
            Stage::Complete => return Err(InPlaceError::Complete.into()),
        };
        Ok(Self {
            partition: range,
            work,
        })
    }
}

impl Move {
    fn marked(
        partition: &dyn WriteAt,
        root: &Partition,
        header: &Header,
        mark: &Mark,
    ) -> Result<Self, Error> {
        let Mark {
            facts,
            boundary_bytes,
            last_sha256,
        } = *mark;
        check_identity(&facts, root, partition.len_bytes())?;
        // With the last chunk moved, the tail may be overwritten in part.
        let tail = if boundary_bytes > 0 {
            Some(read_tail(partition, &facts)?)
        } else {
            None
        };
        let volume_key = key_of(header, &partition)?;
        let moving = Moving {
            partition,
            facts,
            volume_key: &volume_key,
            threads: 1,
        };
        if moving.last_sha256(boundary_bytes)? != last_sha256 {
            let end = facts.last_chunk_end_bytes(boundary_bytes);
            return Err(InPlaceError::LastChunkChanged {
                offset_bytes: HEAD_BYTES + boundary_bytes,
                len_bytes: end.unwrap_or(boundary_bytes) - boundary_bytes,
            }
            .into());
        }
        Ok(Self {
            facts,
            boundary_bytes,
            volume_key,
            tail,
            new_head: None,
        })
    }

    fn recorded(
        partition: &dyn WriteAt,
        root: &Partition,
        record: &Record,
        is_plain: bool,
    ) -> Result<Self, Error> {
        check_identity(&record.facts, root, partition.len_bytes())?;
        let tail = read_tail(partition, &record.facts)?;
        let new_head = tail_window(partition)?
            .read_vec(NEW_HEAD_AT, to_usize(KEPT_HEAD_BYTES))
            .map_err(Error::Source)?;
        if sha256(&new_head) != record.head_sha256 {
            return Err(InPlaceError::TailChanged.into());
        }
        let found = partition.read_vec(0, to_usize(KEPT_HEAD_BYTES));
        let found = found.map_err(Error::Source)?;
        if let Some(offset_bytes) = changed_in(&found, &tail.old_head, &new_head) {
            // The new one goes before the old superblock does: where neither is there, it is lost.
            let is_lost = !is_plain && !found.starts_with(MAGIC);
            return Err(if is_lost && has_secondary(partition)? {
                InPlaceError::LostPrimary
            } else if is_plain && !has_begun(&found, &tail.old_head, &new_head) {
                InPlaceError::NotBegun
            } else {
                InPlaceError::HeadChanged { offset_bytes }
            }
            .into());
        }
        let mut header = new_head.clone();
        header.resize(to_usize(HEAD_BYTES), 0);
        let head = MemoryStorage::new(header);
        let header = Header::read_built(&head).map_err(|_| InPlaceError::Key)?;
        Ok(Self {
            facts: record.facts,
            boundary_bytes: record.facts.filesystem_bytes,
            volume_key: key_of(&header, &head)?,
            tail: Some(tail),
            new_head: Some(new_head),
        })
    }
}

/// The volume key, by the clear key in the header.
fn key_of(header: &Header, container: &dyn ReadAt) -> Result<VolumeKey, Error> {
    volume_key(header, container).map_err(|error| match error {
        Error::Luks2(luks2::Error::Storage(error)) => Error::Source(error),
        _ => InPlaceError::Key.into(),
    })
}

fn check_identity(facts: &Facts, root: &Partition, found_bytes: u64) -> Result<(), InPlaceError> {
    if facts.partition != root.unique_guid {
        return Err(InPlaceError::OtherPartition {
            recorded: facts.partition,
            found: root.unique_guid,
        });
    }
    if facts.partition_bytes != found_bytes {
        return Err(InPlaceError::OtherLength {
            recorded_bytes: facts.partition_bytes,
            found_bytes,
        });
    }
    Ok(())
}

fn read_tail(partition: &dyn ReadAt, facts: &Facts) -> Result<Tail, Error> {
    let body = tail_window(partition)?
        .read_vec(BODY.start, to_usize(BODY.end - BODY.start))
        .map_err(Error::Source)?;
    let parsed = Tail::parse(&body, facts.filesystem_bytes);
    let tail = parsed.filter(|_| sha256(&body) == facts.tail_sha256);
    Ok(tail.ok_or(InPlaceError::TailChanged)?)
}

/// The first sector that is neither the old nor the new one.
fn changed_in(found: &[u8], old: &[u8], new: &[u8]) -> Option<u64> {
    let mut sectors = sectors(found, old, new);
    let changed = sectors.position(|(found, old, new)| found != old && found != new)?;
    Some((changed * SECTOR_BYTES) as u64)
}

/// True where something lies that a reader takes for a secondary header copy.
fn has_secondary(partition: &dyn ReadAt) -> Result<bool, Error> {
    let copies = probe::old_copies(partition).map_err(Error::Source)?;
    Ok(!copies.is_empty())
}

/// True where something of the block that is written first is there.
fn has_begun(found: &[u8], old: &[u8], new: &[u8]) -> bool {
    let mut first = sectors(found, old, new).take(FIRST_SECTORS);
    first.any(|(found, old, new)| found == new && old != new)
}

fn sectors<'a>(
    found: &'a [u8],
    old: &'a [u8],
    new: &'a [u8],
) -> impl Iterator<Item = (&'a [u8], &'a [u8], &'a [u8])> {
    let both = old.chunks(SECTOR_BYTES).zip(new.chunks(SECTOR_BYTES));
    let all = found.chunks(SECTOR_BYTES).zip(both);
    all.map(|(found, (old, new))| (found, old, new))
}
