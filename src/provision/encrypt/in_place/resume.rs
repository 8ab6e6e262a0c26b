//! Finding a conversion that was begun, and whether it can go on: nothing is written here.
//!
//! Where the primary header copy is not whole, the record is asked first: a secondary one counts only where it says the
//! same, since an old one may lie there. Where the header holds a mark, the partition, the tail, the key and the chunk
//! that was converted last must be those of the mark. Else the record must vouch for the tail, and every sector of the
//! partition's beginning must be the old or the new one.
//!
//! What was changed in other chunks goes unnoticed.

use super::error::Error as InPlaceError;
use super::mark::Mark;
use super::moving::Moving;
use super::record::{Facts, Record, sha256};
use super::run::{Conversion, Move, Work, volume_key};
use super::tail::{self, BODY, KEPT_HEAD_BYTES, NEW_HEAD_AT, Tail};
use crate::filesystem::Content;
use crate::gpt::Partition;
use crate::luks2::{self, HEAD_BYTES, Header, VolumeKey};
use crate::provision::Error;
use crate::provision::content::{HalfConverted, PartitionContent};
use crate::provision::partitions::{byte_range, window};
use crate::storage::{MemoryStorage, ReadAt, WriteAt};

const SECTOR_BYTES: usize = 512;
/// Sectors of the block that is written first.
const FIRST_SECTORS: usize = 8;

/// What is left to do in a partition.
enum Stage {
    /// The header holds a mark.
    Marked(Box<Header>, Box<Mark>),
    /// The header is not whole yet, and there is a record.
    Recorded(Box<Record>),
    /// The header is that of a complete container that is not deployed, and one of its copies is none or another one.
    Closing(Box<Header>),
    /// Such a container, and both copies are the same.
    Complete,
}

impl Stage {
    fn of(partition: &dyn ReadAt) -> Result<Option<Self>, Error> {
        Ok(match PartitionContent::of(partition)? {
            PartitionContent::HalfConverted(HalfConverted::Marked(header, mark)) => {
                let mark = mark.ok_or(InPlaceError::Mark)?;
                Some(Self::Marked(header, Box::new(mark)))
            }
            PartitionContent::HalfConverted(HalfConverted::Recorded(record)) => {
                Some(Self::Recorded(record))
            }
            // Nothing of the filesystem is touched yet.
            PartitionContent::Plain(plain) if plain.content == Content::Ext => {
                Record::read(partition)?.map(|record| Self::Recorded(Box::new(record)))
            }
            PartitionContent::Container(header) => {
                let is_ours = matches!(header.metadata().clear_key(), Ok(Some(_)));
                let stage = if header.warnings().is_empty() {
                    Self::Complete
                } else {
                    Self::Closing(header)
                };
                is_ours.then_some(stage)
            }
            PartitionContent::Plain(_)
            | PartitionContent::Damaged(_)
            | PartitionContent::Refused(_)
            | PartitionContent::Unknown => None,
        })
    }
}

impl Conversion {
    /// Finds the unfinished conversion of a partition, and checks that it can go on.
    pub fn find(disk: &dyn WriteAt, root: &Partition, sector_bytes: u64) -> Result<Self, Error> {
        let range = byte_range(root, sector_bytes);
        let partition = window(disk, &range)?;
        let work = match Stage::of(&partition)? {
            Some(Stage::Marked(header, mark)) => {
                Work::Move(Box::new(Move::marked(&partition, root, &header, &mark)?))
            }
            Some(Stage::Recorded(record)) => {
                Work::Move(Box::new(Move::recorded(&partition, root, &record)?))
            }
            Some(Stage::Closing(header)) => Work::Close(header),
            Some(Stage::Complete) => return Err(InPlaceError::Complete.into()),
            None => return Err(InPlaceError::NothingToResume.into()),
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

    fn recorded(partition: &dyn WriteAt, root: &Partition, record: &Record) -> Result<Self, Error> {
        check_identity(&record.facts, root, partition.len_bytes())?;
        let tail = read_tail(partition, &record.facts)?;
        let new_head = tail::window(partition)?
            .read_vec(NEW_HEAD_AT, index(KEPT_HEAD_BYTES))
            .map_err(Error::Source)?;
        if sha256(&new_head) != record.head_sha256 {
            return Err(InPlaceError::TailChanged.into());
        }
        let found = partition.read_vec(0, index(KEPT_HEAD_BYTES));
        check_head(&found.map_err(Error::Source)?, &tail.old_head, &new_head)?;
        let mut header = new_head.clone();
        header.resize(index(HEAD_BYTES), 0);
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
    let body = tail::window(partition)?
        .read_vec(BODY.start, index(BODY.end - BODY.start))
        .map_err(Error::Source)?;
    let parsed = Tail::parse(&body, facts.filesystem_bytes);
    let tail = parsed.filter(|_| sha256(&body) == facts.tail_sha256);
    Ok(tail.ok_or(InPlaceError::TailChanged)?)
}

/// Checks that every sector is the old or the new one.
fn check_head(found: &[u8], old: &[u8], new: &[u8]) -> Result<(), InPlaceError> {
    let sectors =
        |bytes: &[u8]| -> Vec<Vec<u8>> { bytes.chunks(SECTOR_BYTES).map(<[u8]>::to_vec).collect() };
    let (found, old, new) = (sectors(found), sectors(old), sectors(new));
    let both = found.iter().zip(old.iter().zip(&new));
    let mut changed = both.map(|(found, (old, new))| found != old && found != new);
    let Some(changed) = changed.position(|is_changed| is_changed) else {
        return Ok(());
    };
    // The first block is written first: where nothing of it is there, the filesystem was in use meanwhile.
    let mut first = found.iter().zip(old.iter().zip(&new)).take(FIRST_SECTORS);
    Err(
        if first.any(|(found, (old, new))| found == new && old != new) {
            InPlaceError::HeadChanged {
                offset_bytes: (changed * SECTOR_BYTES) as u64,
            }
        } else {
            InPlaceError::NotBegun
        },
    )
}

/// A length of at most 16 MiB.
#[expect(
    clippy::cast_possible_truncation,
    reason = "lengths of a tail and a header"
)]
fn index(bytes: u64) -> usize {
    bytes as usize
}
