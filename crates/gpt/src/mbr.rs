//! The protective MBR in LBA 0: what keeps programs that know no GPT away from the disk.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 440 | boot code (GRUB's for a BIOS): kept |
//! | 440 | 4 | disk signature: kept |
//! | 446 | 4 x 16 | entries: boot flag, start CHS, type, end CHS, start LBA, sectors |
//! | 510 | 2 | 55 AA |
//!
//! UEFI 2.10, section 5.2.3: one entry of type 0xEE from LBA 1 to the disk's end, or 0xFFFFFFFF sectors.
//! Further entries make it a *hybrid* MBR, which no specification knows.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Error, Result};

const TYPE_PROTECTIVE: u8 = 0xee;

#[derive(Debug, Clone, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Record {
    boot_flag: u8,
    start_chs: [u8; 3],
    kind: u8,
    end_chs: [u8; 3],
    start_lba: U32,
    sectors: U32,
}

#[derive(Debug, Clone, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MasterBootRecord {
    boot_code: [u8; 440],
    disk_signature: [u8; 4],
    reserved: [u8; 2],
    records: [Record; 4],
    end: [u8; 2],
}

/// LBA 0, all of the sector: it has an entry of type 0xEE that starts at LBA 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProtectiveMbr {
    fields: MasterBootRecord,
    rest: Vec<u8>,
}

/// True where LBA 0 has partitions, and none of them says that the table is a GPT.
pub(super) fn is_plain_mbr(sector: &[u8]) -> bool {
    MasterBootRecord::read_from_prefix(sector).is_ok_and(|(fields, _)| {
        let mut kinds = fields.records.iter().map(|record| record.kind);
        // A boot sector of FAT ends with 55 AA too, and has no such entries: their boot flag is 00 or 80.
        fields.end == [0x55, 0xaa]
            && kinds.clone().any(|kind| kind != 0)
            && kinds.all(|kind| kind != TYPE_PROTECTIVE)
            && fields
                .records
                .iter()
                .all(|record| matches!(record.boot_flag, 0 | 0x80))
    })
}

impl ProtectiveMbr {
    /// Takes LBA 0 apart.
    pub(super) fn parse(sector: &[u8]) -> Result<Self> {
        let (fields, rest) =
            MasterBootRecord::read_from_prefix(sector).map_err(|_| Error::NoProtectiveMbr)?;
        let protects =
            |record: &Record| record.kind == TYPE_PROTECTIVE && record.start_lba.get() == 1;
        if fields.end != [0x55, 0xaa] || !fields.records.iter().any(protects) {
            return Err(Error::NoProtectiveMbr);
        }
        let rest = rest.to_vec();
        Ok(Self { fields, rest })
    }

    /// True where it names partitions beside the protective one.
    pub(super) fn is_hybrid(&self) -> bool {
        self.fields
            .records
            .iter()
            .filter(|record| record.kind != 0)
            .count()
            > 1
    }

    /// Makes the protective entry reach to the end of a disk of `disk_sectors` sectors.
    ///
    /// A length of 0xFFFFFFFF says "all, whatever the size" and stays, as an end of FF FF FF does.
    pub(super) fn set_disk_sectors(&mut self, disk_sectors: u64) {
        let Some(record) = self
            .fields
            .records
            .iter_mut()
            .find(|record| record.kind == TYPE_PROTECTIVE)
        else {
            return;
        };
        let last_lba = disk_sectors.saturating_sub(1);
        if record.sectors.get() != u32::MAX {
            record.sectors = u32::try_from(last_lba).unwrap_or(u32::MAX).into();
        }
        if record.end_chs != [0xff; 3] {
            record.end_chs = chs(last_lba);
        }
    }

    /// The bytes of LBA 0.
    pub(super) fn to_sector(&self) -> Vec<u8> {
        [self.fields.as_bytes(), &self.rest].concat()
    }
}

/// The address of a sector as head, sector and cylinder of a disk of 255 heads and 63 sectors; FF FF FF
/// where that does not fit.
fn chs(lba: u64) -> [u8; 3] {
    let cylinder = lba / (255 * 63);
    let head = u8::try_from(lba / 63 % 255);
    let sector = u8::try_from((lba % 63).saturating_add(1));
    match (
        head,
        sector,
        u8::try_from(cylinder & 0xff),
        u8::try_from(cylinder >> 8),
    ) {
        (Ok(head), Ok(sector), Ok(low), Ok(high)) if high < 4 => [head, sector | high << 6, low],
        _ => [0xff; 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_gdisk_writes() {
        assert_eq!(chs(131_071), [0x28, 0x20, 0x08]); // gdisk 1.0.9 on 64 MiB
        assert_eq!(chs(1), [0, 2, 0]);
        assert_eq!(chs(1024 * 255 * 63 - 1), [0xfe, 0xff, 0xff]);
        assert_eq!(chs(1024 * 255 * 63), [0xff; 3]);
        assert_eq!(chs(u64::MAX), [0xff; 3]);
    }

    fn mbr(kinds: [u8; 4]) -> Vec<u8> {
        let mut sector = vec![0x90; 446];
        for kind in kinds {
            sector.extend_from_slice(&[0, 0, 2, 0, kind, 0, 2, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
        }
        sector.extend_from_slice(&[0x55, 0xaa]);
        sector
    }

    #[test]
    fn a_length_that_does_not_fit_is_written_as_all_ones() {
        let mut protective = ProtectiveMbr::parse(&mbr([0xee, 0, 0, 0])).unwrap();
        protective.set_disk_sectors(0x1_0000_0000);
        assert_eq!(
            protective.to_sector()[446..462],
            [
                0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff
            ]
        );
        protective.set_disk_sectors(1000);
        assert_eq!(protective.to_sector()[458..462], [0xff; 4]);
    }

    #[test]
    fn plain_protective_and_hybrid_are_told_apart() {
        assert!(is_plain_mbr(&mbr([0x83, 0, 0, 0])));
        assert!(!is_plain_mbr(&mbr([0x83, 0xee, 0, 0])));
        assert!(!is_plain_mbr(&[0; 512]));
        assert!(
            !ProtectiveMbr::parse(&mbr([0, 0xee, 0, 0]))
                .unwrap()
                .is_hybrid()
        );
        assert!(
            ProtectiveMbr::parse(&mbr([0x0c, 0xee, 0, 0]))
                .unwrap()
                .is_hybrid()
        );
        assert!(matches!(
            ProtectiveMbr::parse(&mbr([0x83, 0, 0, 0])),
            Err(Error::NoProtectiveMbr)
        ));
        let mut elsewhere = mbr([0xee, 0, 0, 0]);
        elsewhere[454] = 2;
        assert!(matches!(
            ProtectiveMbr::parse(&elsewhere),
            Err(Error::NoProtectiveMbr)
        ));
    }
}
