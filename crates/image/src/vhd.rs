//! The footer of a fixed VHD: the disk's bytes, then these 512.
//!
//! | offset | size | field | in what we write |
//! | --- | --- | --- | --- |
//! | 0 | 8 | cookie | `conectix` |
//! | 8 | 4 | features | 2 |
//! | 12 | 4 | version | 0x00010000 |
//! | 16 | 8 | data offset | all ones: no dynamic header |
//! | 24 | 4 | time stamp | seconds since 2000-01-01 UTC |
//! | 28 | 4 | creator application | `win ` |
//! | 32 | 4 | creator version | 0x000a0000 |
//! | 36 | 4 | creator host OS | `Wi2k` |
//! | 40 | 8 | original size | bytes of the disk |
//! | 48 | 8 | current size | bytes of the disk |
//! | 56 | 4 | geometry | computed: cylinders u16, heads, sectors per track |
//! | 60 | 4 | disk type | 2; 3 is dynamic, 4 differencing |
//! | 64 | 4 | checksum | one's complement of the sum of all bytes but these |
//! | 68 | 16 | unique id | random |
//! | 84 | 428 | saved state, reserved | 0 |
//!
//! Big-endian; Microsoft's "Virtual Hard Disk Image Format Specification" 1.0. The size is the current size,
//! which must be the file's less the footer. qemu 7.2 believes the current size of the creators `win `,
//! `d2v `, `qem2`, `tap` and `CTXS` or with a geometry of 65535/16/255, and otherwise the geometry.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use uuid::Uuid;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Error, OtherFormat, Result};

/// Length of the footer.
pub const FOOTER_BYTES: u64 = 512;

/// What a footer starts with.
pub(super) const COOKIE: [u8; 8] = *b"conectix";

const TYPE_FIXED: u32 = 2;
const TYPE_DYNAMIC: u32 = 3;
const TYPE_DIFFERENCING: u32 = 4;

/// 2000-01-01 00:00 UTC in seconds since 1970.
const EPOCH: u64 = 946_684_800;

#[derive(Debug, Clone, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawFooter {
    cookie: [u8; 8],
    features: U32,
    version: U32,
    data_offset: U64,
    time_stamp: U32,
    creator: [u8; 4],
    creator_version: U32,
    creator_os: [u8; 4],
    original_size: U64,
    current_size: U64,
    cylinders: U16,
    heads: u8,
    sectors_per_track: u8,
    disk_type: U32,
    checksum: U32,
    unique_id: [u8; 16],
    reserved: [u8; 428],
}

/// The footer of a fixed VHD, with a right checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer(RawFooter);

/// Cylinders, heads and sectors of 512 bytes: what old BIOSes were told of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Cylinders, 65535 at most.
    pub cylinders: u16,
    /// Heads, 16 at most.
    pub heads: u8,
    /// Sectors per track: 17, 31, 63 or 255.
    pub sectors_per_track: u8,
}

impl Geometry {
    /// The geometry of a disk of so many bytes, by the appendix of the specification. What does not fill a
    /// cylinder is not covered, nor what is behind 65535 x 16 x 255 sectors.
    pub fn of(disk_bytes: u64) -> Self {
        let sectors = (disk_bytes / 512).min(65535 * 16 * 255);
        let (heads, sectors_per_track) = if sectors >= 65535 * 16 * 63 {
            (16, 255)
        } else {
            let tracks = sectors / 17;
            let heads = tracks.div_ceil(1024).max(4);
            if heads <= 16 && tracks < heads.saturating_mul(1024) {
                (heads, 17)
            } else if sectors / 31 < 16 * 1024 {
                (16, 31)
            } else {
                (16, 63)
            }
        };
        let tracks = sectors.checked_div(sectors_per_track).unwrap_or(0);
        let cylinders = tracks.checked_div(heads).unwrap_or(0);
        Self {
            cylinders: u16::try_from(cylinders).unwrap_or(u16::MAX),
            heads: u8::try_from(heads).unwrap_or(16),
            sectors_per_track: u8::try_from(sectors_per_track).unwrap_or(u8::MAX),
        }
    }

    /// The bytes that it covers.
    pub fn len_bytes(self) -> u64 {
        [
            u64::from(self.heads),
            u64::from(self.sectors_per_track),
            512,
        ]
        .into_iter()
        .fold(u64::from(self.cylinders), u64::saturating_mul)
    }
}

/// The time stamp of a footer for a time in seconds since 1970; 0 for what is before 2000, and the last that
/// fits from the year 2136 on.
pub fn vhd_time(unix_seconds: u64) -> u32 {
    u32::try_from(unix_seconds.saturating_sub(EPOCH)).unwrap_or(u32::MAX)
}

impl Footer {
    /// The footer for a disk of `disk_bytes` bytes; `time_stamp` as from [`vhd_time`].
    pub fn new(disk_bytes: u64, unique_id: Uuid, time_stamp: u32) -> Self {
        let geometry = Geometry::of(disk_bytes);
        let mut fields = RawFooter {
            cookie: COOKIE,
            features: 2.into(),
            version: 0x0001_0000.into(),
            data_offset: u64::MAX.into(),
            time_stamp: time_stamp.into(),
            creator: *b"win ",
            creator_version: 0x000a_0000.into(),
            creator_os: *b"Wi2k",
            original_size: disk_bytes.into(),
            current_size: disk_bytes.into(),
            cylinders: geometry.cylinders.into(),
            heads: geometry.heads,
            sectors_per_track: geometry.sectors_per_track,
            disk_type: TYPE_FIXED.into(),
            checksum: 0.into(),
            unique_id: unique_id.into_bytes(),
            reserved: [0; 428],
        };
        fields.checksum = checksum(&fields).into();
        Self(fields)
    }

    /// Takes a footer apart that starts with the cookie; checks its checksum and its type.
    pub(super) fn parse(bytes: &[u8; 512]) -> Result<Self> {
        match Self::of_any_kind(bytes)? {
            (footer, TYPE_FIXED) => Ok(footer),
            (_, kind) => Err(other_kind(kind)),
        }
    }

    /// The same for the footer of a dynamic VHD.
    pub(super) fn parse_dynamic(bytes: &[u8; 512]) -> Result<Self> {
        match Self::of_any_kind(bytes)? {
            (footer, TYPE_DYNAMIC) => Ok(footer),
            (_, kind) => Err(other_kind(kind)),
        }
    }

    fn of_any_kind(bytes: &[u8; 512]) -> Result<(Self, u32)> {
        let fields: RawFooter = zerocopy::transmute!(*bytes);
        let (stored, computed) = (fields.checksum.get(), checksum(&fields));
        if stored != computed {
            return Err(Error::VhdChecksum { stored, computed });
        }
        let kind = fields.disk_type.get();
        Ok((Self(fields), kind))
    }

    /// Where the header of a dynamic VHD lies.
    pub(super) fn data_offset(&self) -> u64 {
        self.0.data_offset.get()
    }

    /// The bytes of the footer.
    pub fn to_bytes(&self) -> [u8; 512] {
        zerocopy::transmute!(self.0.clone())
    }

    /// Length of the disk: the current size.
    pub fn disk_bytes(&self) -> u64 {
        self.0.current_size.get()
    }

    /// The geometry as stored.
    pub fn geometry(&self) -> Geometry {
        Geometry {
            cylinders: self.0.cylinders.get(),
            heads: self.0.heads,
            sectors_per_track: self.0.sectors_per_track,
        }
    }

    /// Length of the disk as qemu takes it.
    pub(super) fn disk_bytes_for_qemu(&self) -> u64 {
        const BY_CURRENT_SIZE: [[u8; 4]; 5] = [*b"win ", *b"d2v ", *b"qem2", *b"tap\0", *b"CTXS"];
        const ALL_ONES: Geometry = Geometry {
            cylinders: 65535,
            heads: 16,
            sectors_per_track: 255,
        };
        if BY_CURRENT_SIZE.contains(&self.0.creator) || self.geometry() == ALL_ONES {
            self.disk_bytes()
        } else {
            self.geometry().len_bytes()
        }
    }
}

/// The error for a type that was not looked for.
fn other_kind(kind: u32) -> Error {
    let format = match kind {
        TYPE_DYNAMIC => OtherFormat::DynamicVhd,
        TYPE_DIFFERENCING => OtherFormat::DifferencingVhd,
        kind => return Error::VhdType { kind },
    };
    Error::OtherFormat { format }
}

/// One's complement of the sum of all bytes, with the checksum itself as zero.
fn checksum(fields: &RawFooter) -> u32 {
    let mut zeroed = fields.clone();
    zeroed.checksum = 0.into();
    complement_of_sum(zeroed.as_bytes())
}

/// One's complement of the sum of all bytes.
pub(super) fn complement_of_sum(bytes: &[u8]) -> u32 {
    // 1024 bytes of 255 are far below 2^32.
    let sum = bytes
        .iter()
        .fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometries_are_those_of_the_specification() {
        const MIB: u64 = 1 << 20;
        for (disk_bytes, expected) in [
            (0, (0, 4, 17)),
            (MIB, (30, 4, 17)),
            (5 * MIB, (150, 4, 17)),
            (100 * MIB, (1003, 12, 17)),
            (504 * MIB, (1024, 16, 63)),
            (1024 * MIB, (2080, 16, 63)),
            (30 * 1024 * MIB, (62415, 16, 63)),
            (30 * 1024 * MIB + MIB, (62417, 16, 63)),
            (60 * 1024 * MIB, (30840, 16, 255)),
            (127 * 1024 * MIB, (65278, 16, 255)),
            (128 * 1024 * MIB, (65535, 16, 255)),
            (u64::MAX, (65535, 16, 255)),
        ] {
            let Geometry {
                cylinders,
                heads,
                sectors_per_track,
            } = Geometry::of(disk_bytes);
            assert_eq!(
                (cylinders, heads, sectors_per_track),
                expected,
                "{disk_bytes} bytes"
            );
        }
    }

    #[test]
    fn a_footer_is_read_back_as_written() {
        let footer = Footer::new(30 << 30, Uuid::from_bytes([7; 16]), 0x1234_5678);
        assert_eq!(Footer::parse(&footer.to_bytes()).unwrap(), footer);
    }

    #[test]
    fn one_changed_bit_breaks_the_checksum() {
        let whole = Footer::new(1 << 30, Uuid::nil(), 0).to_bytes();
        for bit in 0..512 * 8 {
            let mut bytes = whole;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(
                Footer::parse(&bytes),
                Err(Error::VhdChecksum { .. })
            ));
        }
    }

    #[test]
    fn times_count_from_2000() {
        assert_eq!(vhd_time(946_684_800), 0);
        assert_eq!(vhd_time(946_684_801), 1);
        assert_eq!(vhd_time(0), 0);
        assert_eq!(vhd_time(u64::MAX), u32::MAX);
    }
}
