//! In which order the sectors of a changed FAT filesystem go to disk, so that it can be interrupted at any point.
//!
//! FAT has no journal. What makes an order safe is the *old* allocation table: a cluster that it calls free is read by
//! nobody, so it can be written at any time; a table entry that was free belongs to no chain that anybody follows; and
//! a directory sector is one write. [`phases`] is a pure function from the old filesystem and the new one to
//! [`Phases`]; between two phases everything must be durable:
//!
//! 1. `free_clusters`: data of new files and directories;
//! 2. `allocations`: entries of all tables that were free and are not any more;
//! 3. `links`: the last entry of a directory that became longer;
//! 4. `directories`: sectors of directories that were in use; here new files appear, and replaced ones change;
//! 5. `tidy`: chains that are used no more become free, and `FSInfo` tells how much is.
//!
//! Until `directories`, readers see the old filesystem, in `tidy` the new one. Within `directories` a sector is old or
//! new: a file that is replaced is one or the other, a new file whose names lie in two sectors may have its short name
//! alone. What a crash leaves are clusters without a file, which `fsck.vfat -a` frees.
//!
//! This holds for edits that write into free clusters and directories alone, as [`Fat::switch_file`] does, not for
//! [`Fat::replace_file`].
//!
//! [`Fat::switch_file`]: super::Fat::switch_file
//! [`Fat::replace_file`]: super::Fat::replace_file

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use super::{FatType, Geometry};
use crate::{Error, Result};
use base::number::to_usize;
use base::storage::ReadAt;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// Sectors that are adjacent, and what they shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectorWrite {
    /// Where they lie, in bytes from the start of the filesystem.
    pub offset_bytes: u64,
    /// What they shall hold.
    pub bytes: Vec<u8>,
}

/// The changed sectors of a filesystem, by the phase in which they are written. A sector of the table can change in
/// several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Phases {
    /// Clusters that the old table calls free.
    pub free_clusters: Vec<SectorWrite>,
    /// The tables, with new chains and all of the old ones.
    pub allocations: Vec<SectorWrite>,
    /// The tables, with directories that became longer.
    pub links: Vec<SectorWrite>,
    /// Directories that were in use.
    pub directories: Vec<SectorWrite>,
    /// The tables as they shall be, and everything else.
    pub tidy: Vec<SectorWrite>,
}

/// Sorts the sectors within `changed` that differ between the old filesystem and the new one.
///
/// Fails with [`Error::FatLink`] where a chain cannot be made longer in one write.
pub fn phases(
    geometry: &Geometry,
    old: &dyn ReadAt,
    new: &dyn ReadAt,
    changed: &[Range<u64>],
) -> Result<Phases> {
    let mut phases = Phases::default();
    let end_bytes = geometry.len_bytes();
    for range in changed {
        let start = range.start.checked_div(SECTOR_BYTES).unwrap_or(0);
        let mut offset_bytes = start.saturating_mul(SECTOR_BYTES);
        while offset_bytes < range.end.min(end_bytes) {
            let (was, becomes) = (sector(old, offset_bytes)?, sector(new, offset_bytes)?);
            if was != becomes {
                if geometry.all_tables().contains(&offset_bytes) {
                    phases.sort_table(geometry, old, new, offset_bytes)?;
                } else {
                    let phase = phases.of(geometry, old, offset_bytes)?;
                    push(phase, offset_bytes, &becomes);
                }
            }
            offset_bytes = offset_bytes.saturating_add(SECTOR_BYTES);
        }
    }
    Ok(phases)
}

impl Phases {
    /// The phases in their order.
    pub fn into_steps(self) -> [Vec<SectorWrite>; 5] {
        [
            self.free_clusters,
            self.allocations,
            self.links,
            self.directories,
            self.tidy,
        ]
    }

    /// The phase of a sector that is none of the table's.
    fn of(
        &mut self,
        geometry: &Geometry,
        old: &dyn ReadAt,
        offset_bytes: u64,
    ) -> Result<&mut Vec<SectorWrite>> {
        let is_root =
            offset_bytes >= geometry.all_tables().end && offset_bytes < geometry.data_start_bytes();
        Ok(match geometry.cluster_at(offset_bytes) {
            Some(cluster) if geometry.entry(old, cluster)? == 0 => &mut self.free_clusters,
            Some(_) => &mut self.directories,
            None if is_root => &mut self.directories,
            None => &mut self.tidy,
        })
    }

    /// Takes a changed sector of a table apart by what becomes of its entries.
    fn sort_table(
        &mut self,
        geometry: &Geometry,
        old: &dyn ReadAt,
        new: &dyn ReadAt,
        offset_bytes: u64,
    ) -> Result<()> {
        let window = window(geometry, offset_bytes);
        let bits = geometry.entry_bits();
        let len = usize_of(window.bytes.end.saturating_sub(window.bytes.start));
        let was = old.read_vec(window.bytes.start, len)?;
        let in_first = window.bytes.start.saturating_sub(window.table_start);
        let in_first = geometry.table(0).start.saturating_add(in_first);
        let first_was = old.read_vec(in_first, len)?;
        let becomes = new.read_vec(window.bytes.start, len)?;
        let within = usize_of(offset_bytes.saturating_sub(window.bytes.start));
        let sector = within..within.saturating_add(usize_of(SECTOR_BYTES)).min(len);

        let mut allocated = was.clone();
        let mut linked = becomes.clone(); // but for what becomes free
        for (index, cluster) in (0_u64..).zip(window.clusters) {
            let bit = index.saturating_mul(bits);
            let at = usize_of(bit / 8);
            let end = at.saturating_add(if bits == 32 { 4 } else { 2 });
            let is_odd = !cluster.is_multiple_of(2);
            let entry = |bytes: &[u8]| geometry.decode(bytes.split_at(at).1, is_odd);
            let (before, after) = (entry(&was), entry(&becomes));
            if before == after {
                continue;
            }
            // What is free only the first copy says: a crash may have left them different.
            let was_free = entry(&first_was) == 0;
            let is_state = cluster < 2; // media and whether it was unmounted, no clusters
            let set = |bytes: &mut Vec<u8>, value| {
                let (upto, _) = bytes.split_at_mut(end);
                geometry.encode(upto.split_at_mut(at).1, is_odd, value);
            };
            if was_free && !is_state {
                set(&mut allocated, after);
            } else if after == 0 || is_state {
                set(&mut linked, before);
            } else if !geometry.ends_chain(before) || crosses_sectors(window.bytes.start, at, end) {
                return Err(Error::FatLink { cluster });
            }
        }
        let steps = [
            (&mut self.allocations, &was, &allocated),
            (&mut self.links, &allocated, &linked),
            (&mut self.tidy, &linked, &becomes),
        ];
        for (phase, before, after) in steps {
            let of = |table: &[u8]| {
                table
                    .split_at(sector.end)
                    .0
                    .split_at(sector.start)
                    .1
                    .to_vec()
            };
            if of(before) != of(after) {
                push(phase, offset_bytes, &of(after));
            }
        }
        Ok(())
    }
}

/// Whole entries of a copy of the table, around a sector.
struct Window {
    /// Where the copy begins.
    table_start: u64,
    bytes: Range<u64>,
    clusters: Range<u64>,
}

/// The sector itself where entries do not cross its borders; the whole copy, 6 KiB, where they do.
fn window(geometry: &Geometry, offset_bytes: u64) -> Window {
    let copies = (0..geometry.tables()).map(|copy| geometry.table(copy));
    let mut copies = copies.filter(|table| table.contains(&offset_bytes));
    let table = copies.next().unwrap_or(0..0);
    let end = u64::from(geometry.last_cluster()).saturating_add(1);
    let bits = geometry.entry_bits();
    if geometry.fat_type() == FatType::Fat12 {
        let sectors = end.saturating_mul(bits).div_ceil(8).div_ceil(SECTOR_BYTES);
        let len = sectors.saturating_mul(SECTOR_BYTES);
        return Window {
            table_start: table.start,
            bytes: table.start..table.start.saturating_add(len),
            clusters: 0..end,
        };
    }
    let first = |bytes: u64| bytes.saturating_mul(8).checked_div(bits).unwrap_or(0);
    let within = offset_bytes.saturating_sub(table.start);
    Window {
        table_start: table.start,
        bytes: offset_bytes..offset_bytes.saturating_add(SECTOR_BYTES),
        clusters: first(within)..first(within.saturating_add(SECTOR_BYTES)).min(end),
    }
}

/// True for an entry that does not lie in one sector.
fn crosses_sectors(start_bytes: u64, at: usize, end: usize) -> bool {
    let sector = |at: usize| {
        let offset_bytes = start_bytes.saturating_add(at as u64);
        offset_bytes.checked_div(SECTOR_BYTES)
    };
    sector(at) != sector(end.saturating_sub(1))
}

fn sector(storage: &dyn ReadAt, offset_bytes: u64) -> Result<Vec<u8>> {
    Ok(storage.read_vec(offset_bytes, usize_of(SECTOR_BYTES))?)
}

/// Adds a sector to a phase, to its last write where that ends here.
fn push(phase: &mut Vec<SectorWrite>, offset_bytes: u64, bytes: &[u8]) {
    match phase.last_mut() {
        Some(last) if last.offset_bytes.saturating_add(last.bytes.len() as u64) == offset_bytes => {
            last.bytes.extend_from_slice(bytes);
        }
        _ => phase.push(SectorWrite {
            offset_bytes,
            bytes: bytes.to_vec(),
        }),
    }
}

/// A length or an index within a table's copy or a sector.
fn usize_of(bytes: u64) -> usize {
    to_usize(bytes)
}
