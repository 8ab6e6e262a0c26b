//! The boot sector of a FAT filesystem, and its allocation table.
//!
//! What [`Geometry`] holds has been checked: every structure lies within the filesystem, the filesystem within its
//! partition, and the table has an entry for each cluster.
//!
//! | offset | size | field | | offset | size | field |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | 0x0B | 2 | bytes a sector | | 0x16 | 2 | sectors of a table (0: FAT32) |
//! | 0x0D | 1 | sectors a cluster | | 0x20 | 4 | sectors in all, where 0x13 is 0 |
//! | 0x0E | 2 | reserved sectors | | 0x24 | 4 | FAT32: sectors of a table |
//! | 0x10 | 1 | tables, 1 or 2 | | 0x2C | 4 | FAT32: first cluster of the root directory |
//! | 0x11 | 2 | entries of the root (0: FAT32) | | 0x30 | 2 | FAT32: sector of `FSInfo` |
//! | 0x13 | 2 | sectors in all | | 0x1FE | 2 | 0xAA55 |

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use crate::{Error, Result};
use base::number::{fitting, to_usize};
use base::storage::{ReadAt, WriteAt};

/// The width of the allocation table's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FatType {
    /// 12 bits.
    Fat12,
    /// 16 bits.
    Fat16,
    /// 32 bits, of which 28 count.
    Fat32,
}

impl std::fmt::Display for FatType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fat12 => "FAT12",
            Self::Fat16 => "FAT16",
            Self::Fat32 => "FAT32",
        })
    }
}

/// Where everything lies in a FAT filesystem; offsets from its start, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    fat_type: FatType,
    cluster_bytes: u64,
    table_start_bytes: u64,
    /// How many copies of the table there are, one behind the other: 1 or 2.
    tables: u64,
    /// Length of a copy.
    table_bytes: u64,
    /// Where cluster 2 begins.
    data_start_bytes: u64,
    /// Where `FSInfo` lies, in FAT32.
    information_bytes: Option<u64>,
    /// Clusters are numbered from 2 to this one.
    last_cluster: u32,
    len_bytes: u64,
}

/// Reads at a time of the allocation table.
const CHUNK_BYTES: u64 = 64 << 10;

impl Geometry {
    /// Reads and checks the boot sector of the filesystem that `storage` begins with.
    pub fn read(storage: &dyn ReadAt) -> Result<Self> {
        let partition_bytes = storage.len_bytes();
        if partition_bytes < 512 {
            return Err(Error::NotFat { found: 0 });
        }
        let mut sector = [0; 512];
        storage.read_exact_at(&mut sector, 0)?;
        Self::parse(&sector, partition_bytes)
    }

    fn parse(sector: &[u8; 512], partition_bytes: u64) -> Result<Self> {
        let fields = BootSector(sector);
        let found = fields.u16(0x1fe);
        if found != 0xaa55 {
            return Err(Error::NotFat { found });
        }
        let (sector_bytes, cluster_bytes) = fields.sizes()?;
        let regions = fields.regions()?;
        let sectors = fields.sectors();
        let len_bytes = sectors.saturating_mul(sector_bytes);
        if len_bytes > partition_bytes {
            return Err(Error::FatLargerThanPartition {
                filesystem_bytes: len_bytes,
                partition_bytes,
            });
        }
        let in_front = regions.sectors_in_front(sector_bytes);
        let data_bytes = sectors
            .saturating_sub(in_front)
            .saturating_mul(sector_bytes);
        let clusters = data_bytes.checked_div(cluster_bytes).unwrap_or(0);
        let allowed = "more than tables and root take";
        check("count of sectors", 0x20, sectors, clusters > 0, allowed)?;
        let fat_type = regions.fat_type(clusters, sector_bytes)?;
        let last_cluster = fitting(clusters.saturating_add(1));
        let information_bytes = if fat_type == FatType::Fat32 {
            let sector = fields.information(last_cluster, regions.reserved)?;
            Some(sector.saturating_mul(sector_bytes))
        } else {
            None
        };
        Ok(Self {
            fat_type,
            cluster_bytes,
            table_start_bytes: regions.reserved.saturating_mul(sector_bytes),
            tables: regions.tables,
            table_bytes: regions.table_sectors.saturating_mul(sector_bytes),
            data_start_bytes: in_front.saturating_mul(sector_bytes),
            information_bytes,
            last_cluster,
            len_bytes,
        })
    }

    /// The width of the table's entries.
    pub fn fat_type(&self) -> FatType {
        self.fat_type
    }

    /// Size of a cluster, in bytes: 512 to 32768.
    pub fn cluster_bytes(&self) -> u64 {
        self.cluster_bytes
    }

    /// Length of the filesystem, in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// True for the numbers of clusters that hold data.
    pub fn has_cluster(&self, number: u64) -> bool {
        (2..=u64::from(self.last_cluster)).contains(&number)
    }

    /// How many clusters the first table calls free. What `FSInfo` says is a hint that may be stale.
    pub fn free_clusters(&self, storage: &dyn ReadAt) -> Result<u64> {
        let bits = self.entry_bits();
        let end = u64::from(self.last_cluster).saturating_add(1);
        // 64 KiB hold whole entries of 16 and 32 bits; a chunk of 12-bit ones is the whole table.
        let at_once = CHUNK_BYTES
            .saturating_mul(8)
            .checked_div(bits)
            .unwrap_or(1)
            .max(1);
        let mut free = 0_u64;
        let mut first = 0_u64;
        while first < end {
            let count = at_once.min(end.saturating_sub(first));
            let start = first.saturating_mul(bits) / 8;
            let len = count.saturating_mul(bits).div_ceil(8);
            let len = to_usize(len);
            let offset = self.table_start_bytes.saturating_add(start);
            let bytes = storage.read_vec(offset, len)?;
            for index in 0..count {
                let number = first.saturating_add(index);
                let is_free = self.entry_in(&bytes, index) == 0;
                free = free.saturating_add(u64::from(is_free && number >= 2));
            }
            first = first.saturating_add(count);
        }
        Ok(free)
    }

    /// Writes how many clusters are free into `FSInfo`, where there is one that tells a number.
    pub(super) fn count_free(&self, storage: &dyn WriteAt) -> Result<()> {
        const FREE_COUNT: u64 = 0x1e8;
        let Some(information_bytes) = self.information_bytes else {
            return Ok(());
        };
        let offset_bytes = information_bytes.saturating_add(FREE_COUNT);
        let told = storage.read_vec(offset_bytes, 4)?;
        let free: u32 = fitting(self.free_clusters(storage)?);
        if told != [0xff; 4] && told != free.to_le_bytes() {
            storage.write_all_at(&free.to_le_bytes(), offset_bytes)?;
        }
        Ok(())
    }

    /// The clusters of the chain that begins with `first`, in order; none where `first` is no cluster of the filesystem.
    /// A chain that leads out of the filesystem or in a circle is an error.
    pub fn chain(&self, storage: &dyn ReadAt, first: u64) -> Result<Vec<u64>> {
        let mut clusters = Vec::new();
        let mut number = first;
        while self.has_cluster(number) {
            clusters.push(number);
            if clusters.len() as u64 > u64::from(self.last_cluster) {
                return Err(Error::FatChain { first });
            }
            number = self.entry(storage, number)?;
        }
        if !clusters.is_empty() && !self.ends_chain(number) {
            return Err(Error::FatChain { first });
        }
        Ok(clusters)
    }

    /// True for what the last entry of a chain holds.
    pub(super) fn ends_chain(&self, entry: u64) -> bool {
        entry
            >= match self.fat_type {
                FatType::Fat12 => 0xff8,
                FatType::Fat16 => 0xfff8,
                FatType::Fat32 => 0x0fff_fff8,
            }
    }

    /// The entry of a cluster in the first table.
    pub(super) fn entry(&self, storage: &dyn ReadAt, cluster: u64) -> Result<u64> {
        let mut bytes = [0; 4];
        let place = self.place_of_entry(0, cluster);
        let len = to_usize(place.end.saturating_sub(place.start));
        let (bytes, _) = bytes.split_at_mut(len);
        storage.read_exact_at(bytes, place.start)?;
        Ok(self.decode(bytes, !cluster.is_multiple_of(2)))
    }

    /// Sets the entry of a cluster in every table. What else is in its bytes stays.
    pub(super) fn set_entry(&self, storage: &dyn WriteAt, cluster: u64, entry: u64) -> Result<()> {
        for copy in 0..self.tables {
            let place = self.place_of_entry(copy, cluster);
            let len = to_usize(place.end.saturating_sub(place.start));
            let mut bytes = storage.read_vec(place.start, len)?;
            self.encode(&mut bytes, !cluster.is_multiple_of(2), entry);
            storage.write_all_at(&bytes, place.start)?;
        }
        Ok(())
    }

    /// The bytes that an entry has a part in: one byte more than its own half where it has 12 bits.
    fn place_of_entry(&self, copy: u64, cluster: u64) -> Range<u64> {
        let bit = cluster.saturating_mul(self.entry_bits());
        let len = if self.fat_type == FatType::Fat32 {
            4
        } else {
            2
        };
        let table = self.table(copy);
        let start = table.start.saturating_add(bit / 8);
        start..start.saturating_add(len)
    }

    /// Where a copy of the table lies.
    pub(super) fn table(&self, copy: u64) -> Range<u64> {
        let before = copy.saturating_mul(self.table_bytes);
        let start = self.table_start_bytes.saturating_add(before);
        start..start.saturating_add(self.table_bytes)
    }

    /// How many copies of the table there are.
    pub(super) fn tables(&self) -> u64 {
        self.tables
    }

    /// Where all copies of the table lie.
    pub(super) fn all_tables(&self) -> Range<u64> {
        self.table_start_bytes..self.table(self.tables).start
    }

    /// The cluster that a byte lies in; `None` in front of the first and behind the last.
    pub(super) fn cluster_at(&self, offset_bytes: u64) -> Option<u64> {
        let within = offset_bytes.checked_sub(self.data_start_bytes)?;
        let cluster = within.checked_div(self.cluster_bytes)?.checked_add(2)?;
        self.has_cluster(cluster).then_some(cluster)
    }

    /// Where the data begin; the fixed root directory of the narrow widths lies in front.
    pub(super) fn data_start_bytes(&self) -> u64 {
        self.data_start_bytes
    }

    /// The highest number of a cluster.
    pub(super) fn last_cluster(&self) -> u32 {
        self.last_cluster
    }

    pub(super) fn entry_bits(&self) -> u64 {
        match self.fat_type {
            FatType::Fat12 => 12,
            FatType::Fat16 => 16,
            FatType::Fat32 => 32,
        }
    }

    /// Entry `index` of `bytes`, which begin with entry 0 (for 12 bits: with an even one).
    fn entry_in(&self, bytes: &[u8], index: u64) -> u64 {
        let at = to_usize(index.saturating_mul(self.entry_bits()) / 8);
        self.decode(
            bytes.get(at..).unwrap_or_default(),
            !index.is_multiple_of(2),
        )
    }

    /// Writes an entry into the first bytes, and keeps the bits around it.
    pub(super) fn encode(&self, bytes: &mut [u8], is_odd: bool, entry: u64) {
        let (mask, shift) = match self.fat_type {
            FatType::Fat12 if is_odd => (0xfff0_u64, 4_u32),
            FatType::Fat12 => (0x0fff, 0),
            FatType::Fat16 => (0xffff, 0),
            FatType::Fat32 => (0x0fff_ffff, 0),
        };
        let mask = mask.to_le_bytes();
        let entry = entry.wrapping_shl(shift).to_le_bytes();
        for (byte, (mask, entry)) in bytes.iter_mut().zip(mask.iter().zip(entry)) {
            *byte = *byte & !mask | entry & mask;
        }
    }

    /// The entry that lies in the first bytes; an odd one of 12 bits begins in the upper half of the first.
    pub(super) fn decode(&self, bytes: &[u8], is_odd: bool) -> u64 {
        let byte = |index: usize| u64::from(bytes.get(index).copied().unwrap_or(0));
        let word = byte(0) | byte(1) << 8;
        match self.fat_type {
            FatType::Fat12 if is_odd => word >> 4,
            FatType::Fat12 => word & 0xfff,
            FatType::Fat16 => word,
            FatType::Fat32 => (word | byte(2) << 16 | byte(3) << 24) & 0x0fff_ffff,
        }
    }
}

/// The regions in front of the clusters, as the boot sector counts them.
#[derive(Clone, Copy)]
struct Regions {
    /// Sectors in front of the first table.
    reserved: u64,
    /// Copies of the table: 1 or 2.
    tables: u64,
    /// Sectors of a copy.
    table_sectors: u64,
    /// Where that count stands in the boot sector.
    table_sectors_offset_bytes: u64,
    /// Entries of the root directory; 0 in FAT32, whose root lies in clusters.
    root_entries: u64,
}

impl Regions {
    /// FAT32 counts the sectors of a table in a field of its own.
    fn is_wide(self) -> bool {
        self.root_entries == 0
    }

    fn sectors_in_front(self, sector_bytes: u64) -> u64 {
        let root_sectors = self.root_entries.saturating_mul(32).div_ceil(sector_bytes);
        self.reserved
            .saturating_add(self.tables.saturating_mul(self.table_sectors))
            .saturating_add(root_sectors)
    }

    /// The width of the entries follows from the count of clusters; the table must have an entry for each.
    fn fat_type(self, clusters: u64, sector_bytes: u64) -> Result<FatType> {
        let (fat_type, bits, most) = match (self.is_wide(), clusters) {
            (true, _) => (FatType::Fat32, 32, 0x0fff_fff5),
            (false, ..4085) => (FatType::Fat12, 12, 4084),
            (false, _) => (FatType::Fat16, 16, 65_524),
        };
        let allowed = "few enough for the width of the table";
        let fits = clusters <= most;
        check("count of clusters", 0x20, clusters, fits, allowed)?;
        let entries = clusters.saturating_add(2);
        let needed_bytes = entries.saturating_mul(bits).div_ceil(8);
        check(
            "count of sectors of a table",
            self.table_sectors_offset_bytes,
            self.table_sectors,
            needed_bytes <= self.table_sectors.saturating_mul(sector_bytes),
            "enough for an entry a cluster",
        )?;
        Ok(fat_type)
    }
}

/// The boot sector's bytes, read by offset. Offsets are constants below 512.
#[derive(Clone, Copy)]
struct BootSector<'b>(&'b [u8; 512]);

impl BootSector<'_> {
    /// Bytes of a sector, and of a cluster.
    fn sizes(self) -> Result<(u64, u64)> {
        let sector_bytes = u64::from(self.u16(0x0b));
        let fits = matches!(sector_bytes, 512 | 1024 | 2048 | 4096);
        let allowed = "512, 1024, 2048 or 4096";
        check("bytes a sector", 0x0b, sector_bytes, fits, allowed)?;
        let per_cluster = u64::from(self.u8(0x0d));
        let cluster_bytes = per_cluster.saturating_mul(sector_bytes);
        let fits = per_cluster.is_power_of_two() && cluster_bytes <= 32 << 10;
        let allowed = "a power of two that makes clusters of at most 32 KiB";
        check("sectors a cluster", 0x0d, per_cluster, fits, allowed)?;
        Ok((sector_bytes, cluster_bytes))
    }

    fn regions(self) -> Result<Regions> {
        let reserved = u64::from(self.u16(0x0e));
        let fits = reserved > 0;
        check(
            "count of reserved sectors",
            0x0e,
            reserved,
            fits,
            "at least 1",
        )?;
        let tables = u64::from(self.u8(0x10));
        let fits = matches!(tables, 1 | 2);
        check("count of tables", 0x10, tables, fits, "1 or 2")?;
        let root_entries = u64::from(self.u16(0x11));
        let (table_sectors, table_sectors_offset_bytes) = match u64::from(self.u16(0x16)) {
            0 => (u64::from(self.u32(0x24)), 0x24),
            sectors => (sectors, 0x16),
        };
        check(
            "count of entries of the root",
            0x11,
            root_entries,
            (root_entries == 0) == (table_sectors_offset_bytes == 0x24),
            "0 with FAT32, else more",
        )?;
        Ok(Regions {
            reserved,
            tables,
            table_sectors,
            table_sectors_offset_bytes,
            root_entries,
        })
    }

    /// Sectors of the filesystem.
    fn sectors(self) -> u64 {
        match self.u16(0x13) {
            0 => u64::from(self.u32(0x20)),
            sectors => u64::from(sectors),
        }
    }

    /// The sector of FAT32's `FSInfo`; checks the first cluster of its root directory, too.
    fn information(self, last_cluster: u32, reserved: u64) -> Result<u64> {
        let root = self.u32(0x2c);
        let fits = (2..=last_cluster).contains(&root);
        let allowed = "a cluster of the filesystem";
        check(
            "first cluster of the root",
            0x2c,
            root.into(),
            fits,
            allowed,
        )?;
        let sector = u64::from(self.u16(0x30));
        let fits = sector > 0 && sector < reserved;
        let allowed = "a reserved sector behind the first";
        check("sector of FSInfo", 0x30, sector, fits, allowed)?;
        Ok(sector)
    }

    #[expect(
        clippy::expect_used,
        clippy::arithmetic_side_effects,
        reason = "offsets are constants of this file"
    )]
    fn bytes<const N: usize>(self, offset: usize) -> [u8; N] {
        self.0
            .get(offset..offset + N)
            .and_then(|bytes| bytes.try_into().ok())
            .expect("BUG: a field lies outside of the boot sector")
    }

    fn u8(self, offset: usize) -> u8 {
        u8::from_le_bytes(self.bytes(offset))
    }

    fn u16(self, offset: usize) -> u16 {
        u16::from_le_bytes(self.bytes(offset))
    }

    fn u32(self, offset: usize) -> u32 {
        u32::from_le_bytes(self.bytes(offset))
    }
}

fn check(
    field: &'static str,
    offset_bytes: u64,
    value: u64,
    fits: bool,
    allowed: &'static str,
) -> Result<()> {
    if fits {
        return Ok(());
    }
    Err(Error::FatField {
        field,
        offset_bytes,
        value,
        allowed,
    })
}
