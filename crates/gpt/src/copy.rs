//! One copy of a table as it lies on a disk: its header, and its entries where they can be trusted.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::header::{Header, RawHeader};
use super::{Flaw, Result};
use base::number::to_usize;
use base::storage::ReadAt;

/// What was found where a copy should be.
#[derive(Debug)]
pub(super) enum Copy {
    /// Header and entries have their checksums.
    Good { header: Header, entries: Vec<u8> },
    /// The header is good, the entries are not.
    HeaderOnly { header: Header, flaw: Flaw },
    /// The header is damaged, or there is none.
    Bad { raw: Option<RawHeader>, flaw: Flaw },
}

/// The geometry of a disk: whole sectors, and their size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sectors {
    pub(super) bytes: u64,
    pub(super) count: u64,
}

impl Copy {
    /// Reads the copy whose header is at `lba`, which lies on the disk.
    pub(super) fn read(disk: &dyn ReadAt, lba: u64, sectors: Sectors) -> Result<Self> {
        let Some(raw) = RawHeader::parse(&read_sector(disk, lba, sectors.bytes)?) else {
            let flaw = Flaw::NoSignature { lba };
            return Ok(Self::Bad { raw: None, flaw });
        };
        let header = match raw.clone().check(lba, sectors.count, sectors.bytes) {
            Ok(header) => header,
            Err(flaw) => {
                return Ok(Self::Bad {
                    raw: Some(raw),
                    flaw,
                });
            }
        };
        // The check has bounded the length to 1 MiB and the place to the disk.
        let mut entries = vec![0; to_usize(header.entries_len_bytes())];
        let offset_bytes = header.entries_lba().saturating_mul(sectors.bytes);
        disk.read_exact_at(&mut entries, offset_bytes)?;
        let (stored, computed) = (header.entries_checksum(), crc32fast::hash(&entries));
        Ok(if stored == computed {
            Self::Good { header, entries }
        } else {
            let flaw = Flaw::EntriesChecksum { stored, computed };
            Self::HeaderOnly { header, flaw }
        })
    }

    /// The header, if it has its checksum.
    pub(super) fn header(&self) -> Option<&Header> {
        match self {
            Self::Good { header, .. } | Self::HeaderOnly { header, .. } => Some(header),
            Self::Bad { .. } => None,
        }
    }

    /// The LBA that the header gives for the other copy, whatever else is wrong with it.
    pub(super) fn stated_alternate_lba(&self) -> Option<u64> {
        match self {
            Self::Good { header, .. } | Self::HeaderOnly { header, .. } => {
                Some(header.alternate_lba())
            }
            Self::Bad { raw, .. } => raw.as_ref().map(RawHeader::alternate_lba),
        }
    }

    /// True where something was found that calls itself a header.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Self::Bad { raw: None, .. })
    }

    /// True where it can be used.
    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Good { .. })
    }
}

/// One sector of a disk.
pub(super) fn read_sector(disk: &dyn ReadAt, lba: u64, sector_bytes: u64) -> Result<Vec<u8>> {
    let mut sector = vec![0; to_usize(sector_bytes)];
    disk.read_exact_at(&mut sector, lba.saturating_mul(sector_bytes))?;
    Ok(sector)
}
