//! AES-256-XTS over sectors: the cipher of the data segment and of the keyslots' areas.
//!
//! Every sector is one data unit of XTS (IEEE 1619). Its tweak is the 128-bit little-endian number of its
//! first *512-byte unit*, also where sectors have 4096 bytes: sector *i* of those has the tweak 8·*i*. That
//! is what LUKS2 means by `plain64` (cryptsetup 2.6.1 writes and reads it so).
//!
//! [`SectorCipher`] is the seam: the one implementation is [`XtsCipher`] over AWS-LC, and another library
//! can take its place behind the trait. A cipher belongs to one thread; make one for each.

mod aws_lc;

pub use aws_lc::XtsCipher;

use super::Error;

/// Bytes that one step of the tweak covers.
pub(crate) const UNIT_BYTES: usize = 512;

/// The sector sizes that this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectorSize {
    /// 512 bytes.
    S512,
    /// 4096 bytes.
    S4096,
}

impl SectorSize {
    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::S512 => 512,
            Self::S4096 => 4096,
        }
    }

    /// The size in 512-byte units.
    pub(crate) const fn units(self) -> usize {
        self.bytes() / UNIT_BYTES
    }

    /// The size of that many bytes, if it is one of the two.
    pub const fn from_bytes(bytes: u32) -> Option<Self> {
        match bytes {
            512 => Some(Self::S512),
            4096 => Some(Self::S4096),
            _ => None,
        }
    }
}

/// Encrypts and decrypts whole sectors in place.
///
/// `first_unit` is the number of the data's first 512-byte unit, counted from the start of the segment
/// (plus the segment's `iv_tweak`) or of the keyslot's area. On an error the data are lost.
pub trait SectorCipher: Send {
    /// Turns plain sectors into encrypted ones.
    fn encrypt(&mut self, first_unit: u64, data: &mut [u8]) -> Result<(), Error>;

    /// Turns encrypted sectors into plain ones.
    fn decrypt(&mut self, first_unit: u64, data: &mut [u8]) -> Result<(), Error>;
}

#[cfg(test)]
mod tests;
