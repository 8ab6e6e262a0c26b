//! A storage that keeps what was read of it, so that plans for several outputs read their source once.
//!
//! Whole blocks of 4 KiB are read and kept, up to a limit: partition tables, metadata of filesystems, boot files. When the
//! plans are made, they are dropped, and every read reaches the storage below.

use crate::number::to_usize;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::overlay::BLOCK_BYTES;
use super::{ReadAt, Result, check_range};

const BLOCK: usize = 4096;

/// A block; the last one of a storage is filled up with zeros.
type Block = Box<[u8; BLOCK]>;

/// Keeps what is read.
pub struct Cached<S> {
    base: S,
    blocks: Mutex<HashMap<u64, Block>>,
    most_blocks: usize,
    is_complete: AtomicBool,
}

impl<S: ReadAt> Cached<S> {
    /// Keeps at most about `most_bytes` bytes of `base`.
    pub fn new(base: S, most_bytes: usize) -> Self {
        Self {
            base,
            blocks: Mutex::default(),
            most_blocks: most_bytes / BLOCK,
            is_complete: AtomicBool::new(false),
        }
    }

    /// Drops what was kept, and keeps nothing from here on.
    pub fn complete(&self) {
        self.is_complete.store(true, Ordering::Relaxed);
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        *blocks = HashMap::new();
    }

    fn copy(&self, number: u64, buffer: &mut [u8], from: usize) -> bool {
        let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = blocks.get(&number);
        if let Some(bytes) = kept.and_then(|block| block.get(from..from + buffer.len())) {
            buffer.copy_from_slice(bytes);
            return true;
        }
        false
    }

    /// Reads blocks that are not there yet, in one go, and keeps them.
    fn read_blocks(&self, numbers: &Range<u64>) -> Result<Vec<u8>> {
        let start = numbers.start * BLOCK_BYTES;
        let end = (numbers.end * BLOCK_BYTES).min(self.len_bytes());
        let bytes = self.base.read_vec(start, to_usize(end - start))?;
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, piece) in numbers.clone().zip(bytes.chunks(BLOCK)) {
            if blocks.len() >= self.most_blocks {
                break;
            }
            let mut block = Box::new([0; BLOCK]);
            block[..piece.len()].copy_from_slice(piece);
            blocks.insert(number, block);
        }
        Ok(bytes)
    }
}

impl<S: ReadAt> ReadAt for Cached<S> {
    fn len_bytes(&self) -> u64 {
        self.base.len_bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        let end = check_range(offset_bytes, buffer.len(), self.len_bytes())?;
        if self.is_complete.load(Ordering::Relaxed) {
            return self.base.read_exact_at(buffer, offset_bytes);
        }
        let mut at = offset_bytes;
        while at < end {
            let number = at / BLOCK_BYTES;
            let block_end = (number + 1) * BLOCK_BYTES;
            let to = block_end.min(end);
            let piece = &mut buffer[to_usize(at - offset_bytes)..to_usize(to - offset_bytes)];
            let from = to_usize(at - number * BLOCK_BYTES);
            if self.copy(number, piece, from) {
                at = to;
                continue;
            }
            // All that is missing up to the next block that is there, in one read.
            let last = (end - 1) / BLOCK_BYTES;
            let missing = {
                let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
                (number..=last)
                    .take_while(|number| !blocks.contains_key(number))
                    .count() as u64
            };
            let bytes = self.read_blocks(&(number..number + missing))?;
            let to = ((number + missing) * BLOCK_BYTES).min(end);
            let len = to_usize(to - at);
            buffer[to_usize(at - offset_bytes)..to_usize(to - offset_bytes)]
                .copy_from_slice(&bytes[from..from + len]);
            at = to;
        }
        Ok(())
    }

    fn next_data(&self, from_bytes: u64) -> Result<Option<Range<u64>>> {
        self.base.next_data(from_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::storage::MemoryStorage;

    /// Counts what is read of it.
    struct Counted(MemoryStorage, AtomicU64);

    impl ReadAt for Counted {
        fn len_bytes(&self) -> u64 {
            self.0.len_bytes()
        }

        fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
            self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            self.0.read_exact_at(buffer, offset_bytes)
        }
    }

    fn kept(most_bytes: usize) -> (Cached<Counted>, Vec<u8>) {
        let bytes: Vec<_> = (0..5 * BLOCK + 7)
            .map(|i| u8::try_from(i % 251).unwrap())
            .collect();
        let storage = Counted(MemoryStorage::new(bytes.clone()), AtomicU64::new(0));
        (Cached::new(storage, most_bytes), bytes)
    }

    #[test]
    fn what_was_read_is_not_read_again() {
        let (kept, bytes) = kept(1 << 20);
        for (offset, len) in [
            (5000, 10),
            (0, 3 * BLOCK),
            (4000, 9000),
            (4 * BLOCK, BLOCK + 7),
        ] {
            for _ in 0..3 {
                assert!(kept.read_vec(offset as u64, len).unwrap() == bytes[offset..offset + len]);
            }
        }
        assert!(kept.read_vec(0, bytes.len()).unwrap() == bytes);
        assert_eq!(kept.base.1.into_inner(), bytes.len() as u64);
    }

    #[test]
    fn a_limit_is_kept_and_nothing_more_when_the_plans_are_made() {
        let (limited, bytes) = kept(2 * BLOCK);
        for _ in 0..2 {
            assert!(limited.read_vec(0, bytes.len()).unwrap() == bytes);
        }
        assert_eq!(limited.blocks.lock().unwrap().len(), 2);
        let (kept, bytes) = kept(1 << 20);
        kept.read_vec(0, 100).unwrap();
        assert_eq!(kept.blocks.lock().unwrap().len(), 1);
        kept.complete();
        assert!(kept.read_vec(3, 5000).unwrap() == bytes[3..5003]);
        assert!(kept.blocks.lock().unwrap().is_empty());
        assert!(kept.read_vec(bytes.len() as u64, 1).is_err());
    }
}
