//! The beginning of a conversion: everything that must be durable before the first byte of the filesystem is touched.
//!
//! In this order, each step durable before the next: the EFI system partition's new file, in the phases that FAT
//! survives; the partition table, one copy after the other; zeros over old header copies that the tail does not keep; the
//! tail; the record. A crash before the record is durable
//! leaves a plain disk, on which the conversion begins anew.

use std::ops::Range;

use super::leftovers::Leftovers;
use super::run::{Conversion, Move, Work, volume_key};
use super::tail::{BODY, KEPT_HEAD_BYTES, NEW_HEAD_AT, Tail};
use crate::Error;
use crate::common::half_converted::mark::{Mark, REQUIREMENT};
use crate::common::half_converted::record::tail_window;
use crate::common::half_converted::record::{Facts, RECORD_BYTES, Record, sha256};
use crate::common::layout::Layout;
use crate::common::partitions::window;
use base::number::to_usize;
use base::storage::{Overlay, ReadAt, WriteAt};
use filesystem::fat::{self, Fat, SectorWrite};
use gpt::{CopyName, Partition, Table, Warning};
use luks2::{HEAD_BYTES, Header, NewContainer};

/// The length of chunks that `encrypt` moves: as long as the header, and so as long as they may be.
pub const CHUNK_BYTES: u64 = HEAD_BYTES;

/// A conversion that is prepared, and of which nothing is written.
pub struct Start {
    facts: Facts,
    tail: Tail,
    leftovers: Leftovers,
    /// Where the partition lies in the disk.
    partition: Range<u64>,
    /// The changes of the EFI system partition in their phases, with offsets in the disk.
    esp: Vec<Vec<SectorWrite>>,
}

impl Start {
    /// Prepares the conversion of a root partition with the edits in `edited`, in chunks of `chunk_bytes`.
    pub fn new<S: ReadAt>(
        edited: &Overlay<S>,
        root: &Partition,
        esp: Option<&Range<u64>>,
        layout: &Layout,
        chunk_bytes: u64,
    ) -> Result<Self, Error> {
        let partition = layout.root_bytes..layout.segment_start_bytes() + layout.segment_bytes;
        let changed = within(
            &edited.changed_ranges(),
            &(partition.start..partition.start + layout.filesystem_bytes),
        );
        let plain = window(edited.base(), &partition)?;
        let leftovers = Leftovers::find(&plain, layout.filesystem_bytes)?;
        let tail = Tail::take(&plain, &window(edited, &partition)?, &changed)?;
        let facts = Facts {
            partition: root.unique_guid,
            partition_bytes: partition.end - partition.start,
            filesystem_bytes: layout.filesystem_bytes,
            // A longer one would overwrite what it is made from.
            chunk_bytes: chunk_bytes.min(HEAD_BYTES),
            sector_size: layout.sector_size,
            tail_sha256: sha256(&tail.body()),
        };
        let esp = esp.map_or(Ok(Vec::new()), |range| esp_phases(edited, range))?;
        Ok(Self {
            facts,
            tail,
            leftovers,
            partition,
            esp,
        })
    }

    /// Marks a container as one that is being converted.
    pub fn mark(&self, container: &mut NewContainer) {
        let mark = Mark {
            facts: self.facts,
            boundary_bytes: self.facts.filesystem_bytes,
            last_sha256: sha256(&[]),
        };
        container.add_requirement(REQUIREMENT);
        container.add_token(mark.to_json());
    }

    /// Writes what must be durable first. `head` is everything in front of the new container's segment.
    pub fn write(
        &self,
        disk: &dyn WriteAt,
        table: &NewTable,
        head: &dyn ReadAt,
    ) -> Result<Conversion, Error> {
        for phase in self.esp.iter().filter(|phase| !phase.is_empty()) {
            let mut writes = phase.iter();
            writes
                .try_for_each(|write| disk.write_all_at(&write.bytes, write.offset_bytes))
                .and_then(|()| disk.flush())
                .map_err(Error::Output)?;
        }
        table.write(disk, self.partition.end)?;
        let partition = window(disk, &self.partition)?;
        let kept = to_usize(KEPT_HEAD_BYTES); // 2 MiB
        let new_head = head.read_vec(0, kept).map_err(Error::Source)?;
        self.leftovers.clear(&partition).map_err(Error::Output)?;
        self.write_tail(&tail_window(&partition)?, &new_head)
            .map_err(Error::Output)?;
        Ok(Conversion {
            partition: self.partition.clone(),
            work: Work::Move(Box::new(Move {
                volume_key: volume_key(&Header::read_built(head)?, head)?,
                facts: self.facts,
                boundary_bytes: self.facts.filesystem_bytes,
                tail: Some(self.tail.clone()),
                new_head: Some(new_head),
            })),
        })
    }

    fn write_tail(&self, tail: &dyn WriteAt, new_head: &[u8]) -> base::storage::Result<()> {
        let record = Record {
            facts: self.facts,
            head_sha256: sha256(new_head),
        };
        // A record of an earlier attempt must not vouch for what is written now.
        tail.write_all_at(&[0; RECORD_BYTES], 0)?;
        tail.flush()?;
        tail.write_all_at(&self.tail.body(), BODY.start)?;
        tail.write_all_at(new_head, NEW_HEAD_AT)?;
        tail.flush()?;
        tail.write_all_at(&record.to_bytes(), 0)?;
        tail.flush()
    }
}

/// The partition table as it shall be.
pub struct NewTable {
    table: Table,
    /// Where the root partition ended, in bytes.
    old_end_bytes: u64,
    /// The copy to be written first; `None` where both are as they shall be.
    first: Option<CopyName>,
}

impl NewTable {
    /// A table that was read as `found`, with these warnings, and changed to `table`.
    pub fn new(found: &Table, warnings: &[Warning], table: Table, old_end_bytes: u64) -> Self {
        let mut damaged = warnings.iter().filter_map(|warning| match warning {
            Warning::DamagedCopy { copy, .. } => Some(*copy),
            Warning::CopiesDiffer { .. } => Some(CopyName::Backup), // the primary one counts
            _ => None,
        });
        let changed = (table != *found).then_some(CopyName::Backup);
        Self {
            first: damaged.next().or(changed),
            table,
            old_end_bytes,
        }
    }

    /// Writes it, where it says anything new, so that a crash leaves one good copy.
    fn write(&self, disk: &dyn WriteAt, new_end_bytes: u64) -> Result<(), Error> {
        let Some(first) = self.first else {
            return Ok(());
        };
        // A partition that becomes some sectors shorter would leave them plain: nothing of the filesystem lies there.
        let behind = self.old_end_bytes.saturating_sub(new_end_bytes);
        if let Some(len) = usize::try_from(behind).ok().filter(|len| *len > 0) {
            disk.write_all_at(&vec![0; len], new_end_bytes)
                .and_then(|()| disk.flush())
                .map_err(Error::Output)?;
        }
        self.table
            .write_in_place(disk, first)
            .map_err(|error| match error {
                gpt::Error::Storage(error) => Error::Output(error),
                error => Error::Gpt(error),
            })
    }
}

/// The parts of `ranges` that lie in `range`, counted from its start.
fn within(ranges: &[Range<u64>], range: &Range<u64>) -> Vec<Range<u64>> {
    let cut = ranges.iter().map(|other| {
        let start = other.start.max(range.start);
        let end = other.end.min(range.end).max(start);
        start - range.start.min(start)..end - range.start.min(end)
    });
    cut.filter(|part| !part.is_empty()).collect()
}

/// The changes of the EFI system partition in the phases that survive a crash.
fn esp_phases<S: ReadAt>(
    edited: &Overlay<S>,
    range: &Range<u64>,
) -> Result<Vec<Vec<SectorWrite>>, Error> {
    let old = window(edited.base(), range)?;
    let new = window(edited, range)?;
    let changed = within(&edited.changed_ranges(), range);
    let phases = Fat::open_read_only(&old)
        .map(|open| *open.geometry())
        .and_then(|geometry| fat::phases(&geometry, &old, &new, &changed));
    let mut steps = phases.map_err(Error::in_esp)?.into_steps().to_vec();
    for write in steps.iter_mut().flatten() {
        write.offset_bytes += range.start;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_a_partition_and_count_from_its_start() {
        let cut = |ranges: &[Range<u64>]| within(ranges, &(100..200));
        assert_eq!(cut(&[0..100, 200..300]), []);
        assert_eq!(cut(&[0..101, 150..160, 199..300]), [0..1, 50..60, 99..100]);
        assert_eq!(cut(&[0..120, 130..1000]), [0..20, 30..100]);
    }
}
