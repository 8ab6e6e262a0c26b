//! Where everything goes in the output: a pure function of the source's geometry and the flags.
//!
//! *P* is the length of the root partition, *F* that of its filesystem, *H* the 16 MiB in front of the
//! encrypted segment, *P′* the partition's length in the output and *D* = P′ − H the segment's. The
//! filesystem keeps its block numbers and must fit: D ≥ F. All of `--make-room`, `--grow-root` and the
//! choice of the LUKS2 sector size is decided here, before the first byte is written; whatever is chosen,
//! the partition's start, number, type, unique GUID, name and attributes stay.

use std::fmt;

use luks2::{HEAD_BYTES as HEADER_BYTES, SectorSize};

const MIB: u64 = 1 << 20;

/// What a conversion in place keeps at the end of the partition until it is complete, in bytes.
pub const TAIL_BYTES: u64 = 8 << 20;

/// Which way `encrypt` may take to the room that the LUKS2 header needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MakeRoom {
    /// Whatever needs no change of the filesystem: as it is, else `Grow`, else `Extend`.
    #[default]
    Auto,
    /// Make the disk larger, behind a root partition that is its last.
    Extend,
    /// Take free space directly behind the root partition.
    Grow,
    /// Shrink the filesystem with `resize2fs`, on a temporary copy of it.
    Shrink,
}

/// The wish for a LUKS2 sector size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SectorSizeChoice {
    /// 4096 where the disk has such sectors and the filesystem such blocks, else 512.
    #[default]
    Auto,
    /// This one, or an error that says why not.
    Fixed(SectorSize),
}

/// What the source looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Length of the disk in bytes, without a VHD's footer.
    pub disk_bytes: u64,
    /// Logical sector size of the partition table in bytes: 512 or 4096.
    pub sector_bytes: u64,
    /// Sectors behind the last usable LBA: the backup entries and the backup header.
    pub backup_sectors: u64,
    /// First LBA of the root partition.
    pub root_first_lba: u64,
    /// Last LBA of the root partition, inclusive.
    pub root_last_lba: u64,
    /// First LBA of the next partition behind the root, where there is one.
    pub next_first_lba: Option<u64>,
    /// Block size of the root filesystem in bytes.
    pub block_bytes: u64,
    /// Length of the root filesystem in bytes: block count times block size.
    pub filesystem_bytes: u64,
}

/// What is asked for.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each stands for itself, as on the command line"
)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Request {
    /// `--make-room`.
    pub make_room: MakeRoom,
    /// `--sector-size`.
    pub sector_size: SectorSizeChoice,
    /// `--grow-root`: the partition reaches as far as growpart would take it.
    pub grow_root: bool,
    /// The guest's first boot will grow the partition to any length, with the growpart key.
    pub guest_regrows: bool,
    /// The output is a VHD, whose size is a multiple of 1 MiB.
    pub whole_mebibytes: bool,
    /// The disk is converted in place: it keeps its length, and needs [`TAIL_BYTES`] behind the filesystem.
    pub in_place: bool,
    /// The disk is as long as the device that it is written to.
    pub on_device: bool,
}

impl Request {
    /// What must be left of the segment behind the filesystem.
    fn tail_bytes(self) -> u64 {
        if self.in_place { TAIL_BYTES } else { 0 }
    }
}

/// How the room for the header was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The filesystem already ended early enough.
    Fits,
    /// The partition took so many sectors of the free space behind it.
    Grown {
        /// Sectors of the disk's size.
        sectors: u64,
    },
    /// The disk became longer by so many sectors.
    Extended {
        /// Sectors of the disk's size.
        sectors: u64,
    },
    /// The filesystem is to be shrunk.
    Shrunk {
        /// Its new length in its own blocks.
        blocks: u64,
    },
}

/// Where everything goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Length of the output's disk in bytes, without a VHD's footer.
    pub disk_bytes: u64,
    /// The same in whole sectors, as the partition table counts.
    pub disk_sectors: u64,
    /// First LBA of the root partition, as in the source.
    pub root_first_lba: u64,
    /// Last LBA of the root partition, inclusive.
    pub root_last_lba: u64,
    /// Offset of the root partition in bytes.
    pub root_bytes: u64,
    /// Length D of the encrypted segment in bytes.
    pub segment_bytes: u64,
    /// Length F of the filesystem in bytes, after shrinking.
    pub filesystem_bytes: u64,
    /// Sector size of the LUKS2 segment.
    pub sector_size: SectorSize,
    /// How the room for the header was found.
    pub room: Room,
}

impl Layout {
    /// Offset of the encrypted segment in the output, in bytes.
    pub fn segment_start_bytes(&self) -> u64 {
        self.root_bytes + HEADER_BYTES
    }
}

/// Why there is no layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// None of the allowed ways leads to enough room.
    #[error(
        "the LUKS2 header needs 16 MiB: filesystem and header take {needed_bytes} bytes, the root partition has {partition_bytes}, and {obstacle}"
    )]
    NoRoom {
        /// H + F.
        needed_bytes: u64,
        /// P.
        partition_bytes: u64,
        /// What stands in the way.
        obstacle: Obstacle,
    },
    /// In place there is less room than a conversion needs.
    #[error(
        "in place, the LUKS2 header and what a crash must not lose take 24 MiB behind the filesystem: with it {needed_bytes} bytes, the root partition has {partition_bytes}, and {gap_sectors} sectors behind it are free"
    )]
    NoRoomInPlace {
        /// H + F + T.
        needed_bytes: u64,
        /// P.
        partition_bytes: u64,
        /// Sectors between the root and what follows.
        gap_sectors: u64,
        /// How long the filesystem may be, in bytes; `None` where no filesystem fits.
        fitting_bytes: Option<u64>,
        /// By how many bytes the disk would have to be longer, where the root is its last partition.
        missing_bytes: Option<u64>,
    },
    /// A way to more room that changes the disk's length or the filesystem.
    #[error(
        "in place, the disk keeps its length and the filesystem its size: --make-room takes auto or grow"
    )]
    NotInPlace,
    /// A way to more room that changes the length of a device, or would need a file beside it.
    #[error("a device keeps its length: --make-room takes auto or grow")]
    OnDevice,
    /// 4096-byte sectors on a filesystem whose blocks are smaller.
    #[error(
        "--sector-size 4096 needs filesystem blocks of at least 4096 bytes, this filesystem's have {block_bytes}"
    )]
    SmallBlocks {
        /// Block size of the filesystem.
        block_bytes: u64,
    },
    /// 4096-byte sectors in a partition that the guest will grow to an odd length.
    #[error(
        "--sector-size 4096 on a disk with 512-byte sectors: at its first boot the guest grows the partition to a length that is no multiple of 4096, and cannot open it at the second"
    )]
    RegrownUnaligned,
    /// 4096-byte sectors, and no multiple of 4096 holds the filesystem.
    #[error(
        "--sector-size 4096: the segment would have {segment_bytes} bytes, and the multiple of 4096 below that does not hold the filesystem of {filesystem_bytes}"
    )]
    UnalignedSegment {
        /// D before rounding.
        segment_bytes: u64,
        /// F.
        filesystem_bytes: u64,
    },
}

/// What stands in the way of room for the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The root is neither the last partition nor followed by enough free space.
    PartitionBehind {
        /// Sectors between the root and what follows.
        gap_sectors: u64,
    },
    /// `grow` was asked for, and the free space behind the root is too small.
    GapTooSmall {
        /// Sectors between the root and what follows.
        gap_sectors: u64,
    },
    /// `extend` was asked for, and a partition lies behind the root.
    NotLast {
        /// Where the next partition begins.
        next_first_lba: u64,
    },
    /// The device ends too early, or another partition follows on it.
    DeviceTooShort {
        /// Sectors between the root and what follows.
        gap_sectors: u64,
    },
    /// `shrink` was asked for, and the partition is shorter than the header.
    NothingLeft,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PartitionBehind { gap_sectors } => {
                write!(
                    f,
                    "another partition follows {gap_sectors} free sectors behind it"
                )
            }
            Self::GapTooSmall { gap_sectors } => {
                write!(f, "only {gap_sectors} sectors behind it are free")
            }
            Self::NotLast { next_first_lba } => {
                write!(
                    f,
                    "the disk cannot be extended: a partition at LBA {next_first_lba} follows"
                )
            }
            Self::DeviceTooShort { gap_sectors } => {
                write!(
                    f,
                    "only {gap_sectors} sectors behind it are free on the device"
                )
            }
            Self::NothingLeft => write!(f, "it is too short to shrink the filesystem into"),
        }
    }
}

/// Decides where everything goes.
pub fn layout(source: &Source, request: Request) -> Result<Layout, Error> {
    let sector_size = sector_size(source, request)?;
    let start = Candidate::start(source, request);
    let ways: &[Way] = match request.make_room {
        MakeRoom::Auto | MakeRoom::Grow if request.in_place => &[Candidate::grow],
        MakeRoom::Extend | MakeRoom::Shrink if request.in_place => return Err(Error::NotInPlace),
        MakeRoom::Auto | MakeRoom::Grow if request.on_device => &[Candidate::grow],
        MakeRoom::Extend | MakeRoom::Shrink if request.on_device => return Err(Error::OnDevice),
        MakeRoom::Auto => &[Candidate::grow, Candidate::extend],
        MakeRoom::Grow => &[Candidate::grow],
        MakeRoom::Extend => &[Candidate::extend],
        MakeRoom::Shrink => &[Candidate::shrink],
    };
    let fits = start.finish(source, request, sector_size);
    if fits.is_ok() {
        return fits;
    }
    let mut failure = None;
    for make_room in ways {
        match make_room(start, source) {
            Ok(candidate) => match candidate.finish(source, request, sector_size) {
                Err(Error::UnalignedSegment { .. }) if ways.len() > 1 => {}
                finished => return finished,
            },
            Err(obstacle) => failure = Some(obstacle),
        }
    }
    if request.in_place {
        return Err(start.no_room_in_place(source));
    }
    // `auto` fails at its last way, but the operator wants to know of both.
    let obstacle = match (request.make_room, failure) {
        _ if request.on_device => Obstacle::DeviceTooShort {
            gap_sectors: start.gap_sectors(source),
        },
        (MakeRoom::Auto, _) => Obstacle::PartitionBehind {
            gap_sectors: start.gap_sectors(source),
        },
        (_, Some(obstacle)) => obstacle,
        (_, None) => return fits,
    };
    Err(Error::NoRoom {
        needed_bytes: HEADER_BYTES + source.filesystem_bytes,
        partition_bytes: (source.root_last_lba + 1 - source.root_first_lba) * source.sector_bytes,
        obstacle,
    })
}

fn sector_size(source: &Source, request: Request) -> Result<SectorSize, Error> {
    let large_disk_sectors = source.sector_bytes == 4096;
    match request.sector_size {
        SectorSizeChoice::Auto if large_disk_sectors && source.block_bytes >= 4096 => {
            Ok(SectorSize::S4096)
        }
        SectorSizeChoice::Auto | SectorSizeChoice::Fixed(SectorSize::S512) => Ok(SectorSize::S512),
        SectorSizeChoice::Fixed(SectorSize::S4096) => {
            if source.block_bytes < 4096 {
                return Err(Error::SmallBlocks {
                    block_bytes: source.block_bytes,
                });
            }
            // growpart takes the partition to N - 34, which leaves a length of 7 modulo 8 sectors; the
            // kernel then refuses the 4096-byte table at every opening.
            if !large_disk_sectors && request.guest_regrows {
                return Err(Error::RegrownUnaligned);
            }
            Ok(SectorSize::S4096)
        }
    }
}

/// A way to more room, from a candidate that has too little.
type Way = fn(Candidate, &Source) -> Result<Candidate, Obstacle>;

/// A layout in the making: the disk's and the partition's ends.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    disk_sectors: u64,
    root_last_lba: u64,
    room: Room,
    /// What must be left of the segment behind the filesystem.
    tail_bytes: u64,
}

impl Candidate {
    /// The source's own ends, after what a VHD's size and `--grow-root` ask for.
    fn start(source: &Source, request: Request) -> Self {
        let mut start = Self {
            disk_sectors: source.disk_bytes / source.sector_bytes,
            root_last_lba: source.root_last_lba,
            room: Room::Fits,
            tail_bytes: request.tail_bytes(),
        };
        if request.whole_mebibytes {
            start.disk_sectors = whole_mebibytes(start.disk_sectors, source.sector_bytes);
        }
        if request.grow_root {
            let end = start.gap_end_lba(source);
            // growpart leaves a partition alone that would gain less than 1 MiB.
            if (end.saturating_sub(start.root_last_lba)) * source.sector_bytes >= MIB {
                start.root_last_lba = end;
            }
        }
        start
    }

    /// The last LBA that the root could have without moving anything: before the next partition, or the
    /// last usable one.
    fn gap_end_lba(&self, source: &Source) -> u64 {
        let last_usable = self.disk_sectors.saturating_sub(source.backup_sectors + 1);
        source
            .next_first_lba
            .map_or(last_usable, |next| (next - 1).min(last_usable))
    }

    fn gap_sectors(&self, source: &Source) -> u64 {
        self.gap_end_lba(source).saturating_sub(self.root_last_lba)
    }

    fn grow(self, source: &Source) -> Result<Self, Obstacle> {
        let gap_sectors = self.gap_sectors(source);
        let wanted_bytes = HEADER_BYTES + self.tail_bytes;
        let sectors = gap_sectors.min(wanted_bytes / source.sector_bytes);
        let grown = Self {
            root_last_lba: self.root_last_lba + sectors,
            room: Room::Grown { sectors },
            ..self
        };
        let needed_bytes = source.filesystem_bytes + self.tail_bytes;
        if gap_sectors > 0 && grown.segment_bytes(source) >= Some(needed_bytes) {
            Ok(grown)
        } else {
            Err(Obstacle::GapTooSmall { gap_sectors })
        }
    }

    fn extend(self, source: &Source) -> Result<Self, Obstacle> {
        if let Some(next_first_lba) = source.next_first_lba {
            return Err(Obstacle::NotLast { next_first_lba });
        }
        let sectors = HEADER_BYTES / source.sector_bytes;
        Ok(Self {
            disk_sectors: self.disk_sectors + sectors,
            root_last_lba: self.root_last_lba + sectors,
            room: Room::Extended { sectors },
            ..self
        })
    }

    fn shrink(self, source: &Source) -> Result<Self, Obstacle> {
        let blocks = self.segment_bytes(source).unwrap_or(0) / source.block_bytes;
        if blocks == 0 {
            return Err(Obstacle::NothingLeft);
        }
        Ok(Self {
            room: Room::Shrunk { blocks },
            ..self
        })
    }

    fn no_room_in_place(&self, source: &Source) -> Error {
        let around_bytes = HEADER_BYTES + self.tail_bytes;
        let needed_bytes = around_bytes + source.filesystem_bytes;
        let sector_bytes = source.sector_bytes;
        let partition_bytes = (self.root_last_lba + 1 - source.root_first_lba) * sector_bytes;
        let gap_sectors = self.gap_sectors(source);
        let possible_bytes = partition_bytes + gap_sectors * sector_bytes;
        let is_last = source.next_first_lba.is_none();
        Error::NoRoomInPlace {
            needed_bytes,
            partition_bytes,
            gap_sectors,
            fitting_bytes: possible_bytes
                .checked_sub(around_bytes)
                .filter(|bytes| *bytes > 0),
            missing_bytes: is_last.then(|| needed_bytes.saturating_sub(possible_bytes)),
        }
    }

    /// D, where the partition is at least as long as the header.
    fn segment_bytes(&self, source: &Source) -> Option<u64> {
        ((self.root_last_lba + 1 - source.root_first_lba) * source.sector_bytes)
            .checked_sub(HEADER_BYTES)
    }

    /// Rounds what must be round and checks that the filesystem fits.
    fn finish(
        self,
        source: &Source,
        request: Request,
        sector_size: SectorSize,
    ) -> Result<Layout, Error> {
        let filesystem_bytes = match self.room {
            Room::Shrunk { blocks } => blocks * source.block_bytes,
            _ => source.filesystem_bytes,
        };
        let needed_bytes = filesystem_bytes + self.tail_bytes;
        let Some(exact) = self
            .segment_bytes(source)
            .filter(|bytes| *bytes >= needed_bytes)
        else {
            if request.in_place {
                return Err(self.no_room_in_place(source));
            }
            return Err(Error::NoRoom {
                needed_bytes: HEADER_BYTES + source.filesystem_bytes,
                partition_bytes: (source.root_last_lba + 1 - source.root_first_lba)
                    * source.sector_bytes,
                obstacle: Obstacle::GapTooSmall {
                    gap_sectors: self.gap_sectors(source),
                },
            });
        };
        let segment_bytes = match sector_size {
            SectorSize::S512 => exact,
            SectorSize::S4096 => exact / 4096 * 4096,
        };
        if segment_bytes < needed_bytes && request.in_place {
            return Err(self.no_room_in_place(source));
        }
        if segment_bytes < filesystem_bytes {
            return Err(Error::UnalignedSegment {
                segment_bytes: exact,
                filesystem_bytes,
            });
        }
        let disk_sectors = if request.whole_mebibytes {
            whole_mebibytes(self.disk_sectors, source.sector_bytes)
        } else {
            self.disk_sectors
        };
        let source_sectors = source.disk_bytes / source.sector_bytes;
        Ok(Layout {
            // A raw source may have some bytes behind its last whole sector; they stay.
            disk_bytes: if disk_sectors == source_sectors && !request.whole_mebibytes {
                source.disk_bytes
            } else {
                disk_sectors * source.sector_bytes
            },
            disk_sectors,
            root_first_lba: source.root_first_lba,
            root_last_lba: source.root_first_lba
                + (HEADER_BYTES + segment_bytes) / source.sector_bytes
                - 1,
            root_bytes: source.root_first_lba * source.sector_bytes,
            segment_bytes,
            filesystem_bytes,
            sector_size,
            room: self.room,
        })
    }
}

/// So many sectors, rounded up to a multiple of 1 MiB.
fn whole_mebibytes(sectors: u64, sector_bytes: u64) -> u64 {
    sectors.next_multiple_of(MIB / sector_bytes)
}

#[cfg(test)]
mod tests;
