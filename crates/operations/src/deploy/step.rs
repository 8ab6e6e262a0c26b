//! The steps in which a deploy is written, and what each of them leaves if nothing follows.
//!
//! Between two steps everything is made durable. Whatever subset of a step's sectors reaches the disk, the image opens:
//! until the first header copy is whole with the clear key, afterwards with the sealed one. The second header copy comes
//! last of all: two copies that say the same tell that nothing is left to do. The order and its reasons are those of
//! docs/architecture.md, "deploy"; sealing again has an order of its own ([`super::reseal`]).

use std::fmt;

use super::error::Error;
use base::storage::{self, WriteAt};
use filesystem::fat::SectorWrite;

/// What a step writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WritePhase {
    /// Clusters of the EFI system partition that were free: new files and directories.
    FreeClusters,
    /// Its allocation tables: new chains; those that will be freed stay.
    Allocations,
    /// Its allocation tables: directories that became longer.
    Links,
    /// Its directories: here the new files appear.
    Directories,
    /// The top directory of the EFI system partition, where an image is sealed again: the SRK's template.
    Template,
    /// Material of new keyslots, in areas that no keyslot has.
    Keyslot,
    /// Where an image is sealed again: the LUKS2 header copy that a reader would not take, with the new keyslot beside
    /// the old one. It comes before the EFI system partition.
    FirstBesideOld,
    /// The other copy, with both keyslots.
    SecondBesideOld,
    /// The LUKS2 header copy that a reader would not take, without the clear key, or without the old keyslot. From here on
    /// the image is deployed.
    FirstHeader,
    /// What nobody uses any more becomes free; areas of keyslots that are gone are overwritten.
    Tidy,
    /// The other copy. From here on the clear key, or the old keyslot, is gone, and the image is finished.
    SecondHeader,
}

impl WritePhase {
    /// True where a header copy is written: from then on the keyslots that it names may count.
    pub fn is_header(self) -> bool {
        matches!(
            self,
            Self::FirstBesideOld | Self::SecondBesideOld | Self::FirstHeader | Self::SecondHeader
        )
    }
}

impl fmt::Display for WritePhase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::FreeClusters => "free clusters of the EFI system partition",
            Self::Allocations => "allocation tables of the EFI system partition",
            Self::Links => "longer directories of the EFI system partition",
            Self::Directories => "directories of the EFI system partition",
            Self::Template => "the top directory of the EFI system partition",
            Self::Keyslot => "new keyslots",
            Self::FirstBesideOld => {
                "the first LUKS2 header copy, with the old keyslot and the new one"
            }
            Self::SecondBesideOld => {
                "the second LUKS2 header copy, with the old keyslot and the new one"
            }
            Self::FirstHeader => "the first LUKS2 header copy",
            Self::Tidy => "what becomes free",
            Self::SecondHeader => "the second LUKS2 header copy",
        })
    }
}

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Writes that may reach the disk in any order, at offsets within the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What they are.
    pub phase: WritePhase,
    /// The writes: whole sectors, none twice.
    pub writes: Vec<SectorWrite>,
}

impl Step {
    /// A step whose writes are given with offsets from `start_bytes` of the disk.
    pub fn at(start_bytes: u64, phase: WritePhase, mut writes: Vec<SectorWrite>) -> Self {
        for write in &mut writes {
            write.offset_bytes += start_bytes;
        }
        Self { phase, writes }
    }

    /// How many bytes are written.
    pub fn len_bytes(&self) -> u64 {
        self.writes
            .iter()
            .map(|write| write.bytes.len() as u64)
            .sum()
    }
}

/// What a disk held where a step writes.
pub(super) struct Before(Vec<SectorWrite>);

impl Before {
    pub fn of(step: &Step, disk: &dyn WriteAt) -> Result<Self, Error> {
        let held = |write: &SectorWrite| {
            let offset_bytes = write.offset_bytes;
            let bytes = disk.read_vec(offset_bytes, write.bytes.len());
            let bytes = bytes.map_err(crate::Error::Source)?;
            Ok(SectorWrite {
                offset_bytes,
                bytes,
            })
        };
        let held: Result<_, crate::Error> = step.writes.iter().map(held).collect();
        Ok(Self(held?))
    }

    /// True where it is sure that nothing of the step was written, after `error`. What a flush that failed has left on the
    /// disk, nobody knows.
    pub fn still_is(&self, disk: &dyn WriteAt, error: &Error) -> bool {
        let is_flush = matches!(
            error,
            Error::Write {
                source: storage::Error::Flush(_),
                ..
            }
        );
        let is_there = |held: &SectorWrite| {
            let bytes = disk.read_vec(held.offset_bytes, held.bytes.len());
            bytes.is_ok_and(|bytes| bytes == held.bytes)
        };
        !is_flush && self.0.iter().all(is_there)
    }

    /// Writes the first sector back, so that the rest of a header copy is a torn one, which no reader takes. Where even that
    /// fails the copy is what it is.
    pub fn tear(&self, disk: &dyn WriteAt) {
        for held in self.0.iter().take(1) {
            let sector = &held.bytes[..held.bytes.len().min(SECTOR_BYTES)];
            if let Err(error) = disk.write_all_at(sector, held.offset_bytes) {
                tracing::debug!("the second header copy stays as it is: {error}");
            }
        }
    }
}

/// All steps of a first deploy: the EFI system partition up to its directories, and the header; what becomes free before its
/// second copy. Steps without a write are left out.
pub fn in_order(esp: impl IntoIterator<Item = Step>, header: Vec<Step>) -> Vec<Step> {
    let mut steps: Vec<_> = esp.into_iter().chain(header).collect();
    steps.retain(|step| !step.writes.is_empty());
    steps.sort_by_key(|step| step.phase);
    steps
}

/// Writes steps in their order, and flushes after each. `before` is called before a step's first write.
pub fn write(
    steps: &[Step],
    disk: &dyn WriteAt,
    mut before: impl FnMut(&Step) -> Result<(), Error>,
) -> Result<(), Error> {
    for step in steps {
        before(step)?;
        let written = step
            .writes
            .iter()
            .try_for_each(|write| disk.write_all_at(&write.bytes, write.offset_bytes))
            .and_then(|()| disk.flush());
        written.map_err(|source| Error::Write {
            phase: step.phase,
            source,
        })?;
    }
    Ok(())
}
