//! A partition table: whatever is accepted is written so that it reads the same, and can be resized.
//!
//! Options: bit 0 mends the checksums of both copies at sectors of 512 bytes, bit 1 at sectors of 4096. The length of
//! the disk that the table is resized to comes from the last bytes of the input.

use base::storage::{Overlay, ReadAt, WriteAt};
use gpt::{Table, disk_end_bytes};

use super::sparse::{self, Input, Zeros};
use super::{shown, told};

pub fn run(input: &[u8]) -> bool {
    let Some(sparse) = Input::parse(input) else {
        return false;
    };
    let disk = sparse.storage();
    for (bit, sector_bytes) in [(0, 512), (1, 4096)] {
        if sparse.option(bit) {
            seal(&disk, sector_bytes);
        }
    }
    let _ = disk_end_bytes(&disk).unwrap();
    let (mut table, warnings) = match Table::read(&disk) {
        Ok(read) => read,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    for warning in &warnings {
        shown(&warning);
    }
    written_and_read(&table, &disk);

    let sectors = input
        .last_chunk()
        .map_or(0, |last| u64::from_le_bytes(*last))
        >> 24;
    let last_lba = table.first_usable_lba()
        + sectors % (table.last_usable_lba() - table.first_usable_lba() + 1);
    for number in table.partitions().map(|one| one.number).collect::<Vec<_>>() {
        assert!(table.partition(number).is_some());
        if table.set_last_lba(number, last_lba).is_ok() {
            assert_eq!(table.partition(number).unwrap().last_lba, last_lba);
        }
    }
    written_and_read(&table, &disk);
    for sectors in [table.disk_sectors() + sectors % 4096, sectors] {
        if table.resize_disk(sectors).is_ok() {
            assert_eq!(table.disk_sectors(), sectors);
            let disk = sparse::resized(&disk, sectors * table.sector_bytes());
            written_and_read(&table, &disk);
        }
    }
    true
}

/// A table on its disk reads as itself, and writing it a second time changes nothing.
fn written_and_read(table: &Table, disk: &Overlay<Zeros>) {
    let disk = sparse::resized(disk, disk.len_bytes());
    table.write(&disk).unwrap();
    let (again, warnings) = Table::read(&disk).unwrap();
    assert!(warnings.len() <= 3, "{warnings:?}"); // the backup elsewhere, a rest behind the last sector, a GUID twice
    assert!(again.partitions().eq(table.partitions()));
    let said = |table: &Table| {
        (
            [
                table.sector_bytes(),
                table.disk_sectors(),
                table.alternate_lba(),
            ],
            [table.first_usable_lba(), table.last_usable_lba()],
            table.disk_guid(),
            table.has_hybrid_mbr(),
        )
    };
    assert_eq!(said(&again), said(table));
    let twice = sparse::resized(&disk, disk.len_bytes());
    again.write(&twice).unwrap();
    assert!(sparse::equal(&disk, &twice));
}

/// Sets the checksums of both copies right, as far as they lie where they say.
fn seal(disk: &dyn WriteAt, sector_bytes: u64) {
    let count = disk.len_bytes() / sector_bytes;
    let stated = sparse::get(disk, sector_bytes + 32, 8).map(|lba| number(&lba));
    for lba in [Some(1), stated, count.checked_sub(1)]
        .into_iter()
        .flatten()
    {
        seal_header(disk, lba, sector_bytes);
    }
}

fn seal_header(disk: &dyn WriteAt, lba: u64, sector_bytes: u64) -> Option<()> {
    let offset_bytes = lba.checked_mul(sector_bytes)?;
    let mut header = sparse::get(disk, offset_bytes, usize::try_from(sector_bytes).ok()?)?;
    if !header.starts_with(b"EFI PART") {
        return None;
    }
    let entries_bytes = number(&header[80..84]).checked_mul(number(&header[84..88]))?;
    if entries_bytes <= 1 << 20 {
        let entries_at = number(&header[72..80]).checked_mul(sector_bytes)?;
        let entries = sparse::get(disk, entries_at, usize::try_from(entries_bytes).ok()?)?;
        header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
    }
    header[16..20].fill(0);
    let covered = header.get(..usize::try_from(number(&header[12..16])).ok()?)?;
    let checksum = crc32fast::hash(covered);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    sparse::put(disk, offset_bytes, &header);
    Some(())
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
