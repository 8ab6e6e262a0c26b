//! The disk in a VMDK of one sparse file: grains that lie where two levels of tables say, compressed or not.
//! `VMware`'s "Virtual Disk Format" 5.0; little-endian, in sectors of 512 bytes.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 4 | `KDMV` |
//! | 4 | 4 | version, 1 to 3 |
//! | 8 | 4 | flags: 2 there are zeroed grains, 16 grains are compressed |
//! | 12 | 8 | sectors of the disk |
//! | 20 | 8 | sectors of a grain |
//! | 28 | 8 + 8 | first sector and sectors of the text that describes the disk |
//! | 44 | 4 | entries of a grain table |
//! | 56 | 8 | first sector of the grain directory; all ones: in the footer, the last but one sector |
//! | 72 | 1 | the disk is open, or was not closed |
//! | 77 | 2 | compression: 0 none, 1 deflate |
//!
//! An entry of the directory is the sector of a grain table, an entry of that the sector of a grain: 0 for none, 1 for
//! zeros. A compressed grain begins with its place on the disk (8 bytes) and its length (4). This is `monolithicSparse`
//! and `streamOptimized`, as `VMware` and qemu-img write them. Refused: disks of several files, which a text names,
//! differences to another disk, and a disk that was not closed.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::mapped::{Cache, Map, Mapped, Method, Place, Unit, damaged};
use super::{Error, Result};
use base::number::to_usize;
use base::storage::{self, ReadAt, check_range};

const MAGIC: [u8; 4] = *b"KDMV";
const SECTOR_BYTES: u64 = 512;

/// In the header: the directory is named by the footer.
const AT_THE_END: u64 = u64::MAX;

const ZEROED_GRAINS: u32 = 1 << 2;
const COMPRESSED_GRAINS: u32 = 1 << 16;

/// Sectors of a disk at most: 64 TiB.
const MAX_SECTORS: u64 = 64 << 31;
/// Sectors of a grain at most: 2 MiB.
const MAX_GRAIN_SECTORS: u64 = 4096;
/// Entries of a grain table at most, as `VMware` and QEMU have it.
const MAX_TABLE_ENTRIES: u32 = 512;
/// Entries of a directory at most: 16 MiB.
const MAX_DIRECTORY_ENTRIES: u64 = 4 << 20;
/// Bytes of the describing text at most.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Grain tables that are kept.
const KEPT_TABLES: usize = 64;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    version: U32,
    flags: U32,
    capacity: U64,
    grain_sectors: U64,
    text_sector: U64,
    text_sectors: U64,
    table_entries: U32,
    redundant_directory_sector: U64,
    directory_sector: U64,
    overhead: U64,
    is_open: u8,
    line_ends: [u8; 4],
    compression: U16,
    padding: [u8; 433],
}

/// Why a VMDK is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VmdkDefect {
    /// Another version.
    #[error("it has version {0}; 1 to 3 are known")]
    Version(u32),
    /// Something that the image has and this reader cannot follow.
    #[error("it has {0}, which is not read")]
    Unsupported(&'static str),
    /// A kind of disk that is not in this one file.
    #[error("it is of the kind \"{kind}\"; monolithicSparse and streamOptimized are read")]
    Kind {
        /// As its text says, without control characters.
        kind: String,
    },
    /// Somebody writes it, or somebody was killed.
    #[error("it was not closed: it is in use, or its writer was killed")]
    NotClosed,
    /// The footer is not where the header says.
    #[error("there is no footer in its last sectors: it was cut off")]
    NoFooter,
    /// Sizes that are out of the format's bounds, or more than we take.
    #[error(
        "it has a disk of {sectors} sectors in grains of {grain_sectors}, {table_entries} to a table"
    )]
    Size {
        /// Sectors of the disk.
        sectors: u64,
        /// Sectors of a grain.
        grain_sectors: u64,
        /// Entries of a grain table.
        table_entries: u32,
    },
    /// A structure does not lie in the file.
    #[error("its {what} at sector {sector} reaches beyond the end: it was cut off")]
    BeyondEnd {
        /// Which one.
        what: &'static str,
        /// Where it should be.
        sector: u64,
    },
    /// A compressed grain that says it is longer than any can be, or belongs elsewhere.
    #[error("the grain at sector {sector} of the disk has no valid marker")]
    Marker {
        /// First sector of the grain on the disk.
        sector: u64,
    },
}

impl From<VmdkDefect> for Error {
    fn from(defect: VmdkDefect) -> Self {
        Self::Vmdk { defect }
    }
}

/// Opens the disk in a sparse VMDK.
pub(super) fn open(file: impl ReadAt + 'static) -> Result<Box<dyn ReadAt>> {
    let mut header = read_header(&file, 0)?.ok_or(VmdkDefect::Version(0))?;
    check_text(&file, &header)?;
    if header.directory_sector.get() == AT_THE_END {
        // Marker, footer, end-of-stream marker: a sector each.
        let sectors = file.len_bytes() / SECTOR_BYTES;
        let footer = read_header(&file, sectors.saturating_sub(2))?;
        header = footer.ok_or(VmdkDefect::NoFooter)?;
        if header.directory_sector.get() == AT_THE_END {
            return Err(VmdkDefect::NoFooter.into());
        }
    }
    let map = Tables::read(&file, &header)?;
    Ok(Box::new(Mapped::new(file, map, None)))
}

/// The header, or its copy in the footer; `None` where there is none.
fn read_header(file: &dyn ReadAt, sector: u64) -> Result<Option<Header>> {
    let offset_bytes = sector.saturating_mul(SECTOR_BYTES);
    let mut bytes = [0; size_of::<Header>()];
    if check_range(offset_bytes, bytes.len(), file.len_bytes()).is_err() {
        let what = "header";
        return Err(VmdkDefect::BeyondEnd { what, sector }.into());
    }
    file.read_exact_at(&mut bytes, offset_bytes)?;
    let header: Header = zerocopy::transmute!(bytes);
    if header.magic != MAGIC {
        return Ok(None);
    }
    let version = header.version.get();
    if !(1..=3).contains(&version) {
        return Err(VmdkDefect::Version(version).into());
    }
    if header.is_open != 0 {
        return Err(VmdkDefect::NotClosed.into());
    }
    if header.compression.get() > 1 {
        return Err(VmdkDefect::Unsupported("an unknown compression").into());
    }
    Ok(Some(header))
}

/// Refuses a disk that does not lie in this file alone, by the text that describes it.
fn check_text(file: &dyn ReadAt, header: &Header) -> Result<()> {
    let sector = header.text_sector.get();
    if sector == 0 {
        let what = "no description: it is one of a disk's several files";
        return Err(VmdkDefect::Unsupported(what).into());
    }
    let length = header.text_sectors.get().saturating_mul(SECTOR_BYTES);
    let length = to_usize(length.min(MAX_TEXT_BYTES));
    let offset_bytes = sector.saturating_mul(SECTOR_BYTES);
    if check_range(offset_bytes, length, file.len_bytes()).is_err() {
        let what = "description";
        return Err(VmdkDefect::BeyondEnd { what, sector }.into());
    }
    let text = file.read_vec(offset_bytes, length)?;
    let text = String::from_utf8_lossy(&text);
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim_matches(|c: char| c == '"' || c.is_whitespace()))
    };
    if value("parentCID").is_some_and(|parent| !parent.eq_ignore_ascii_case("ffffffff")) {
        return Err(VmdkDefect::Unsupported("a parent, whose changes it holds").into());
    }
    match value("createType") {
        Some("monolithicSparse" | "streamOptimized") => Ok(()),
        other => {
            let kind: String = other.unwrap_or_default().chars().take(60).collect();
            let kind = kind.escape_debug().to_string();
            Err(VmdkDefect::Kind { kind }.into())
        }
    }
}

/// The two levels of tables.
struct Tables {
    sectors: u64,
    grain_bytes: u64,
    table_entries: u64,
    has_zeroed_grains: bool,
    is_compressed: bool,
    directory: Vec<u32>,
    kept: Cache<Vec<u32>>,
}

impl Tables {
    fn read(file: &dyn ReadAt, header: &Header) -> Result<Self> {
        let (sectors, grain_sectors) = (header.capacity.get(), header.grain_sectors.get());
        let table_entries = header.table_entries.get();
        let covered = grain_sectors.saturating_mul(table_entries.into());
        let directory_entries = sectors.div_ceil(covered.max(1));
        let is_usual = (1..=MAX_SECTORS).contains(&sectors)
            && grain_sectors.is_power_of_two()
            && grain_sectors <= MAX_GRAIN_SECTORS
            && (1..=MAX_TABLE_ENTRIES).contains(&table_entries)
            && directory_entries <= MAX_DIRECTORY_ENTRIES;
        if !is_usual {
            let defect = VmdkDefect::Size {
                sectors,
                grain_sectors,
                table_entries,
            };
            return Err(defect.into());
        }
        let sector = header.directory_sector.get();
        let offset_bytes = sector.saturating_mul(SECTOR_BYTES);
        let length = to_usize(directory_entries.saturating_mul(4));
        if check_range(offset_bytes, length, file.len_bytes()).is_err() {
            let what = "grain directory";
            return Err(VmdkDefect::BeyondEnd { what, sector }.into());
        }
        let flags = header.flags.get();
        Ok(Self {
            sectors,
            grain_bytes: grain_sectors.saturating_mul(SECTOR_BYTES),
            table_entries: table_entries.into(),
            has_zeroed_grains: flags & ZEROED_GRAINS != 0,
            is_compressed: flags & COMPRESSED_GRAINS != 0,
            directory: read_entries(file, offset_bytes, length)?,
            kept: Cache::new(KEPT_TABLES),
        })
    }

    /// The sector of the grain that holds a byte of the disk, 0 for none; and where the disk is told about as far.
    fn entry(&self, file: &dyn ReadAt, offset_bytes: u64) -> storage::Result<(u32, u64)> {
        let covered = self.grain_bytes.saturating_mul(self.table_entries);
        let index = offset_bytes.checked_div(covered).unwrap_or(0);
        let table_start = index.saturating_mul(covered);
        let table = usize::try_from(index).ok();
        let table = table.and_then(|index| self.directory.get(index)).copied();
        let Some(table) = table.filter(|sector| *sector != 0) else {
            return Ok((0, table_start.saturating_add(covered)));
        };
        let length = self.table_entries.saturating_mul(4);
        let length = to_usize(length);
        let at = u64::from(table).saturating_mul(SECTOR_BYTES);
        let entries = self.kept.get(at, || read_entries(file, at, length))?;
        let within = offset_bytes.saturating_sub(table_start);
        let grain = within.checked_div(self.grain_bytes).unwrap_or(0);
        let end =
            table_start.saturating_add(grain.saturating_add(1).saturating_mul(self.grain_bytes));
        let grain = usize::try_from(grain).ok();
        let grain = grain.and_then(|grain| entries.get(grain)).copied();
        Ok((grain.unwrap_or(0), end))
    }

    /// The compressed grain behind a marker.
    fn compressed(&self, file: &dyn ReadAt, at: u64, grain_start: u64) -> storage::Result<Unit> {
        let sector = grain_start / SECTOR_BYTES;
        let mut marker = [0; 12];
        file.read_exact_at(&mut marker, at)?;
        let (place, length) = marker.split_at(8);
        let place = place
            .first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let length = length
            .first_chunk()
            .map_or(0, |bytes| u32::from_le_bytes(*bytes));
        // Deflate adds a few bytes to what it cannot compress.
        let longest = self.grain_bytes.saturating_mul(2);
        if place != sector || length == 0 || u64::from(length) > longest {
            return Err(damaged(at, VmdkDefect::Marker { sector }));
        }
        // QEMU ends the last grain with the disk.
        let plain_bytes = self.disk_bytes().saturating_sub(grain_start);
        let plain_bytes = plain_bytes.min(self.grain_bytes);
        Ok(Unit {
            offset_bytes: at.saturating_add(12),
            packed_bytes: to_usize(length.into()),
            plain_bytes: to_usize(plain_bytes),
            method: Method::Zlib,
        })
    }
}

impl Map for Tables {
    fn disk_bytes(&self) -> u64 {
        self.sectors.saturating_mul(SECTOR_BYTES)
    }

    fn unit_bytes(&self) -> u64 {
        self.grain_bytes
    }

    fn locate(&self, file: &dyn ReadAt, offset_bytes: u64) -> storage::Result<(Place, u64)> {
        let (entry, end) = self.entry(file, offset_bytes)?;
        let within = offset_bytes & self.grain_bytes.saturating_sub(1);
        let at = u64::from(entry).saturating_mul(SECTOR_BYTES);
        let place = match entry {
            0 => Place::Hole,
            1 if self.has_zeroed_grains => Place::Hole,
            _ if self.is_compressed => Place::Packed {
                unit: self.compressed(file, at, offset_bytes.saturating_sub(within))?,
                within_bytes: within,
            },
            _ => Place::At(at.saturating_add(within)),
        };
        Ok((place, end.min(self.disk_bytes())))
    }
}

fn read_entries(file: &dyn ReadAt, offset_bytes: u64, length: usize) -> storage::Result<Vec<u32>> {
    let bytes = file.read_vec(offset_bytes, length)?;
    let (entries, _) = bytes.as_chunks::<4>();
    Ok(entries
        .iter()
        .map(|&entry| u32::from_le_bytes(entry))
        .collect())
}
