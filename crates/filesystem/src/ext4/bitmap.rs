//! Which blocks of a filesystem are used, as one bit a cluster.
//!
//! What the map calls free is never read from the source: it may hold what was deleted. So the map errs on the side
//! of used: the boot area before the first group and blocks in a cluster that is used in part count as used.

use std::ops::Range;

/// The used ranges of a filesystem; a filesystem of 30 GiB with blocks of 4 KiB takes 1 MiB of it.
#[derive(Clone, PartialEq, Eq)]
pub struct BlockBitmap {
    /// One bit a cluster, the lowest bit of a byte first.
    bits: Vec<u8>,
    cluster_bytes: u64,
    /// Where cluster 0 of `bits` begins: 1024 with blocks of 1 KiB, else 0. What lies before is used.
    start_bytes: u64,
    len_bytes: u64,
}

impl std::fmt::Debug for BlockBitmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockBitmap")
            .field("cluster_bytes", &self.cluster_bytes)
            .field("len_bytes", &self.len_bytes)
            .field("used_bytes", &self.used_bytes())
            .finish_non_exhaustive()
    }
}

impl BlockBitmap {
    pub(super) fn new(bits: Vec<u8>, cluster_bytes: u64, start_bytes: u64, len_bytes: u64) -> Self {
        Self {
            bits,
            cluster_bytes,
            start_bytes,
            len_bytes,
        }
    }

    /// Size of the unit of allocation, in bytes.
    pub fn cluster_bytes(&self) -> u64 {
        self.cluster_bytes
    }

    /// Length of the filesystem, in bytes; nothing behind it is used.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// How many bytes are used.
    pub fn used_bytes(&self) -> u64 {
        let mut used = 0;
        let mut from = 0;
        while let Some(range) = self.next_used(from) {
            used += range.end - range.start;
            from = range.end;
        }
        used
    }

    /// The first range of used bytes that ends behind `from_bytes`, cut to start there at the earliest, and as long
    /// as it gets; `None` where nothing behind is used. As [`ReadAt::next_data`](base::storage::ReadAt::next_data).
    pub fn next_used(&self, from_bytes: u64) -> Option<Range<u64>> {
        if from_bytes >= self.len_bytes {
            return None;
        }
        if from_bytes < self.start_bytes {
            let end = self.offset(self.next(0, false));
            return Some(from_bytes..end);
        }
        let first = self.next((from_bytes - self.start_bytes) / self.cluster_bytes, true);
        let start = self.offset(first).max(from_bytes);
        if start >= self.len_bytes {
            return None;
        }
        Some(start..self.offset(self.next(first, false)))
    }

    /// Whether the byte at `offset_bytes` is used.
    pub fn is_used(&self, offset_bytes: u64) -> bool {
        let next = self.next_used(offset_bytes);
        next.is_some_and(|range| range.start == offset_bytes)
    }

    /// Where cluster `number` begins, at most the filesystem's end.
    fn offset(&self, number: u64) -> u64 {
        number
            .saturating_mul(self.cluster_bytes)
            .saturating_add(self.start_bytes)
            .min(self.len_bytes)
    }

    /// The first cluster from `number` on that is used (or not); the end of the bits where there is none.
    fn next(&self, mut number: u64, used: bool) -> u64 {
        let end = self.bits.len() as u64 * 8;
        let passed = if used { 0x00 } else { 0xff };
        while number < end {
            let Some(byte) = usize::try_from(number / 8)
                .ok()
                .and_then(|index| self.bits.get(index))
            else {
                break;
            };
            if number.is_multiple_of(8) && *byte == passed {
                number += 8;
                continue;
            }
            if (byte >> (number % 8) & 1 == 1) == used {
                return number;
            }
            number += 1;
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_as_long_as_they_get_and_cut_to_where_the_caller_is() {
        let map = BlockBitmap::new(vec![0b0000_0110, 0xff, 0b0000_0001], 4096, 0, 20 * 4096);
        assert_eq!(map.next_used(0), Some(4096..3 * 4096));
        assert_eq!(map.next_used(5000), Some(5000..3 * 4096));
        assert_eq!(map.next_used(3 * 4096), Some(8 * 4096..17 * 4096));
        assert_eq!(map.next_used(17 * 4096 - 1), Some(17 * 4096 - 1..17 * 4096));
        assert_eq!(map.next_used(17 * 4096), None);
        assert_eq!(map.next_used(u64::MAX), None);
        assert_eq!(map.used_bytes(), 11 * 4096);
        let used = [0, 4096, 3 * 4096 - 1, 3 * 4096, 17 * 4096].map(|at| map.is_used(at));
        assert_eq!(used, [false, true, true, false, false]);
    }

    #[test]
    fn the_kibibyte_before_the_first_block_is_used_and_joins_what_follows() {
        let map = BlockBitmap::new(vec![0b0000_0001, 0], 1024, 1024, 17 * 1024);
        assert_eq!(map.next_used(0), Some(0..2048));
        assert_eq!(map.next_used(1), Some(1..2048));
        let free = BlockBitmap::new(vec![0, 0], 1024, 1024, 17 * 1024);
        assert_eq!(free.next_used(0), Some(0..1024));
        assert_eq!(free.next_used(1024), None);
    }

    #[test]
    fn padding_bits_behind_the_end_are_not_used() {
        let map = BlockBitmap::new(vec![0xff, 0xff], 4096, 0, 10 * 4096 - 512);
        assert_eq!(map.next_used(0), Some(0..10 * 4096 - 512));
        assert_eq!(map.next_used(10 * 4096 - 512), None);
    }
}
