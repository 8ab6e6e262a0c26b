//! The disk in a dynamic VHD: blocks that lie where a table says, and absent ones that are zeros.
//!
//! | offset | size | what |
//! | --- | --- | --- |
//! | 0 | 512 | copy of the footer: type 3, data offset of the header |
//! | data offset | 1024 | header: `cxsparse`, table offset, version, entries, block size, checksum |
//! | table offset | 4 a block | first sector of the block in the file, all ones where it is absent |
//! | sector x 512 | | bitmap of the block's sectors, in whole sectors, then the block |
//! | end - 512 | 512 | footer |
//!
//! Big-endian. The bitmaps are not read: QEMU 7.2 sets all bits of a block that it makes, and both it and libvhdi
//! 20210425 give what lies in a block even where a bit says that its sector is absent.
//! What the table costs is bounded by [`MAX_BLOCKS`], and no two blocks may share bytes.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::Range;

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::vhd::{COOKIE, FOOTER_BYTES, Footer, complement_of_sum};
use super::{Error, Result, Warning};
use base::number::to_usize;
use base::storage::{self, ReadAt, check_range};

/// Blocks at most: 16 MiB of table, 8 TiB of disk with the usual 2 MiB. The format's disks end at 2040 GiB.
const MAX_BLOCKS: u64 = 4 << 20;

/// In the table: the block is absent.
const ABSENT: u32 = u32::MAX;

const SECTOR_BYTES: u64 = 512;

#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    cookie: [u8; 8],
    data_offset: U64,
    table_offset: U64,
    version: U32,
    entries: U32,
    block_bytes: U32,
    checksum: U32,
    parent: [u8; 984],
}

/// What is wrong with a dynamic VHD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DynamicVhdDefect {
    /// Cut off, or still being written.
    #[error("no footer at the end of the file")]
    NoFooter,
    /// The beginning of the file is that of another state.
    #[error("the footer and its copy at the beginning differ")]
    FooterCopy,
    /// No header where the footer says.
    #[error("no header at offset {offset_bytes}")]
    NoHeader {
        /// Data offset of the footer.
        offset_bytes: u64,
    },
    /// The header's checksum does not match.
    #[error("the header's checksum {stored:#010x} should be {computed:#010x}")]
    Checksum {
        /// As stored, at offset 36 of the header.
        stored: u32,
        /// One's complement of the sum of the header's bytes.
        computed: u32,
    },
    /// A version that nobody has described.
    #[error("the header's version {version:#010x} is not 0x00010000")]
    Version {
        /// As stored.
        version: u32,
    },
    /// No power of two from 4 KiB to 256 MiB.
    #[error("blocks of {block_bytes} bytes")]
    BlockSize {
        /// As stored.
        block_bytes: u32,
    },
    /// The disk is empty, no whole sectors, or needs more blocks than the table has or we take.
    #[error("a disk of {disk_bytes} bytes in {entries} blocks")]
    Size {
        /// Current size of the footer.
        disk_bytes: u64,
        /// Entries of the table.
        entries: u32,
    },
    /// The table does not lie in the file.
    #[error("the table at offset {offset_bytes} reaches beyond the end")]
    Table {
        /// As stored.
        offset_bytes: u64,
    },
    /// A block does not lie between the beginning and the footer.
    #[error("block {block} lies at sector {sector}, outside of the file's data")]
    Block {
        /// Which one, from 0.
        block: usize,
        /// As stored.
        sector: u32,
    },
    /// Two blocks share bytes.
    #[error("two blocks overlap at sector {sector}")]
    Overlap {
        /// Where the later one starts.
        sector: u32,
    },
}

impl From<DynamicVhdDefect> for Error {
    fn from(defect: DynamicVhdDefect) -> Self {
        Self::DynamicVhd { defect }
    }
}

/// The disk in a dynamic VHD, for reading.
#[derive(Debug)]
pub struct DynamicVhd<S> {
    file: S,
    footer: Footer,
    block_bytes: u64,
    bitmap_bytes: u64,
    /// First sector of each block of the disk, in the file.
    table: Vec<u32>,
}

impl<S: ReadAt> DynamicVhd<S> {
    /// Takes a file that [`detect`](super::detect) named a dynamic VHD, and checks all that it says.
    pub fn open(file: S) -> Result<Self> {
        let footer = footer(&file)?;
        let (disk_bytes, header) = (footer.disk_bytes(), header(&file, footer.data_offset())?);
        let block_bytes = header.block_bytes.get();
        if !block_bytes.is_power_of_two() || !(4 << 10..=256 << 20).contains(&block_bytes) {
            return Err(DynamicVhdDefect::BlockSize { block_bytes }.into());
        }
        let entries = header.entries.get();
        let block_bytes = u64::from(block_bytes);
        let blocks = disk_bytes.div_ceil(block_bytes);
        let is_whole = disk_bytes > 0 && disk_bytes.is_multiple_of(SECTOR_BYTES);
        if !is_whole || blocks > u64::from(entries) || blocks > MAX_BLOCKS {
            return Err(DynamicVhdDefect::Size {
                disk_bytes,
                entries,
            }
            .into());
        }
        let this = Self {
            table: table(&file, header.table_offset.get(), blocks)?,
            bitmap_bytes: (block_bytes / SECTOR_BYTES / 8).next_multiple_of(SECTOR_BYTES),
            block_bytes,
            footer,
            file,
        };
        this.check_blocks()?;
        Ok(this)
    }

    /// What a user should know.
    pub fn warnings(&self) -> Vec<Warning> {
        let disk_bytes = self.footer.disk_bytes();
        let geometry_bytes = self.footer.disk_bytes_for_qemu();
        if geometry_bytes == disk_bytes {
            return Vec::new();
        }
        vec![Warning::OtherSizeForQemu {
            disk_bytes,
            geometry_bytes,
        }]
    }

    fn check_blocks(&self) -> Result<()> {
        let whole_bytes = self.bitmap_bytes.saturating_add(self.block_bytes);
        let data_end = self.file.len_bytes().saturating_sub(FOOTER_BYTES);
        let mut sectors = Vec::new();
        for (block, &sector) in self.table.iter().enumerate() {
            if sector == ABSENT {
                continue;
            }
            let start = u64::from(sector).saturating_mul(SECTOR_BYTES);
            if sector == 0 || start.saturating_add(whole_bytes) > data_end {
                return Err(DynamicVhdDefect::Block { block, sector }.into());
            }
            sectors.push(sector);
        }
        sectors.sort_unstable();
        for (&one, &next) in sectors.iter().zip(sectors.iter().skip(1)) {
            if u64::from(next.abs_diff(one)).saturating_mul(SECTOR_BYTES) < whole_bytes {
                return Err(DynamicVhdDefect::Overlap { sector: next }.into());
            }
        }
        Ok(())
    }

    /// Where the byte of the disk lies in the file, `None` in an absent block; and where its block ends on
    /// the disk.
    fn locate(&self, offset_bytes: u64) -> (Option<u64>, u64) {
        let block = offset_bytes.checked_div(self.block_bytes).unwrap_or(0);
        let within = offset_bytes.checked_rem(self.block_bytes).unwrap_or(0);
        let end = offset_bytes
            .saturating_sub(within)
            .saturating_add(self.block_bytes)
            .min(self.len_bytes());
        let sector = usize::try_from(block)
            .ok()
            .and_then(|block| self.table.get(block).copied());
        let start = sector.filter(|sector| *sector != ABSENT).map(|sector| {
            u64::from(sector)
                .saturating_mul(SECTOR_BYTES)
                .saturating_add(self.bitmap_bytes)
                .saturating_add(within)
        });
        (start, end)
    }
}

impl<S: ReadAt> ReadAt for DynamicVhd<S> {
    fn len_bytes(&self) -> u64 {
        self.footer.disk_bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> storage::Result<()> {
        check_range(offset_bytes, buffer.len(), self.len_bytes())?;
        let (mut rest, mut from) = (buffer, offset_bytes);
        while !rest.is_empty() {
            let (start, end) = self.locate(from);
            let room = to_usize(end.saturating_sub(from));
            let (piece, behind) = rest.split_at_mut(room.min(rest.len()));
            match start {
                Some(start) => self.file.read_exact_at(piece, start)?,
                None => piece.fill(0),
            }
            (rest, from) = (behind, end);
        }
        Ok(())
    }

    fn next_data(&self, from_bytes: u64) -> storage::Result<Option<Range<u64>>> {
        let mut from = from_bytes;
        while from < self.len_bytes() {
            let (start, end) = self.locate(from);
            if let Some(start) = start {
                // Holes of the file within a block cost nothing either.
                let length = end.saturating_sub(from);
                let file_end = start.saturating_add(length);
                let found = self.file.next_data(start)?;
                if let Some(data) = found.filter(|data| data.start < file_end) {
                    let on_disk = |at: u64| from.saturating_add(at.saturating_sub(start));
                    return Ok(Some(on_disk(data.start)..on_disk(data.end.min(file_end))));
                }
            }
            from = end;
        }
        Ok(None)
    }
}

/// The footer at the end, which the copy at the beginning must equal.
fn footer(file: &dyn ReadAt) -> Result<Footer> {
    let end = file.len_bytes().checked_sub(FOOTER_BYTES);
    let end = end.ok_or(DynamicVhdDefect::NoFooter)?;
    let (mut last, mut first) = ([0; 512], [0; 512]);
    file.read_exact_at(&mut last, end)?;
    file.read_exact_at(&mut first, 0)?;
    if !last.starts_with(&COOKIE) {
        return Err(DynamicVhdDefect::NoFooter.into());
    }
    let footer = Footer::parse_dynamic(&last)?;
    if first != last {
        return Err(DynamicVhdDefect::FooterCopy.into());
    }
    Ok(footer)
}

fn header(file: &dyn ReadAt, offset_bytes: u64) -> Result<Header> {
    let mut bytes = [0; 1024];
    let none = DynamicVhdDefect::NoHeader { offset_bytes };
    if check_range(offset_bytes, bytes.len(), file.len_bytes()).is_err() {
        return Err(none.into());
    }
    file.read_exact_at(&mut bytes, offset_bytes)?;
    let header: Header = zerocopy::transmute!(bytes);
    if header.cookie != *b"cxsparse" {
        return Err(none.into());
    }
    let mut zeroed = header.clone();
    zeroed.checksum = 0.into();
    let (stored, computed) = (header.checksum.get(), complement_of_sum(zeroed.as_bytes()));
    if stored != computed {
        return Err(DynamicVhdDefect::Checksum { stored, computed }.into());
    }
    match header.version.get() {
        0x0001_0000 => Ok(header),
        version => Err(DynamicVhdDefect::Version { version }.into()),
    }
}

/// The first `blocks` entries of the table; there are [`MAX_BLOCKS`] at most.
fn table(file: &dyn ReadAt, offset_bytes: u64, blocks: u64) -> Result<Vec<u32>> {
    let beyond = DynamicVhdDefect::Table { offset_bytes };
    let length = usize::try_from(blocks.saturating_mul(4)).map_err(|_| beyond)?;
    if check_range(offset_bytes, length, file.len_bytes()).is_err() {
        return Err(beyond.into());
    }
    let bytes = file.read_vec(offset_bytes, length)?;
    let (entries, _) = bytes.as_chunks::<4>();
    Ok(entries
        .iter()
        .map(|&entry| u32::from_be_bytes(entry))
        .collect())
}
