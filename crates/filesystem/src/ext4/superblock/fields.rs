//! The superblock's bytes by their offsets, its checksum, and the error that names a field.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::SUPERBLOCK_BYTES;
use crate::{Error, Result};
use base::checksum::crc32c;

/// The superblock's bytes, read by offset. Offsets are constants below 1024.
#[derive(Clone, Copy)]
pub(super) struct SuperblockFields<'b>(pub(super) &'b [u8; SUPERBLOCK_BYTES]);

impl SuperblockFields<'_> {
    #[expect(
        clippy::expect_used,
        clippy::arithmetic_side_effects,
        reason = "offsets are constants of this module"
    )]
    pub(super) fn bytes<const N: usize>(self, offset: usize) -> [u8; N] {
        self.0
            .get(offset..offset + N)
            .and_then(|bytes| bytes.try_into().ok())
            .expect("BUG: a field lies outside of the superblock")
    }

    /// The feature words compat, incompat and `ro_compat`.
    pub(super) fn features(self) -> (u32, u32, u32) {
        (self.u32(0x5c), self.u32(0x60), self.u32(0x64))
    }

    pub(super) fn u8(self, offset: usize) -> u8 {
        u8::from_le_bytes(self.bytes(offset))
    }

    pub(super) fn u16(self, offset: usize) -> u16 {
        u16::from_le_bytes(self.bytes(offset))
    }

    pub(super) fn u32(self, offset: usize) -> u32 {
        u32::from_le_bytes(self.bytes(offset))
    }

    /// A count of blocks: its lower 32 bits, and the upper ones elsewhere where the feature `64bit` is on.
    pub(super) fn block_count(self, low: usize, high: usize, wide: bool) -> u64 {
        let upper = if wide { self.u32(high) } else { 0 };
        u64::from(self.u32(low)) | u64::from(upper) << 32
    }

    /// Checks the checksum of a filesystem with `metadata_csum`.
    pub(super) fn verify_checksum(self) -> Result<()> {
        let kind = self.u8(0x175);
        check("checksum type", 0x175, kind, kind == 1, "1 (CRC-32C)")?;
        let stored = self.u32(0x3fc);
        let computed = crc32c(&self.bytes::<0x3fc>(0));
        if stored == computed {
            return Ok(());
        }
        Err(Error::SuperblockChecksum { stored, computed })
    }
}

/// `Ok` where the value fits, else the error that names field, offset and what is allowed.
pub(super) fn check(
    field: &'static str,
    offset: usize,
    value: impl Into<u64>,
    fits: bool,
    allowed: &'static str,
) -> Result<()> {
    if fits {
        return Ok(());
    }
    Err(Error::SuperblockField {
        field,
        offset_bytes: offset as u64,
        value: value.into(),
        allowed,
    })
}

/// The bytes before the first NUL.
pub(super) fn text(padded: [u8; 16]) -> Vec<u8> {
    padded.into_iter().take_while(|byte| *byte != 0).collect()
}
