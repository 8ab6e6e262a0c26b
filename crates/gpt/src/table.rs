//! A whole table: both copies brought together, checked, and changed.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::collections::BTreeMap;

use uuid::Uuid;

use super::copy::{Copy, Sectors, read_sector};
use super::entry::{Entry, Partition};
use super::header::{Header, overlap};
use super::locate::Copies;
use super::mbr::ProtectiveMbr;
use super::{CopyName, Difference, Error, MAX_ENTRIES_BYTES, MIN_ENTRIES_BYTES, Result, Warning};
use base::number::to_usize;
use base::storage::ReadAt;

/// A partition table that was read from a disk and passed its checks; every change keeps them passed.
///
/// Sectors are counted in the disk's own sector size, [`Table::sector_bytes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub(super) sectors: Sectors,
    pub(super) mbr: ProtectiveMbr,
    pub(super) primary: Header,
    pub(super) backup: Header,
    pub(super) entries: Vec<Entry>,
    /// First and last LBA of the backup's header and entries as found on the disk; empty where it was
    /// damaged, so that nothing is cleared that may not be a table.
    pub(super) found_backup: Vec<(u64, u64)>,
}

impl Table {
    /// Reads and checks the table of a disk, and tells what was wrong with it but could be helped.
    pub fn read(disk: &dyn ReadAt) -> Result<(Self, Vec<Warning>)> {
        let Copies {
            sectors,
            primary,
            backup,
        } = Copies::locate(disk)?;
        check_length(&primary, &backup, sectors)?;
        let mbr = ProtectiveMbr::parse(&read_sector(disk, 0, sectors.bytes)?)?;
        let found_backup = backup.header().map_or_else(Vec::new, |header| {
            let lba = header.my_lba();
            vec![(lba, lba), header.entries_range(sectors.bytes)]
        });

        let mut warnings = Vec::new();
        let rest_bytes = disk.len_bytes().checked_rem(sectors.bytes).unwrap_or(0);
        if rest_bytes != 0 {
            let sector_bytes = sectors.bytes;
            warnings.push(Warning::PartialSector {
                rest_bytes,
                sector_bytes,
            });
        }
        let (primary, backup, array) = unite(primary, backup, sectors, &mut warnings)?;
        let (backup_lba, last_lba) = (backup.my_lba(), sectors.count.saturating_sub(1));
        if backup_lba != last_lba {
            warnings.push(Warning::BackupNotAtEnd {
                backup_lba,
                last_lba,
            });
        }
        let entries = split(&array, &primary);
        let table = Self {
            sectors,
            mbr,
            primary,
            backup,
            entries,
            found_backup,
        };
        table.check_partitions()?;
        warnings.extend(table.same_unique_guid());
        Ok((table, warnings))
    }

    /// The first partition whose unique GUID an earlier one has: one is enough to say, and there may be thousands.
    fn same_unique_guid(&self) -> Option<Warning> {
        let mut first_with = BTreeMap::new();
        self.partitions().find_map(|partition| {
            let (second, guid) = (partition.number, partition.unique_guid);
            let first = *first_with.entry(guid).or_insert(second);
            (first != second).then_some(Warning::SameUniqueGuid {
                first,
                second,
                guid,
            })
        })
    }

    /// The disk's sector size in bytes, 512 or 4096.
    pub fn sector_bytes(&self) -> u64 {
        self.sectors.bytes
    }

    /// Length of the disk in sectors.
    pub fn disk_sectors(&self) -> u64 {
        self.sectors.count
    }

    /// The disk's GUID.
    pub fn disk_guid(&self) -> Uuid {
        self.primary.disk_guid()
    }

    /// The first sector that a partition may use.
    pub fn first_usable_lba(&self) -> u64 {
        self.primary.usable().0
    }

    /// The last sector that a partition may use, inclusive.
    pub fn last_usable_lba(&self) -> u64 {
        self.primary.usable().1
    }

    /// Where the backup header lies.
    pub fn alternate_lba(&self) -> u64 {
        self.backup.my_lba()
    }

    /// True where LBA 0 names partitions of its own: then nothing can be moved or resized.
    pub fn has_hybrid_mbr(&self) -> bool {
        self.mbr.is_hybrid()
    }

    /// The partitions, in the order of their numbers.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        let numbers = 1_u32..;
        numbers
            .zip(&self.entries)
            .filter_map(|(number, entry)| entry.partition(number))
    }

    /// The partition of this number, counted from 1.
    pub fn partition(&self, number: u32) -> Option<Partition> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.entries.get(index)?.partition(number)
    }

    /// Moves the end of a partition to `last_lba`, inclusive.
    ///
    /// The table is unchanged where that leaves the usable range or runs into another partition, and
    /// under a hybrid MBR.
    pub fn set_last_lba(&mut self, number: u32, last_lba: u64) -> Result<()> {
        let partition = self
            .partition(number)
            .ok_or(Error::NoPartition { number })?;
        if partition.last_lba == last_lba {
            return Ok(());
        }
        self.change(|table| {
            let index = usize::try_from(number)
                .ok()
                .and_then(|number| number.checked_sub(1));
            if let Some(entry) = index.and_then(|index| table.entries.get_mut(index)) {
                entry.set_last_lba(last_lba);
            }
        })
    }

    /// The last usable LBA that a disk of `sectors` sectors will have with this table.
    ///
    /// Fails where that is before the first usable one.
    pub fn last_usable_lba_for(&self, sectors: u64) -> Result<u64> {
        let reserve = self.backup_reserve_sectors().saturating_add(2);
        let last_lba = sectors
            .checked_sub(reserve)
            .filter(|lba| *lba >= self.first_usable_lba());
        last_lba.ok_or(Error::DiskTooSmall { sectors })
    }

    /// Fits the table to a disk of `sectors` sectors: the backup goes to the last ones, the usable range ends
    /// before it, the protective MBR covers all. Number and size of the entries stay.
    ///
    /// The table is unchanged where a partition no longer fits, and under a hybrid MBR.
    pub fn resize_disk(&mut self, sectors: u64) -> Result<()> {
        let last_usable_lba = self.last_usable_lba_for(sectors)?;
        let last_lba = sectors.saturating_sub(1);
        if sectors == self.sectors.count && self.backup.my_lba() == last_lba {
            return Ok(());
        }
        let entries_lba = last_lba.saturating_sub(self.backup_reserve_sectors());
        self.change(|table| {
            table.sectors.count = sectors;
            table.mbr.set_disk_sectors(sectors);
            let primary_entries_lba = table.primary.entries_lba();
            table.primary.set_places(1, last_lba, primary_entries_lba);
            table.backup.set_places(last_lba, 1, entries_lba);
            for header in [&mut table.primary, &mut table.backup] {
                header.set_last_usable_lba(last_usable_lba);
            }
        })
    }

    /// Applies a change to a copy, and keeps it only if the copy passes the checks.
    fn change(&mut self, change: impl FnOnce(&mut Self)) -> Result<()> {
        if self.has_hybrid_mbr() {
            return Err(Error::HybridMbr);
        }
        let mut changed = self.clone();
        change(&mut changed);
        let Sectors { bytes, count } = changed.sectors;
        for (copy, header) in [
            (CopyName::Primary, &changed.primary),
            (CopyName::Backup, &changed.backup),
        ] {
            let place = header.check_entries_place(count, bytes);
            place.map_err(|_| Error::NoRoom { copy })?;
        }
        changed.check_partitions()?;
        *self = changed;
        Ok(())
    }

    /// Sectors between the start of the backup's entries and its header: as found, where that is sane.
    fn backup_reserve_sectors(&self) -> u64 {
        let needed = self.backup.entries_sectors(self.sectors.bytes);
        let found = self.backup.my_lba().checked_sub(self.backup.entries_lba());
        let usual = needed.max(MIN_ENTRIES_BYTES.div_ceil(self.sectors.bytes));
        let most = MAX_ENTRIES_BYTES.div_ceil(self.sectors.bytes);
        found
            .filter(|found| (needed..=most).contains(found))
            .unwrap_or(usual)
    }

    fn check_partitions(&self) -> Result<()> {
        let (first_usable_lba, last_usable_lba) = self.primary.usable();
        let mut partitions: Vec<_> = self.partitions().collect();
        for &Partition {
            number,
            first_lba,
            last_lba,
            ..
        } in &partitions
        {
            if first_lba > last_lba {
                return Err(Error::Backwards {
                    number,
                    first_lba,
                    last_lba,
                });
            }
            if first_lba < first_usable_lba || last_lba > last_usable_lba {
                return Err(Error::OutsideUsable {
                    number,
                    first_lba,
                    last_lba,
                    first_usable_lba,
                    last_usable_lba,
                });
            }
        }
        partitions.sort_by_key(|partition| partition.first_lba);
        for (partition, other) in partitions.iter().zip(partitions.iter().skip(1)) {
            if other.first_lba <= partition.last_lba {
                return Err(Error::Overlap {
                    number: partition.number,
                    first_lba: partition.first_lba,
                    last_lba: partition.last_lba,
                    other: other.number,
                    other_first_lba: other.first_lba,
                    other_last_lba: other.last_lba,
                });
            }
        }
        Ok(())
    }
}

/// Refuses a disk that ends before the one that its table describes.
fn check_length(primary: &Copy, backup: &Copy, sectors: Sectors) -> Result<()> {
    let end_lba = match (primary.header(), backup.header()) {
        (Some(header), _) => header.usable().1.max(header.alternate_lba()),
        (None, Some(header)) => header.usable().1,
        (None, None) => return Ok(()),
    };
    if end_lba >= sectors.count {
        return Err(Error::Truncated {
            table_sectors: end_lba.saturating_add(1),
            disk_sectors: sectors.count,
            sector_bytes: sectors.bytes,
        });
    }
    Ok(())
}

/// Both headers and the array of entries, from two copies of which one at least is good.
fn unite(
    primary: Copy,
    backup: Copy,
    sectors: Sectors,
    warnings: &mut Vec<Warning>,
) -> Result<(Header, Header, Vec<u8>)> {
    let (copy, flaw, good, entries, other) = match (primary, backup) {
        (
            Copy::Good {
                header: primary,
                entries,
            },
            Copy::Good {
                header: backup,
                entries: backup_entries,
            },
        ) => {
            let Some(difference) = difference(&primary, &entries, &backup, &backup_entries) else {
                return Ok((primary, backup, entries));
            };
            warnings.push(Warning::CopiesDiffer { difference });
            let rebuilt = rebuilt(&primary, Some(&backup), sectors)?;
            return Ok((rebuilt.0, rebuilt.1, entries));
        }
        (
            Copy::Good { header, entries },
            Copy::HeaderOnly {
                header: other,
                flaw,
            },
        ) => (CopyName::Backup, flaw, header, entries, Some(other)),
        (Copy::Good { header, entries }, Copy::Bad { flaw, .. }) => {
            (CopyName::Backup, flaw, header, entries, None)
        }
        (
            Copy::HeaderOnly {
                header: other,
                flaw,
            },
            Copy::Good { header, entries },
        ) => (CopyName::Primary, flaw, header, entries, Some(other)),
        (Copy::Bad { flaw, .. }, Copy::Good { header, entries }) => {
            (CopyName::Primary, flaw, header, entries, None)
        }
        (
            Copy::HeaderOnly { flaw: primary, .. } | Copy::Bad { flaw: primary, .. },
            Copy::HeaderOnly { flaw: backup, .. } | Copy::Bad { flaw: backup, .. },
        ) => return Err(Error::BothDamaged { primary, backup }),
    };
    warnings.push(Warning::DamagedCopy { copy, flaw });
    // A copy whose header is good and says the same needs its entries written again and nothing else.
    let whole = other
        .as_ref()
        .filter(|other| good.agrees_with(other))
        .cloned();
    let (good, other) = match whole {
        Some(other) => (good, other),
        None => rebuilt(&good, other.as_ref(), sectors)?,
    };
    Ok(match copy {
        CopyName::Backup => (good, other, entries),
        CopyName::Primary => (other, good, entries),
    })
}

/// In what two good copies differ; `None` where they say the same.
fn difference(
    primary: &Header,
    primary_entries: &[u8],
    backup: &Header,
    backup_entries: &[u8],
) -> Option<Difference> {
    let (ours, theirs) = (
        split(primary_entries, primary),
        split(backup_entries, backup),
    );
    let mut pairs = (1_u32..).zip(ours.iter().zip(&theirs));
    let entry = pairs
        .find(|(_, (ours, theirs))| ours != theirs)
        .map(|(number, _)| number);
    match entry {
        Some(number) if primary.entry_bytes() == backup.entry_bytes() => {
            Some(Difference::Entry(number))
        }
        _ => (!primary.agrees_with(backup)).then_some(Difference::Header),
    }
}

/// The header of a good copy, and one for the other copy made from it. `found` is the header that is there
/// now: its entries stay where they are if that place is sane.
fn rebuilt(good: &Header, found: Option<&Header>, sectors: Sectors) -> Result<(Header, Header)> {
    let is_primary = good.my_lba() == 1;
    let copy = if is_primary {
        CopyName::Backup
    } else {
        CopyName::Primary
    };
    let lba = if is_primary {
        let places = [good.alternate_lba(), sectors.count.saturating_sub(1)];
        let mut places = places.into_iter();
        places.find(|lba| *lba > good.usable().1 && *lba < sectors.count)
    } else {
        Some(1)
    };
    let lba = lba.ok_or(Error::NoRoom { copy })?;
    let needed = good.entries_sectors(sectors.bytes);
    let usual = needed.max(MIN_ENTRIES_BYTES.div_ceil(sectors.bytes));
    let places = if is_primary {
        [lba.checked_sub(usual), lba.checked_sub(needed)]
    } else {
        [Some(2), None]
    };

    let mut good = good.clone();
    good.set_places(good.my_lba(), lba, good.entries_lba());
    let found = found.map(Header::entries_lba);
    for entries_lba in [found].into_iter().chain(places).flatten() {
        let other = good.counterpart(entries_lba);
        let clear = !overlap(
            other.entries_range(sectors.bytes),
            good.entries_range(sectors.bytes),
        );
        if clear
            && other
                .check_entries_place(sectors.count, sectors.bytes)
                .is_ok()
        {
            return Ok((good, other));
        }
    }
    Err(Error::NoRoom { copy })
}

/// The entries of an array; its length is a multiple of an entry's.
fn split(array: &[u8], header: &Header) -> Vec<Entry> {
    let entry_bytes = to_usize(header.entry_bytes().into());
    array
        .chunks_exact(entry_bytes.max(128))
        .filter_map(Entry::parse)
        .collect()
}
