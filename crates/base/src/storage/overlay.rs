//! Changed blocks in memory above a storage that is never written.
//!
//! The rooms that edit a filesystem write into an overlay; the data pass then reads through it. So the
//! source stays as it was, and the few blocks that an edit touches are all the memory that it costs.

use crate::number::to_usize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use super::{ReadAt, Result, WriteAt, check_range};

/// Size of the blocks that an overlay keeps, in bytes.
pub const BLOCK_BYTES: u64 = 4096;
const BLOCK: usize = 4096;

type Block = Box<[u8; BLOCK]>;

/// A storage that reads as `base` but for the blocks that were written since.
///
/// A flush does nothing: what is in memory becomes durable where somebody reads it and writes it out.
#[derive(Debug)]
pub struct Overlay<S> {
    base: S,
    blocks: RwLock<BTreeMap<u64, Block>>,
}

impl<S: ReadAt> Overlay<S> {
    /// An overlay without a changed block.
    pub fn new(base: S) -> Self {
        Self {
            base,
            blocks: RwLock::new(BTreeMap::new()),
        }
    }

    /// How many bytes of blocks were changed; a measure of what an edit costs.
    pub fn changed_bytes(&self) -> u64 {
        self.blocks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len() as u64
            * BLOCK_BYTES
    }

    /// The storage below.
    pub fn base(&self) -> &S {
        &self.base
    }

    /// The ranges that were changed, in ascending order, adjacent blocks joined.
    pub fn changed_ranges(&self) -> Vec<Range<u64>> {
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for number in blocks.keys() {
            let start = number * BLOCK_BYTES;
            let end = (start + BLOCK_BYTES).min(self.base.len_bytes());
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        ranges
    }

    /// The bytes of block `number` in the storage below, zeros behind its end.
    fn base_block(&self, number: u64) -> Result<Block> {
        let start = number * BLOCK_BYTES;
        let within = (self.base.len_bytes() - start).min(BLOCK_BYTES);
        let mut block = Box::new([0; BLOCK]);
        self.base
            .read_exact_at(&mut block[..to_usize(within)], start)?;
        Ok(block)
    }
}

impl<S: ReadAt> ReadAt for Overlay<S> {
    fn len_bytes(&self) -> u64 {
        self.base.len_bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        let end = check_range(offset_bytes, buffer.len(), self.len_bytes())?;
        self.base.read_exact_at(buffer, offset_bytes)?;
        if buffer.is_empty() {
            return Ok(());
        }
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        for (number, block) in blocks.range(offset_bytes / BLOCK_BYTES..=(end - 1) / BLOCK_BYTES) {
            let start = number * BLOCK_BYTES;
            let from = start.max(offset_bytes);
            let to = (start + BLOCK_BYTES).min(end);
            buffer[to_usize(from - offset_bytes)..to_usize(to - offset_bytes)]
                .copy_from_slice(&block[to_usize(from - start)..to_usize(to - start)]);
        }
        Ok(())
    }

    fn next_data(&self, from_bytes: u64) -> Result<Option<Range<u64>>> {
        if from_bytes >= self.len_bytes() {
            return Ok(None);
        }
        let below = self.base.next_data(from_bytes)?;
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        let changed = blocks
            .range(from_bytes / BLOCK_BYTES..)
            .next()
            .map(|(number, _)| {
                let start = number * BLOCK_BYTES;
                start.max(from_bytes)..(start + BLOCK_BYTES).min(self.base.len_bytes())
            });
        Ok(match (below, changed) {
            (Some(below), Some(changed)) if changed.start < below.start => Some(changed),
            (None, changed) => changed,
            (below, _) => below,
        })
    }
}

impl<S: ReadAt> WriteAt for Overlay<S> {
    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> Result<()> {
        let end = check_range(offset_bytes, bytes.len(), self.len_bytes())?;
        let mut blocks = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        let mut at = offset_bytes;
        while at < end {
            let number = at / BLOCK_BYTES;
            let start = number * BLOCK_BYTES;
            let to = (start + BLOCK_BYTES).min(end);
            let block = match blocks.entry(number) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(self.base_block(number)?)
                }
            };
            block[to_usize(at - start)..to_usize(to - start)]
                .copy_from_slice(&bytes[to_usize(at - offset_bytes)..to_usize(to - offset_bytes)]);
            at = to;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Error, MemoryStorage};

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    #[test]
    fn writes_are_read_back_and_the_base_is_unchanged() {
        let base = MemoryStorage::new(pattern(3 * BLOCK + 100));
        let overlay = Overlay::new(&base);
        let mut expected = pattern(3 * BLOCK + 100);
        for (offset, len) in [(10, 20), (4090, 12), (3 * BLOCK, 100), (BLOCK, BLOCK)] {
            expected[offset..offset + len].fill(0xee);
            overlay
                .write_all_at(&vec![0xee; len], offset as u64)
                .unwrap();
        }
        assert_eq!(overlay.read_vec(0, expected.len()).unwrap(), expected);
        assert_eq!(overlay.read_vec(4000, 200).unwrap(), expected[4000..4200]);
        assert_eq!(base.into_bytes(), pattern(3 * BLOCK + 100));
    }

    #[test]
    fn the_last_short_block_ends_with_the_storage() {
        let overlay = Overlay::new(MemoryStorage::new(pattern(BLOCK + 7)));
        overlay.write_all_at(&[1, 2], BLOCK as u64 + 5).unwrap();
        assert_eq!(overlay.read_vec(BLOCK as u64 + 4, 3).unwrap()[1..], [1, 2]);
        assert!(matches!(
            overlay.write_all_at(&[1, 2], BLOCK as u64 + 6),
            Err(Error::BeyondEnd { .. })
        ));
        assert_eq!(overlay.changed_ranges(), vec![4096..4103]);
    }

    #[test]
    fn changed_blocks_are_data_even_where_the_base_has_a_hole() {
        struct Hole;
        impl ReadAt for Hole {
            fn len_bytes(&self) -> u64 {
                10 * BLOCK_BYTES
            }
            fn read_exact_at(&self, buffer: &mut [u8], _: u64) -> Result<()> {
                buffer.fill(0);
                Ok(())
            }
            fn next_data(&self, from_bytes: u64) -> Result<Option<Range<u64>>> {
                Ok((from_bytes < 8192).then_some(from_bytes.max(4096)..8192))
            }
        }
        let overlay = Overlay::new(Hole);
        overlay.write_all_at(&[1], 5 * BLOCK_BYTES).unwrap();
        assert_eq!(overlay.next_data(0).unwrap(), Some(4096..8192));
        assert_eq!(overlay.next_data(8192).unwrap(), Some(5 * 4096..6 * 4096));
        assert_eq!(
            overlay.next_data(5 * 4096 + 9).unwrap(),
            Some(5 * 4096 + 9..6 * 4096)
        );
        assert_eq!(overlay.next_data(6 * 4096).unwrap(), None);
    }
}
