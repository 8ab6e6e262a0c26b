//! The disk in a VHDX: blocks that lie where a table says. Microsoft's MS-VHDX; little-endian.
//!
//! | offset | what |
//! | --- | --- |
//! | 0 | `vhdxfile` and the creator's name |
//! | 64 KiB, 128 KiB | two headers, of which the valid one with the higher sequence number counts |
//! | 192 KiB, 256 KiB | two equal tables of regions |
//! | a region | metadata: block size, size of the disk, size of its sectors |
//! | a region | block allocation table (BAT) |
//!
//! Headers and region tables carry a CRC-32C. An entry of the BAT has a state (bits 0 to 2) and a place in the file
//! (bits 20 to 63, in MiB); after the entries of each *chunk* of 2^23 sectors stands one for a bitmap, which only
//! differences to another disk have. Pages of the BAT are read when they are needed. Refused: a log that holds changes
//! which were not carried out (nothing is replayed), differences to a parent, and regions or metadata that a reader
//! must know and we do not.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use uuid::{Uuid, uuid};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::mapped::{Cache, Map, Mapped, Place, damaged};
use super::{Error, Result};
use base::checksum::crc32c;
use base::number::to_usize;
use base::storage::{self, ReadAt, check_range};

const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const HEADER_BYTES: usize = 4096;
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
const REGION_TABLE_BYTES: usize = 64 << 10;
const METADATA_TABLE_BYTES: usize = 64 << 10;
const MIB: u64 = 1 << 20;

const BAT: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
const METADATA: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");

const FILE_PARAMETERS: Uuid = uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
const DISK_SIZE: Uuid = uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
const SECTOR_SIZE: Uuid = uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f");
const PHYSICAL_SECTOR_SIZE: Uuid = uuid!("cda348c7-445d-4471-9cc9-e9885251c556");
const DISK_ID: Uuid = uuid!("beca12ab-b2e6-4523-93ef-c309e000c746");

/// File parameters: the disk is a difference to a parent.
const HAS_PARENT: u32 = 2;

/// Bytes of a disk at most, by the format.
const MAX_DISK_BYTES: u64 = 64 << 40;

/// Entries in a page of the BAT, and pages that are kept.
const PAGE_ENTRIES: u64 = 4096;
const KEPT_PAGES: usize = 64;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    signature: [u8; 4],
    checksum: U32,
    sequence_number: U64,
    file_write_id: [u8; 16],
    data_write_id: [u8; 16],
    log_id: [u8; 16],
    log_version: U16,
    version: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RegionEntry {
    id: [u8; 16],
    offset_bytes: U64,
    len_bytes: U32,
    is_required: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MetadataEntry {
    id: [u8; 16],
    /// From the beginning of the region.
    offset_bytes: U32,
    len_bytes: U32,
    /// 1 of the user, 2 of the virtual disk, 4 required.
    flags: U32,
    reserved: U32,
}

/// Why a VHDX is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VhdxDefect {
    /// Both are damaged.
    #[error("none of its two {0} is valid")]
    NoneValid(&'static str),
    /// Another version.
    #[error("it has version {0}; 1 is known")]
    Version(u16),
    /// Not closed.
    #[error("its log holds changes that were not carried out: it is in use, or was not closed")]
    Log,
    /// The disk is a difference.
    #[error("it holds the changes to a parent disk")]
    Parent,
    /// Something that every reader must know.
    #[error("it needs a reader that knows the {what} {id}")]
    Unknown {
        /// Region or metadata.
        what: &'static str,
        /// Its identifier.
        id: Uuid,
    },
    /// Something that every such file has.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A structure does not lie in the file.
    #[error("its {what} at offset {offset_bytes} reaches beyond the end: it was cut off")]
    BeyondEnd {
        /// Which one.
        what: &'static str,
        /// Where it should be.
        offset_bytes: u64,
    },
    /// Sizes that are out of the format's bounds.
    #[error(
        "it has a disk of {disk_bytes} bytes, blocks of {block_bytes}, sectors of {sector_bytes}"
    )]
    Size {
        /// Of the disk.
        disk_bytes: u64,
        /// Of a block.
        block_bytes: u32,
        /// Of a sector.
        sector_bytes: u32,
    },
    /// The table does not cover the disk.
    #[error("its block allocation table has room for {entries} entries, its disk needs {needed}")]
    TableTooShort {
        /// Entries that fit.
        entries: u64,
        /// Entries that the disk demands.
        needed: u64,
    },
    /// A block in a state or at a place that no whole disk has.
    #[error("block {block} of the disk has the entry {entry:#x}, which no whole disk has")]
    Block {
        /// Which block.
        block: u64,
        /// Its entry in the table.
        entry: u64,
    },
}

impl From<VhdxDefect> for Error {
    fn from(defect: VhdxDefect) -> Self {
        Self::Vhdx { defect }
    }
}

/// Opens the disk in a VHDX.
pub(super) fn open(file: impl ReadAt + 'static) -> Result<Box<dyn ReadAt>> {
    check_header(&file)?;
    let regions = Regions::read(&file)?;
    let map = Blocks::read(&file, &regions)?;
    Ok(Box::new(Mapped::new(file, map, None)))
}

/// The bytes of a structure, in full.
fn read(
    file: &dyn ReadAt,
    offset_bytes: u64,
    length: usize,
    what: &'static str,
) -> Result<Vec<u8>> {
    if check_range(offset_bytes, length, file.len_bytes()).is_err() {
        return Err(VhdxDefect::BeyondEnd { what, offset_bytes }.into());
    }
    Ok(file.read_vec(offset_bytes, length)?)
}

/// A structure that begins with a signature and a CRC-32C of itself; `None` where it is damaged.
fn read_checked(
    file: &dyn ReadAt,
    offset_bytes: u64,
    length: usize,
    signature: [u8; 4],
) -> Result<Option<Vec<u8>>> {
    let bytes = read(file, offset_bytes, length, "header")?;
    let mut zeroed = bytes.clone();
    let stored = match zeroed.get_mut(4..8) {
        Some(field) => {
            let stored = field.first_chunk().map(|field| u32::from_le_bytes(*field));
            field.fill(0);
            stored
        }
        None => None,
    };
    let is_valid = bytes.starts_with(&signature) && stored == Some(!crc32c(&zeroed));
    Ok(is_valid.then_some(bytes))
}

/// Checks the header that counts.
fn check_header(file: &dyn ReadAt) -> Result<()> {
    let mut current: Option<Header> = None;
    for offset_bytes in HEADERS {
        let Some(bytes) = read_checked(file, offset_bytes, HEADER_BYTES, *b"head")? else {
            continue;
        };
        let Ok((header, _)) = Header::read_from_prefix(&bytes) else {
            continue; // never: it is shorter
        };
        let sequence = |header: &Header| header.sequence_number.get();
        if current.as_ref().map(sequence) < Some(sequence(&header)) {
            current = Some(header);
        }
    }
    let header = current.ok_or(VhdxDefect::NoneValid("headers"))?;
    if header.version.get() != 1 {
        return Err(VhdxDefect::Version(header.version.get()).into());
    }
    if header.log_id != [0; 16] {
        return Err(VhdxDefect::Log.into());
    }
    Ok(())
}

/// A part of the file.
#[derive(Clone, Copy)]
struct Region {
    offset_bytes: u64,
    len_bytes: u64,
}

struct Regions {
    metadata: Region,
    bat: Region,
}

impl Regions {
    fn read(file: &dyn ReadAt) -> Result<Self> {
        let mut table = None;
        for offset_bytes in REGION_TABLES {
            if table.is_none() {
                table = read_checked(file, offset_bytes, REGION_TABLE_BYTES, *b"regi")?;
            }
        }
        let table = table.ok_or(VhdxDefect::NoneValid("region tables"))?;
        let (mut metadata, mut bat) = (None, None);
        for entry in entries::<RegionEntry>(&table, 8, 16) {
            let region = Region {
                offset_bytes: entry.offset_bytes.get(),
                len_bytes: entry.len_bytes.get().into(),
            };
            match Uuid::from_bytes_le(entry.id) {
                METADATA => metadata = Some(region),
                BAT => bat = Some(region),
                id if entry.is_required.get() & 1 != 0 => {
                    let what = "region";
                    return Err(VhdxDefect::Unknown { what, id }.into());
                }
                _ => {}
            }
        }
        Ok(Self {
            metadata: metadata.ok_or(VhdxDefect::Missing("metadata"))?,
            bat: bat.ok_or(VhdxDefect::Missing("block allocation table"))?,
        })
    }
}

/// The entries of a table from `start` on, whose number is a u16 or the low half of a u32 at `count_at`.
fn entries<T: FromBytes>(table: &[u8], count_at: usize, start: usize) -> impl Iterator<Item = T> {
    let count = table.get(count_at..).and_then(|rest| rest.first_chunk());
    let count = count.map_or(0, |count| u16::from_le_bytes(*count));
    table
        .get(start..)
        .unwrap_or_default()
        .chunks_exact(size_of::<T>())
        .take(count.into())
        .filter_map(|entry| T::read_from_bytes(entry).ok())
}

/// What the metadata say of a disk.
struct Metadata {
    /// Bytes of a block.
    block: u32,
    /// Bytes of the disk.
    disk: u64,
    /// Bytes of a sector.
    sector: u32,
}

impl Metadata {
    fn read(file: &dyn ReadAt, region: Region) -> Result<Self> {
        let table = read(file, region.offset_bytes, METADATA_TABLE_BYTES, "metadata")?;
        if !table.starts_with(b"metadata") {
            return Err(VhdxDefect::Missing("metadata").into());
        }
        let (mut parameters, mut disk_bytes, mut sector_bytes) = (None, None, None);
        for entry in entries::<MetadataEntry>(&table, 10, 32) {
            let at = region
                .offset_bytes
                .saturating_add(entry.offset_bytes.get().into());
            let value = || -> Result<[u8; 8]> {
                let bytes = read(file, at, 8, "metadata")?;
                Ok(bytes.first_chunk().copied().unwrap_or_default())
            };
            match Uuid::from_bytes_le(entry.id) {
                FILE_PARAMETERS => parameters = Some(u64::from_le_bytes(value()?)),
                DISK_SIZE => disk_bytes = Some(u64::from_le_bytes(value()?)),
                SECTOR_SIZE => sector_bytes = Some(low(u64::from_le_bytes(value()?))),
                PHYSICAL_SECTOR_SIZE | DISK_ID => {}
                id if entry.flags.get() & 4 != 0 && !is_parent_locator(id) => {
                    let what = "metadata";
                    return Err(VhdxDefect::Unknown { what, id }.into());
                }
                _ => {}
            }
        }
        let parameters = parameters.ok_or(VhdxDefect::Missing("file parameters"))?;
        if low(parameters >> 32) & HAS_PARENT != 0 {
            return Err(VhdxDefect::Parent.into());
        }
        Ok(Self {
            block: low(parameters),
            disk: disk_bytes.ok_or(VhdxDefect::Missing("disk size"))?,
            sector: sector_bytes.ok_or(VhdxDefect::Missing("sector size"))?,
        })
    }
}

/// Where the parent is, for a difference; such a disk is refused by its parameters.
fn is_parent_locator(id: Uuid) -> bool {
    id == uuid!("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
}

/// The low half.
#[expect(clippy::cast_possible_truncation, reason = "that is what is wanted")]
fn low(value: u64) -> u32 {
    value as u32
}

/// The block allocation table.
struct Blocks {
    disk_bytes: u64,
    block_bytes: u64,
    /// Blocks in a chunk: after so many entries stands one for a bitmap.
    per_chunk: u64,
    bat_offset_bytes: u64,
    bat_entries: u64,
    pages: Cache<Vec<u64>>,
}

impl Blocks {
    fn read(file: &dyn ReadAt, regions: &Regions) -> Result<Self> {
        let metadata = Metadata::read(file, regions.metadata)?;
        let block_bytes = u64::from(metadata.block);
        let sector_bytes = u64::from(metadata.sector);
        let disk_bytes = metadata.disk;
        let is_usual = block_bytes.is_power_of_two()
            && (MIB..=256 * MIB).contains(&block_bytes)
            && [512, 4096].contains(&sector_bytes)
            && (1..=MAX_DISK_BYTES).contains(&disk_bytes)
            && disk_bytes.checked_rem(sector_bytes) == Some(0);
        if !is_usual {
            let defect = VhdxDefect::Size {
                disk_bytes,
                block_bytes: metadata.block,
                sector_bytes: metadata.sector,
            };
            return Err(defect.into());
        }
        let chunk = sector_bytes.saturating_mul(1 << 23);
        let this = Self {
            disk_bytes,
            block_bytes,
            per_chunk: chunk.checked_div(block_bytes).unwrap_or(1).max(1),
            bat_offset_bytes: regions.bat.offset_bytes,
            bat_entries: regions.bat.len_bytes / 8,
            pages: Cache::new(KEPT_PAGES),
        };
        let last = disk_bytes.saturating_sub(1).checked_div(block_bytes);
        let needed = this.entry_of(last.unwrap_or(0)).saturating_add(1);
        if needed > this.bat_entries {
            let entries = this.bat_entries;
            return Err(VhdxDefect::TableTooShort { entries, needed }.into());
        }
        let length = to_usize(needed.saturating_mul(8));
        let offset_bytes = this.bat_offset_bytes;
        if check_range(offset_bytes, length, file.len_bytes()).is_err() {
            let what = "block allocation table";
            return Err(VhdxDefect::BeyondEnd { what, offset_bytes }.into());
        }
        Ok(this)
    }

    /// The index of a block's entry.
    fn entry_of(&self, block: u64) -> u64 {
        block.saturating_add(block.checked_div(self.per_chunk).unwrap_or(0))
    }

    fn entry(&self, file: &dyn ReadAt, block: u64) -> storage::Result<u64> {
        let index = self.entry_of(block);
        let page = index / PAGE_ENTRIES;
        let first = page.saturating_mul(PAGE_ENTRIES);
        let entries = self.pages.get(page, || {
            let count = self.bat_entries.saturating_sub(first).min(PAGE_ENTRIES);
            let at = self
                .bat_offset_bytes
                .saturating_add(first.saturating_mul(8));
            // The last page ends with the region or with what there is of it.
            let left = file.len_bytes().saturating_sub(at) / 8;
            let length = to_usize(count.min(left).saturating_mul(8));
            let bytes = file.read_vec(at, length)?;
            let (entries, _) = bytes.as_chunks::<8>();
            let entries = entries.iter().map(|&entry| u64::from_le_bytes(entry));
            Ok::<_, storage::Error>(entries.collect::<Vec<_>>())
        })?;
        let within = usize::try_from(index.saturating_sub(first)).ok();
        let entry = within.and_then(|within| entries.get(within));
        Ok(entry.copied().unwrap_or(0))
    }
}

impl Map for Blocks {
    fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    fn unit_bytes(&self) -> u64 {
        MIB
    }

    fn locate(&self, file: &dyn ReadAt, offset_bytes: u64) -> storage::Result<(Place, u64)> {
        let block = offset_bytes.checked_div(self.block_bytes).unwrap_or(0);
        let start = block.saturating_mul(self.block_bytes);
        let within = offset_bytes.saturating_sub(start);
        let end = start.saturating_add(self.block_bytes).min(self.disk_bytes);
        let entry = self.entry(file, block)?;
        let at = entry & !(MIB.saturating_sub(1));
        let place = match entry & 7 {
            // Not present, undefined, zero, unmapped: QEMU 7.2 reads all of them as zeros.
            0..=3 => Place::Hole,
            6 if at >= MIB => Place::At(at.saturating_add(within)),
            _ => return Err(damaged(at, VhdxDefect::Block { block, entry })),
        };
        Ok((place, end))
    }
}
