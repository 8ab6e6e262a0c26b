//! The plain filesystem of a half-converted partition, put together from where its bytes are.
//!
//! Below the boundary they are where they were, but for the beginning, which the [tail](super::tail) keeps, and for
//! what the edits change. From the boundary on they are decrypted.

use std::io;

use super::tail::Tail;
use crate::common::half_converted::record::Facts;
use base::number::to_usize;
use base::storage::{Error, ReadAt, Result};
use luks2::{HEAD_BYTES, SectorCipher, VolumeKey, XtsCipher};

/// The edited filesystem, plain, at one boundary.
pub struct PlainView<'a> {
    /// The partition.
    pub partition: &'a dyn ReadAt,
    /// What the partition keeps at its end.
    pub tail: &'a Tail,
    /// Which conversion.
    pub facts: &'a Facts,
    /// The key of what is converted.
    pub volume_key: &'a VolumeKey,
    /// Where the plain bytes end.
    pub boundary_bytes: u64,
}

impl ReadAt for PlainView<'_> {
    fn len_bytes(&self) -> u64 {
        self.facts.filesystem_bytes
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        base::storage::check_range(offset_bytes, buffer.len(), self.len_bytes())?;
        let below = self.boundary_bytes.saturating_sub(offset_bytes);
        let below = to_usize(below).min(buffer.len());
        let (plain, converted) = buffer.split_at_mut(below);
        self.read_below(plain, offset_bytes)?;
        self.read_above(converted, offset_bytes + plain.len() as u64)
    }
}

impl PlainView<'_> {
    fn read_below(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        self.partition.read_exact_at(buffer, offset_bytes)?;
        lay_over(buffer, offset_bytes, &self.tail.old_head, 0);
        for extent in &self.tail.extents {
            lay_over(buffer, offset_bytes, &extent.bytes, extent.offset_bytes);
        }
        Ok(())
    }

    fn read_above(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        let sector_bytes = self.facts.sector_size.bytes() as u64;
        let start = offset_bytes / sector_bytes * sector_bytes;
        let end = (offset_bytes + buffer.len() as u64).next_multiple_of(sector_bytes);
        let len = to_usize(end - start);
        let mut sectors = self.partition.read_vec(HEAD_BYTES + start, len)?;
        let decrypted = XtsCipher::new(self.volume_key, self.facts.sector_size)
            .and_then(|mut cipher| cipher.decrypt(start / 512, &mut sectors));
        decrypted.map_err(|error| Error::Read {
            offset_bytes,
            source: io::Error::other(error),
        })?;
        lay_over(buffer, offset_bytes, &sectors, start);
        Ok(())
    }
}

/// Copies the part of `bytes`, which lie at `at`, that falls into `buffer`, which lies at `offset_bytes`.
fn lay_over(buffer: &mut [u8], offset_bytes: u64, bytes: &[u8], at: u64) {
    let start = at.max(offset_bytes);
    let end = (at + bytes.len() as u64).min(offset_bytes + buffer.len() as u64);
    if start >= end {
        return;
    }
    let part = |from: u64| to_usize(start - from)..to_usize(end - from);
    buffer[part(offset_bytes)].copy_from_slice(&bytes[part(at)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_laid_over_where_it_falls_in() {
        let over = |at: u64, len: usize| {
            let mut buffer = [0; 6];
            lay_over(&mut buffer, 10, &vec![1; len], at);
            buffer
        };
        assert_eq!(over(0, 10), [0; 6]);
        assert_eq!(over(0, 11), [1, 0, 0, 0, 0, 0]);
        assert_eq!(over(12, 2), [0, 0, 1, 1, 0, 0]);
        assert_eq!(over(15, 9), [0, 0, 0, 0, 0, 1]);
        assert_eq!(over(16, 1), [0; 6]);
        assert_eq!(over(5, 100), [1; 6]);
    }
}
