//! Finding the two copies: at which sector size, and where the backup is.
//!
//! The backup is where a good primary header says. Without one it is in the last sector, or where the damaged
//! header says.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::copy::{Copy, Sectors, read_sector};
use super::header::RawHeader;
use super::{Error, Result, SECTOR_SIZES, mbr};
use base::number::to_usize;
use base::storage::ReadAt;

/// Both copies, for the one sector size at which there is a table.
#[derive(Debug)]
pub(super) struct Copies {
    pub(super) sectors: Sectors,
    pub(super) primary: Copy,
    pub(super) backup: Copy,
}

impl Copies {
    /// Looks for a table at both sector sizes.
    pub(super) fn locate(disk: &dyn ReadAt) -> Result<Self> {
        let mut found: Option<Self> = None;
        for sector_bytes in SECTOR_SIZES {
            let Some(copies) = Self::read(disk, sector_bytes)? else {
                continue;
            };
            found = Some(match found {
                None => copies,
                Some(other) if copies.rank() < other.rank() => other,
                Some(other) if copies.rank() > other.rank() => copies,
                Some(other) if other.rank() == Rank::Damaged => other,
                Some(_) => return Err(Error::TwoSectorSizes),
            });
        }
        match found {
            Some(copies) => Ok(copies),
            None if disk.len_bytes() >= 512 && mbr::is_plain_mbr(&read_sector(disk, 0, 512)?) => {
                Err(Error::OnlyMbr)
            }
            None => Err(Error::NoTable),
        }
    }

    /// Reads both copies at one sector size; `None` where neither has a signature.
    fn read(disk: &dyn ReadAt, sector_bytes: u64) -> Result<Option<Self>> {
        let count = disk.len_bytes().checked_div(sector_bytes).unwrap_or(0);
        let sectors = Sectors {
            bytes: sector_bytes,
            count,
        };
        let Some(last_lba) = count.checked_sub(1).filter(|lba| *lba > 1) else {
            return Ok(None);
        };
        let primary = Copy::read(disk, 1, sectors)?;
        let usable_end = primary.header().map_or(1, |header| header.usable().1);
        let stated_lba = primary.stated_alternate_lba();
        let stated_lba = stated_lba.filter(|lba| *lba > usable_end && *lba < count);
        let backup = match stated_lba {
            Some(lba) if primary.header().is_some() => Copy::read(disk, lba, sectors)?,
            _ => {
                let at_end = Copy::read(disk, last_lba, sectors)?;
                match stated_lba {
                    Some(lba) if !at_end.is_good() => {
                        let elsewhere = Copy::read(disk, lba, sectors)?;
                        if elsewhere.is_good() {
                            elsewhere
                        } else {
                            at_end
                        }
                    }
                    _ => at_end,
                }
            }
        };
        let copies = Self {
            sectors,
            primary,
            backup,
        };
        Ok((copies.primary.is_there() || copies.backup.is_there()).then_some(copies))
    }

    fn rank(&self) -> Rank {
        match (&self.primary, &self.backup) {
            (Copy::Good { .. }, _) => Rank::GoodPrimary,
            (_, Copy::Good { .. }) => Rank::GoodBackup,
            _ => Rank::Damaged,
        }
    }
}

/// How much speaks for a table at one sector size; more comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Damaged,
    GoodBackup,
    GoodPrimary,
}

/// Where the disk ends by its own partition table, in bytes: behind the backup header.
///
/// A glance that needs no valid table, for telling a raw disk from one that has something behind it in the
/// same file, such as the footer of a VHD. Looks at the primary header, then, where there is none, for a
/// backup header at the end and 512 bytes before it. `None` where no header is found.
pub fn disk_end_bytes(storage: &dyn ReadAt) -> Result<Option<u64>> {
    let len_bytes = storage.len_bytes();
    let header_at = |offset_bytes: u64, sector_bytes: u64| -> Result<Option<RawHeader>> {
        let end_bytes = offset_bytes.checked_add(sector_bytes);
        if end_bytes.is_none_or(|end_bytes| end_bytes > len_bytes) {
            return Ok(None);
        }
        let mut sector = vec![0; to_usize(sector_bytes)];
        storage.read_exact_at(&mut sector, offset_bytes)?;
        Ok(RawHeader::parse(&sector))
    };

    let mut stated_end_bytes = None;
    for sector_bytes in SECTOR_SIZES {
        let primary = header_at(sector_bytes, sector_bytes)?;
        let Some(primary) = primary.filter(|primary| primary.my_lba() == 1) else {
            continue;
        };
        let sectors = primary.alternate_lba().checked_add(1);
        let end_bytes = sectors.and_then(|sectors| sectors.checked_mul(sector_bytes));
        if primary.is_intact() && end_bytes.is_some() {
            return Ok(end_bytes);
        }
        stated_end_bytes = stated_end_bytes.or(end_bytes);
    }
    for end_bytes in [Some(len_bytes), len_bytes.checked_sub(512)]
        .into_iter()
        .flatten()
    {
        for sector_bytes in SECTOR_SIZES {
            let Some(offset_bytes) = end_bytes.checked_sub(sector_bytes) else {
                continue;
            };
            let lba = offset_bytes.checked_div(sector_bytes);
            let backup = header_at(offset_bytes, sector_bytes)?;
            if backup.is_some_and(|backup| Some(backup.my_lba()) == lba && backup.is_intact()) {
                return Ok(Some(end_bytes));
            }
        }
    }
    Ok(stated_end_bytes)
}
