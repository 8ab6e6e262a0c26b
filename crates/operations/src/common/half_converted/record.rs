//! The record: one sector that says which conversion was begun in a partition.
//!
//! It is written when everything that a crash must not lose is durable, and before the first byte of the filesystem is
//! touched; it lies at the end of the partition, in front of the *tail*. Little-endian, 512 bytes:
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 16 | magic: `eci-in-place`, NULs |
//! | 16 | 4 | version: 1 |
//! | 20 | 4 | sector size of the container |
//! | 24 | 16 | unique GUID of the partition, as in the partition table |
//! | 40 | 8 | length of the partition |
//! | 48 | 8 | length of the filesystem |
//! | 56 | 8 | length of the LUKS2 header: 16 MiB |
//! | 64 | 8 | length of a chunk |
//! | 72 | 32 | SHA-256 of the tail |
//! | 104 | 32 | SHA-256 of the new head |
//! | 136 | 344 | zeros |
//! | 480 | 32 | SHA-256 of the bytes before |

use uuid::Uuid;

use crate::Error;
use crate::common::layout::TAIL_BYTES;
use base::storage::{ReadAt, Slice};
use luks2::{HEAD_BYTES, SectorSize};
use tpm::Bank;

/// Length of the record.
pub const RECORD_BYTES: usize = 512;
const MAGIC: [u8; 16] = *b"eci-in-place\0\0\0\0";
const VERSION: u32 = 1;
const CHECKSUM_AT: usize = 480;

/// A SHA-256.
pub type Sha256 = [u8; 32];

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    let mut digest = [0; 32];
    for (byte, computed) in digest.iter_mut().zip(Bank::Sha256.digest(bytes)) {
        *byte = computed;
    }
    digest
}

/// What a conversion is told by, and what it needs to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Unique GUID of the partition.
    pub partition: Uuid,
    /// Length P of the partition.
    pub partition_bytes: u64,
    /// Length F of the filesystem.
    pub filesystem_bytes: u64,
    /// Length C of the chunks that move at a time: a multiple of 4096, at most the header's length.
    pub chunk_bytes: u64,
    /// Sector size of the container.
    pub sector_size: SectorSize,
    /// SHA-256 of the tail.
    pub tail_sha256: Sha256,
}

impl Facts {
    /// True where the numbers are those of a conversion that this program would begin: what is read from a disk must be.
    pub fn are_sound(&self) -> bool {
        let around_bytes = HEAD_BYTES + TAIL_BYTES;
        let needed_bytes = self.filesystem_bytes.checked_add(around_bytes);
        let sector_bytes = self.sector_size.bytes() as u64;
        (1..=HEAD_BYTES).contains(&self.chunk_bytes)
            && self.chunk_bytes.is_multiple_of(4096)
            && self.filesystem_bytes > 0
            && self.filesystem_bytes.is_multiple_of(sector_bytes)
            && self.partition_bytes.is_multiple_of(sector_bytes)
            && needed_bytes.is_some_and(|needed| needed <= self.partition_bytes)
    }

    /// Where the segment ends in the filesystem's own offsets: D.
    pub fn segment_bytes(&self) -> u64 {
        self.partition_bytes - HEAD_BYTES
    }

    /// Where the chunk begins that ends at `boundary_bytes`.
    pub fn chunk_start_bytes(&self, boundary_bytes: u64) -> u64 {
        boundary_bytes.saturating_sub(self.chunk_bytes)
    }

    /// Where the chunk ends that was converted last, where chunks were converted down to `boundary_bytes`; `None` for
    /// a boundary that no chunk ends at.
    pub fn last_chunk_end_bytes(&self, boundary_bytes: u64) -> Option<u64> {
        let converted_bytes = self.filesystem_bytes.checked_sub(boundary_bytes)?;
        if converted_bytes == 0 {
            return Some(boundary_bytes);
        }
        let rest_bytes = converted_bytes % self.chunk_bytes;
        match (boundary_bytes, rest_bytes) {
            (_, 0) => Some(boundary_bytes + self.chunk_bytes),
            (0, rest) => Some(rest),
            _ => None,
        }
    }
}

/// The record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Which conversion.
    pub facts: Facts,
    /// SHA-256 of the bytes that replace the beginning of the filesystem.
    pub head_sha256: Sha256,
}

impl Record {
    /// The record as it lies on the disk.
    pub fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let facts = self.facts;
        let sector_bytes = facts.sector_size.bytes() as u64;
        let fields: [&[u8]; 10] = [
            &MAGIC,
            &VERSION.to_le_bytes(),
            &sector_bytes.to_le_bytes()[..4],
            &facts.partition.to_bytes_le(),
            &facts.partition_bytes.to_le_bytes(),
            &facts.filesystem_bytes.to_le_bytes(),
            &HEAD_BYTES.to_le_bytes(),
            &facts.chunk_bytes.to_le_bytes(),
            &facts.tail_sha256,
            &self.head_sha256,
        ];
        let mut bytes = [0; RECORD_BYTES];
        let fields = fields.concat();
        bytes[..fields.len()].copy_from_slice(&fields);
        let checksum = sha256(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum);
        bytes
    }

    /// The record of a partition; `None` where there is none.
    pub fn read(partition: &dyn ReadAt) -> Result<Option<Self>, Error> {
        let mut bytes = [0; RECORD_BYTES];
        let Ok(tail) = tail_window(partition) else {
            return Ok(None); // a partition that is shorter than a tail has none
        };
        tail.read_exact_at(&mut bytes, 0).map_err(Error::Source)?;
        Ok(Self::parse(&bytes))
    }

    /// The record in a sector; `None` where there is none, or one that this program would not have written.
    pub fn parse(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let (fields, checksum) = bytes.split_at(CHECKSUM_AT);
        let (magic, mut rest) = fields.split_first_chunk::<16>()?;
        if *magic != MAGIC || sha256(fields) != *checksum {
            return None;
        }
        let version = u32::from_le_bytes(take(&mut rest)?);
        let sector_size = SectorSize::from_bytes(u32::from_le_bytes(take(&mut rest)?))?;
        let partition = Uuid::from_bytes_le(take(&mut rest)?);
        let partition_bytes = u64::from_le_bytes(take(&mut rest)?);
        let filesystem_bytes = u64::from_le_bytes(take(&mut rest)?);
        let header_bytes = u64::from_le_bytes(take(&mut rest)?);
        let facts = Facts {
            partition,
            partition_bytes,
            filesystem_bytes,
            chunk_bytes: u64::from_le_bytes(take(&mut rest)?),
            sector_size,
            tail_sha256: take(&mut rest)?,
        };
        let head_sha256 = take(&mut rest)?;
        let is_ours = version == VERSION && header_bytes == HEAD_BYTES && facts.are_sound();
        is_ours.then_some(Self { facts, head_sha256 })
    }
}

/// Takes so many bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// The window onto a partition that its tail takes.
pub(crate) fn tail_window<S: ReadAt>(partition: S) -> Result<Slice<S>, Error> {
    let start_bytes = partition.len_bytes().saturating_sub(TAIL_BYTES);
    Slice::new(partition, start_bytes, TAIL_BYTES).map_err(Error::Source)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    pub fn facts() -> Facts {
        Facts {
            partition: Uuid::from_u128(0x1234_5678_9abc_def0_1122_3344_5566_7788),
            partition_bytes: 64 * MIB,
            filesystem_bytes: 40 * MIB,
            chunk_bytes: 16 * MIB,
            sector_size: SectorSize::S512,
            tail_sha256: [7; 32],
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_any_changed_bit_makes_it_none() {
        let record = Record {
            facts: facts(),
            head_sha256: [9; 32],
        };
        let bytes = record.to_bytes();
        assert_eq!(Record::parse(&bytes), Some(record));
        for at in 0..RECORD_BYTES {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert_eq!(Record::parse(&changed), None, "byte {at}");
        }
        assert_eq!(Record::parse(&[0; RECORD_BYTES]), None);
    }

    #[test]
    fn numbers_that_no_conversion_has_are_refused_whatever_their_checksum() {
        let changes: [fn(&mut Facts); 7] = [
            |facts| facts.chunk_bytes = 0,
            |facts| facts.chunk_bytes = 16 * MIB + 4096,
            |facts| facts.chunk_bytes = 4096 + 512,
            |facts| facts.filesystem_bytes = 0,
            |facts| facts.filesystem_bytes = 40 * MIB + 512,
            |facts| facts.filesystem_bytes = u64::MAX - 511,
            |facts| facts.partition_bytes = 64 * MIB - 512,
        ];
        for change in changes {
            let mut facts = facts();
            change(&mut facts);
            let record = Record {
                facts,
                head_sha256: [0; 32],
            };
            assert_eq!(Record::parse(&record.to_bytes()), None, "{facts:?}");
        }
    }

    #[test]
    fn the_last_chunk_is_told_by_the_boundary_alone() {
        let mut facts = facts();
        assert_eq!(facts.last_chunk_end_bytes(40 * MIB), Some(40 * MIB));
        assert_eq!(facts.last_chunk_end_bytes(24 * MIB), Some(40 * MIB));
        assert_eq!(facts.last_chunk_end_bytes(8 * MIB), Some(24 * MIB));
        assert_eq!(facts.last_chunk_end_bytes(0), Some(8 * MIB));
        for boundary in [40 * MIB + 512, 39 * MIB, 7 * MIB, 512] {
            assert_eq!(facts.last_chunk_end_bytes(boundary), None, "{boundary}");
        }
        facts.filesystem_bytes = 32 * MIB;
        assert_eq!(facts.last_chunk_end_bytes(0), Some(16 * MIB));
        facts.filesystem_bytes = 3 * MIB;
        assert_eq!(facts.last_chunk_end_bytes(0), Some(3 * MIB));
    }
}
