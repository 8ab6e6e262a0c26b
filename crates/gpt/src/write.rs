//! Writing a table: which bytes, and in what order.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::Range;

use super::{CopyName, Error, Result, Table};
use base::number::to_usize;
use base::storage::WriteAt;

/// Bytes of the table, and where on the disk they go.
struct Piece {
    offset_bytes: u64,
    bytes: Vec<u8>,
}

impl Table {
    /// Writes LBA 0 and both copies to a disk, and clears the backup that was there, as far as it lies outside
    /// of every partition. Nothing is flushed.
    ///
    /// The backup goes first, so that an interrupted write leaves one good copy. Fails where the disk has
    /// another length than the one that the table was read from or resized for.
    pub fn write(&self, disk: &dyn WriteAt) -> Result<()> {
        let sector_bytes = self.sectors.bytes;
        let disk_bytes = disk.len_bytes();
        if disk_bytes.checked_div(sector_bytes) != Some(self.sectors.count) {
            let table_bytes = self.sectors.count.saturating_mul(sector_bytes);
            return Err(Error::OtherLength {
                table_bytes,
                disk_bytes,
            });
        }
        for piece in self.pieces() {
            disk.write_all_at(&piece.bytes, piece.offset_bytes)?;
        }
        self.clear_stale_sectors(disk)
    }

    /// Writes the same to a disk whose old table must survive a crash at any point: one copy, then the other, with a
    /// flush after each.
    ///
    /// `first` is written first: the copy that no reader would take, the backup where both are good.
    pub fn write_in_place(&self, disk: &dyn WriteAt, first: CopyName) -> Result<()> {
        let [backup_entries, backup, primary_entries, primary, mbr] = self.pieces();
        let (backup, primary) = ([backup_entries, backup], [primary_entries, primary]);
        let order = match first {
            CopyName::Backup => [backup, primary],
            CopyName::Primary => [primary, backup],
        };
        // Until a copy follows, the table tells that LBA 0 has to be written again.
        disk.write_all_at(&mbr.bytes, mbr.offset_bytes)?;
        disk.flush()?;
        for copy in order {
            for piece in copy {
                disk.write_all_at(&piece.bytes, piece.offset_bytes)?;
            }
            disk.flush()?;
        }
        self.clear_stale_sectors(disk)?;
        Ok(disk.flush()?)
    }

    /// Clears the backup that was there, as far as it lies outside of every partition.
    fn clear_stale_sectors(&self, disk: &dyn WriteAt) -> Result<()> {
        for (first_lba, last_lba) in self.stale_sectors() {
            // As long as an array of entries at most.
            let range = self.byte_range(first_lba, last_lba);
            let len_bytes = to_usize(range.end.saturating_sub(range.start));
            disk.write_all_at(&vec![0; len_bytes], range.start)?;
        }
        Ok(())
    }

    /// The ranges of bytes that [`Table::write`] writes, in ascending order: whoever copies the rest of a disk
    /// may leave them out.
    pub fn write_ranges(&self) -> Vec<Range<u64>> {
        let pieces = self.pieces().into_iter().map(|piece| {
            let len_bytes = piece.bytes.len() as u64; // usize is at most 64 bits wide
            piece.offset_bytes..piece.offset_bytes.saturating_add(len_bytes)
        });
        let stale = self.stale_sectors();
        let stale = stale
            .into_iter()
            .map(|(first, last)| self.byte_range(first, last));
        let mut ranges: Vec<_> = pieces.chain(stale).collect();
        ranges.sort_by_key(|range| range.start);
        ranges
    }

    fn pieces(&self) -> [Piece; 5] {
        let mut entries = Vec::new();
        self.entries
            .iter()
            .for_each(|entry| entry.append_to(&mut entries));
        let piece = |lba: u64, bytes: Vec<u8>| Piece {
            offset_bytes: lba.saturating_mul(self.sectors.bytes),
            bytes,
        };
        let (primary, backup) = (&self.primary, &self.backup);
        [
            piece(backup.entries_lba(), entries.clone()),
            piece(backup.my_lba(), backup.to_sector(&entries)),
            piece(primary.entries_lba(), entries.clone()),
            piece(primary.my_lba(), primary.to_sector(&entries)),
            piece(0, self.mbr.to_sector()),
        ]
    }

    /// The sectors of the backup as it was found, less what partitions and both copies use now: first and
    /// last LBA of each range.
    fn stale_sectors(&self) -> Vec<(u64, u64)> {
        let mut used: Vec<_> = self
            .partitions()
            .map(|partition| (partition.first_lba, partition.last_lba))
            .collect();
        for header in [&self.primary, &self.backup] {
            used.push((header.my_lba(), header.my_lba()));
            used.push(header.entries_range(self.sectors.bytes));
        }
        used.push((self.sectors.count, u64::MAX));
        used.sort_unstable();

        let mut stale = Vec::new();
        for &(first_lba, last_lba) in &self.found_backup {
            let mut next = first_lba;
            for &(used_first, used_last) in &used {
                if used_last < next || used_first > last_lba {
                    continue;
                }
                if let Some(before) = used_first.checked_sub(1).filter(|before| *before >= next) {
                    stale.push((next, before));
                }
                next = used_last.saturating_add(1);
            }
            if next <= last_lba {
                stale.push((next, last_lba));
            }
        }
        stale
    }

    fn byte_range(&self, first_lba: u64, last_lba: u64) -> Range<u64> {
        let sector_bytes = self.sectors.bytes;
        let behind = last_lba.saturating_add(1);
        first_lba.saturating_mul(sector_bytes)..behind.saturating_mul(sector_bytes)
    }
}
