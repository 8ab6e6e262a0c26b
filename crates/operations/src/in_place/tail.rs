//! The tail: what a conversion would lose when it overwrites the beginning of the filesystem, kept at the end of the
//! partition, behind everything that the filesystem has.
//!
//! It takes the last 8 MiB of the partition:
//!
//! | offset | size | content |
//! | --- | --- | --- |
//! | 0 | 512 | the [record](crate::common::half_converted::record) |
//! | 4096 | 60 KiB | index: number of extents, then offset and length of each (64 bits, little-endian) |
//! | 64 KiB | 3 MiB | the extents' bytes, one behind the other: what the edits change in the filesystem |
//! | 4 MiB | 2 MiB | the beginning of the partition as it was |
//! | 6 MiB | 2 MiB | what it becomes: header copies and keyslots |
//!
//! The digest in the record, and in the header, is over all from the index to the old beginning. The new beginning is
//! not in it, since the header that it holds names the digest.

use std::ops::Range;

use crate::Error;
use crate::common::half_converted::MAX_EDITED_BYTES;
use crate::common::half_converted::error::Error as InPlaceError;
use crate::common::layout::TAIL_BYTES;
use base::number::to_usize;
use base::storage::ReadAt;

/// Length of the beginning of the partition that is kept: both header copies, and the keyslots that `encrypt` makes.
pub const KEPT_HEAD_BYTES: u64 = 2 << 20;

/// Where index, extents and old beginning lie within the tail.
pub const BODY: Range<u64> = 4096..NEW_HEAD_AT;
/// Where the new beginning lies within the tail.
pub const NEW_HEAD_AT: u64 = 6 << 20;

const EXTENTS_AT: u64 = 64 << 10;
const OLD_HEAD_AT: u64 = 4 << 20;
const ENTRY_BYTES: u64 = 16;
const _: () = assert!(NEW_HEAD_AT + KEPT_HEAD_BYTES == TAIL_BYTES);

/// Bytes of the edited filesystem, and where they lie in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the filesystem.
    pub offset_bytes: u64,
    /// What lies there after the edits.
    pub bytes: Vec<u8>,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// What the edits change, in ascending order.
    pub extents: Vec<Extent>,
    /// The beginning of the partition as it was.
    pub old_head: Vec<u8>,
}

impl Tail {
    /// Takes what has to be kept of a partition, `plain` as it is and `edited` with the edits in the ranges `changed`.
    pub fn take(
        plain: &dyn ReadAt,
        edited: &dyn ReadAt,
        changed: &[Range<u64>],
    ) -> Result<Self, Error> {
        let changed_bytes: u64 = changed.iter().map(|range| range.end - range.start).sum();
        if changed_bytes > MAX_EDITED_BYTES {
            return Err(InPlaceError::TooManyEdits { changed_bytes }.into());
        }
        let read = |storage: &dyn ReadAt, range: &Range<u64>| {
            storage
                .read_vec(range.start, to_usize(range.end - range.start))
                .map_err(Error::Source)
        };
        let extent = |range: &Range<u64>| {
            Ok(Extent {
                offset_bytes: range.start,
                bytes: read(edited, range)?,
            })
        };
        Ok(Self {
            extents: changed.iter().map(extent).collect::<Result<_, Error>>()?,
            old_head: read(plain, &(0..KEPT_HEAD_BYTES))?,
        })
    }

    /// The [`BODY`] as it lies on the disk.
    pub fn body(&self) -> Vec<u8> {
        let mut body = vec![0; to_usize(BODY.end - BODY.start)];
        let mut put = |at: u64, bytes: &[u8]| {
            let at = to_usize(at - BODY.start);
            body[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(BODY.start, &(self.extents.len() as u64).to_le_bytes());
        let mut at = EXTENTS_AT;
        for (number, extent) in (1..).zip(&self.extents) {
            let len_bytes = extent.bytes.len() as u64;
            let entry = BODY.start + number * ENTRY_BYTES;
            put(entry, &extent.offset_bytes.to_le_bytes());
            put(entry + 8, &len_bytes.to_le_bytes());
            put(at, &extent.bytes);
            at += len_bytes;
        }
        put(OLD_HEAD_AT, &self.old_head);
        body
    }

    /// Reads the tail of a partition back; `None` where its index is none of a filesystem of `filesystem_bytes`.
    pub fn parse(body: &[u8], filesystem_bytes: u64) -> Option<Self> {
        let slice = |at: u64, len: u64| {
            let start = usize::try_from(at.checked_sub(BODY.start)?).ok()?;
            body.get(start..)?.get(..usize::try_from(len).ok()?)
        };
        let number = |at: u64| Some(u64::from_le_bytes(slice(at, 8)?.try_into().ok()?));
        let count = number(BODY.start)?;
        if count >= (EXTENTS_AT - BODY.start) / ENTRY_BYTES {
            return None;
        }
        let mut extents: Vec<Extent> = Vec::new();
        let (mut at, mut behind) = (EXTENTS_AT, 0);
        for entry in 1..=count {
            let entry = BODY.start + entry * ENTRY_BYTES;
            let (offset_bytes, len_bytes) = (number(entry)?, number(entry + 8)?);
            let end = offset_bytes.checked_add(len_bytes)?;
            let next = at.checked_add(len_bytes)?;
            if offset_bytes < behind
                || end > filesystem_bytes
                || next > EXTENTS_AT + MAX_EDITED_BYTES
            {
                return None;
            }
            extents.push(Extent {
                offset_bytes,
                bytes: slice(at, len_bytes)?.to_vec(),
            });
            (at, behind) = (next, end);
        }
        Some(Self {
            extents,
            old_head: slice(OLD_HEAD_AT, KEPT_HEAD_BYTES)?.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::storage::{MemoryStorage, Overlay, WriteAt};

    fn tail() -> Tail {
        let plain = MemoryStorage::new((0..=250).cycle().take(3 << 20).collect());
        let edited = Overlay::new(&plain);
        edited.write_all_at(&[1; 5000], 100).unwrap();
        edited.write_all_at(&[2; 512], (2 << 20) + 1024).unwrap();
        Tail::take(&plain, &edited, &edited.changed_ranges()).unwrap()
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let tail = tail();
        assert_eq!(tail.extents.len(), 2);
        assert_eq!(tail.extents[0].bytes.len(), 8192);
        assert_eq!(tail.old_head[100], 100); // as it was, without the edits
        assert!(Tail::parse(&tail.body(), 3 << 20) == Some(tail));
    }

    #[test]
    fn an_index_that_leads_elsewhere_is_none() {
        let tail = tail();
        let body = tail.body();
        assert!(Tail::parse(&body[..body.len() - 1], 3 << 20).is_none());
        assert!(Tail::parse(&body, 8192).is_none()); // beyond the filesystem's end
        for (at, value) in [
            (0, u64::MAX),
            (0, 3839),
            (16, 2 << 20), // overlaps the second
            (24, u64::MAX),
            (24, 3 << 20),
            (32, 4096), // overlaps the first
            (40, u64::MAX),
        ] {
            let mut body = body.clone();
            body[at..at + 8].copy_from_slice(&value.to_le_bytes());
            assert!(Tail::parse(&body, 3 << 20).is_none(), "{value} at {at}");
        }
    }

    #[test]
    fn edits_up_to_three_mebibytes_are_taken_and_no_more() {
        let plain = MemoryStorage::new(vec![0; 4 << 20]);
        let take = |end| {
            let changed = [0..4096, 4096..end];
            Tail::take(&plain, &plain, &changed).map(|tail| tail.body().len())
        };
        assert_eq!(take(3 << 20).unwrap(), (6 << 20) - 4096);
        assert_eq!(
            take((3 << 20) + 4096).unwrap_err().to_string(),
            "in place, at most 3145728 bytes of the filesystem can be edited; here it would be 3149824"
        );
    }
}
