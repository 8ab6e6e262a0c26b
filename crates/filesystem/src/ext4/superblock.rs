//! The ext4 superblock, checked before libext2fs sees the image.
//!
//! The library is C and trusts its image: a superblock that passed [`Superblock::read`] has every bound that
//! keeps the library's arithmetic and allocations sane, and its checksum. Whether the filesystem may be *edited*
//! is a second question ([`Superblock::check_editable`]): the library opens a filesystem with a journal to replay
//! without a word, and the next mount would replay old blocks over the edit.
//!
//! Source: "ext4 Data Structures and Algorithms" in the Linux kernel's documentation, section "Super Block", and
//! the limits of mke2fs 1.47. ext2 and ext3 are the same format with fewer features; all three are taken.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod fields;
mod geometry;

use fields::{SuperblockFields, check, text};
use geometry::Geometry;

use super::binding;
use crate::{Error, Result};
use base::storage::ReadAt;

/// Where the superblock lies in its partition, and its length.
pub const SUPERBLOCK_OFFSET_BYTES: u64 = 1024;
const SUPERBLOCK_BYTES: usize = 1024;

const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_MMP: u32 = 0x100;
const RO_COMPAT_GDT_CSUM: u32 = 0x10;
const RO_COMPAT_QUOTA: u32 = 0x100;
const RO_COMPAT_BIGALLOC: u32 = 0x200;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
const RO_COMPAT_READONLY: u32 = 0x1000;
const RO_COMPAT_SHARED_BLOCKS: u32 = 0x4000;
const RO_COMPAT_ORPHAN_PRESENT: u32 = 0x1_0000;

const STATE_VALID: u16 = 0x1;
const STATE_ERRORS: u16 = 0x2;
const STATE_ORPHANS: u16 = 0x4;

/// Something worth saying that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Warning {
    /// The kernel counted errors at some time; the filesystem is clean now.
    ErrorsCounted {
        /// How many.
        count: u32,
    },
    /// The directory gives its files a default ACL, which the kernel would have given this one; we do not.
    DefaultAcl {
        /// The directory.
        directory: String,
    },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ErrorsCounted { count } => write!(
                f,
                "the ext4 filesystem is clean, but the kernel counted {count} errors in its past"
            ),
            Self::DefaultAcl { directory } => write!(
                f,
                "the directory {directory} has a default ACL, which what is written there does not inherit"
            ),
        }
    }
}

/// A superblock that passed the checks of [`Superblock::read`]. All integers on disk are little-endian.
///
/// | offset | field | | offset | field |
/// | --- | --- | --- | --- | --- |
/// | 0x00 | inodes count | | 0x5C, 0x60, 0x64 | features: compat, incompat, ro_compat |
/// | 0x04, 0x150 | blocks count, low and high half | | 0x68 | UUID |
/// | 0x14 | first data block | | 0x78 | label, 16 bytes |
/// | 0x18, 0x1C | log2 of block and cluster size / 1024 | | 0xCE | reserved descriptor blocks |
/// | 0x20, 0x24, 0x28 | blocks, clusters, inodes a group | | 0xE4, 0xE8 | journal device, last orphan |
/// | 0x38 | magic 0xEF53 | | 0xFE | descriptor size |
/// | 0x3A | state | | 0x104 | first meta block group |
/// | 0x48, 0x4C | creator, revision | | 0x15C, 0x15E | extra inode size, minimum and wanted |
/// | 0x54, 0x58 | first inode, inode size | | 0x174, 0x175 | log2 of groups per flex group, checksum type |
/// | 0x0C, 0x158 | free blocks, low and high half | | 0x194, 0x3FC | error count, checksum |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    block_bytes: u32,
    cluster_bytes: u64,
    blocks: u64,
    free_blocks: u64,
    first_data_block: u32,
    compat: u32,
    incompat: u32,
    ro_compat: u32,
    state: u16,
    error_count: u32,
    last_orphan: u32,
    journal_device: u32,
    label: Vec<u8>,
    uuid: [u8; 16],
}

impl Superblock {
    /// Reads the superblock of the filesystem that fills `storage`, and checks that libext2fs can be trusted
    /// with it.
    ///
    /// Refuses what is no ext2/3/4, a wrong checksum, a field out of its bounds, a filesystem that ends behind
    /// `storage`, and `incompat` features that the linked library does not know.
    pub fn read(storage: &dyn ReadAt) -> Result<Self> {
        let partition_bytes = storage.len_bytes();
        if partition_bytes < 2 * SUPERBLOCK_OFFSET_BYTES {
            return Err(Error::TooShort { partition_bytes });
        }
        let mut bytes = [0; SUPERBLOCK_BYTES];
        storage.read_exact_at(&mut bytes, SUPERBLOCK_OFFSET_BYTES)?;
        Self::parse(&bytes, partition_bytes)
    }

    fn parse(bytes: &[u8; SUPERBLOCK_BYTES], partition_bytes: u64) -> Result<Self> {
        let fields = SuperblockFields(bytes);
        let revision = check_features(fields)?;
        let (compat, incompat, ro_compat) = fields.features();
        let bigalloc = ro_compat & RO_COMPAT_BIGALLOC != 0;
        let wide = incompat & INCOMPAT_64BIT != 0;

        let (log_block, log_cluster) = check_sizes(fields, bigalloc)?;
        let block_bytes = 1024_u32 << log_block;
        let cluster_bytes = 1024_u64 << log_cluster;

        let blocks = fields.block_count(0x04, 0x150, wide);
        let first_data_block = fields.u32(0x14);
        check_blocks(blocks, first_data_block, block_bytes, bigalloc)?;
        let filesystem_bytes = blocks.saturating_mul(u64::from(block_bytes));
        if filesystem_bytes > partition_bytes {
            return Err(Error::LargerThanPartition {
                filesystem_bytes,
                partition_bytes,
            });
        }
        Geometry {
            fields,
            revision,
            block_bytes,
            log_ratio: log_cluster.saturating_sub(log_block),
            blocks,
            first_data_block,
            wide,
            meta_groups: incompat & INCOMPAT_META_BG != 0,
        }
        .check()?;

        let free_blocks = fields.block_count(0x0c, 0x158, wide);
        let fits = free_blocks < blocks;
        check(
            "count of free blocks",
            0x0c,
            free_blocks,
            fits,
            "less than that of all",
        )?;
        Ok(Self {
            block_bytes,
            cluster_bytes,
            blocks,
            free_blocks,
            first_data_block,
            compat,
            incompat,
            ro_compat,
            state: fields.u16(0x3a),
            error_count: fields.u32(0x194),
            last_orphan: fields.u32(0xe8),
            journal_device: fields.u32(0xe4),
            label: text(fields.bytes::<16>(0x78)),
            uuid: fields.bytes(0x68),
        })
    }

    /// Checks that an edit from outside does no harm, and that the bitmap of used blocks can be believed.
    ///
    /// Refuses a journal to replay, an unclean state, recorded errors, orphans, quotas, multi-mount protection,
    /// a journal elsewhere, a filesystem that says it is read-only, and `ro_compat` features that the linked
    /// library does not know. Errors that the kernel counted before the last clean check are a warning.
    pub fn check_editable(&self) -> Result<Vec<Warning>> {
        let unknown = self.ro_compat & !binding::known_features().ro_compat;
        if unknown != 0 {
            let word = "ro_compat";
            return Err(Error::UnknownFeatures {
                word,
                bits: unknown,
            });
        }
        if self.incompat & INCOMPAT_MMP != 0 {
            return Err(Error::MultiMountProtection);
        }
        if self.journal_device != 0 {
            let device = self.journal_device;
            return Err(Error::ExternalJournal { device });
        }
        if self.incompat & INCOMPAT_RECOVER != 0 {
            return Err(Error::JournalNeedsRecovery);
        }
        let (state, count) = (self.state, self.error_count);
        if state & STATE_ERRORS != 0 {
            return Err(Error::ErrorsRecorded { state, count });
        }
        if self.last_orphan != 0 {
            let first_inode = self.last_orphan;
            return Err(Error::Orphans { first_inode });
        }
        if self.ro_compat & RO_COMPAT_ORPHAN_PRESENT != 0 {
            return Err(Error::OrphanFileInUse);
        }
        if state & STATE_VALID == 0 || state & STATE_ORPHANS != 0 {
            return Err(Error::NotClean { state });
        }
        if self.ro_compat & RO_COMPAT_QUOTA != 0 {
            return Err(Error::Quota);
        }
        let read_only = self.ro_compat & (RO_COMPAT_READONLY | RO_COMPAT_SHARED_BLOCKS);
        if read_only != 0 {
            return Err(Error::ReadOnlyFilesystem { bits: read_only });
        }
        let counted = (count != 0).then_some(Warning::ErrorsCounted { count });
        Ok(counted.into_iter().collect())
    }

    /// Length of the filesystem, in bytes; its partition may be longer.
    pub fn len_bytes(&self) -> u64 {
        self.blocks.saturating_mul(u64::from(self.block_bytes))
    }

    /// Size of a block, in bytes: 1024 to 65536.
    pub fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// Size of a cluster, the unit of allocation, in bytes; that of a block without `bigalloc`.
    pub fn cluster_bytes(&self) -> u64 {
        self.cluster_bytes
    }

    /// The block that the first group begins with: 1 where blocks have 1024 bytes (without `bigalloc`), else 0.
    pub fn first_data_block(&self) -> u32 {
        self.first_data_block
    }

    /// What the superblock counts as free, in bytes, blocks reserved for root included. A claim, not a check.
    pub fn free_bytes(&self) -> u64 {
        self.free_blocks.saturating_mul(u64::from(self.block_bytes))
    }

    /// The filesystem's label without its padding; not always UTF-8.
    pub fn label(&self) -> &[u8] {
        &self.label
    }

    /// The filesystem's UUID, in the order in which it is written.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// The feature words compat, incompat and `ro_compat`.
    pub fn features(&self) -> [u32; 3] {
        [self.compat, self.incompat, self.ro_compat]
    }
}

/// Checks what says how all else is to be read: magic number, revision, features and checksum. Returns the revision.
fn check_features(fields: SuperblockFields<'_>) -> Result<u32> {
    let found = fields.u16(0x38);
    if found != 0xef53 {
        return Err(Error::NotExt { found });
    }
    let revision = fields.u32(0x4c);
    check("revision", 0x4c, revision, revision <= 1, "0 or 1")?;
    let (compat, incompat, ro_compat) = fields.features();
    let features_allowed = revision == 1 || compat | incompat | ro_compat == 0;
    check(
        "revision",
        0x4c,
        revision,
        features_allowed,
        "1 with features",
    )?;
    if ro_compat & RO_COMPAT_METADATA_CSUM != 0 {
        fields.verify_checksum()?;
        let exclusive = ro_compat & RO_COMPAT_GDT_CSUM == 0;
        let allowed = "not both metadata_csum (0x400) and uninit_bg (0x10)";
        check("ro_compat features", 0x64, ro_compat, exclusive, allowed)?;
    }
    if incompat & INCOMPAT_JOURNAL_DEV != 0 {
        return Err(Error::JournalDevice);
    }
    let unknown = incompat & !(binding::known_features().incompat | INCOMPAT_MMP);
    if unknown != 0 {
        let word = "incompat";
        return Err(Error::UnknownFeatures {
            word,
            bits: unknown,
        });
    }
    Ok(revision)
}

/// Checks where the filesystem begins, and that it is longer than that.
fn check_blocks(blocks: u64, first: u32, block_bytes: u32, bigalloc: bool) -> Result<()> {
    let is_expected = first == u32::from(block_bytes == 1024 && !bigalloc);
    let allowed = "1 with blocks of 1024 bytes and without bigalloc, else 0";
    check("first data block", 0x14, first, is_expected, allowed)?;
    let some = blocks > u64::from(first).saturating_add(1);
    let allowed = "more than that of its superblock";
    check("count of blocks", 0x04, blocks, some, allowed)
}

/// Checks the sizes of blocks and clusters, and returns their exponents.
fn check_sizes(fields: SuperblockFields<'_>, bigalloc: bool) -> Result<(u32, u32)> {
    let creator = fields.u32(0x48);
    let linux = matches!(creator, 0 | 3 | 4);
    check("creator", 0x48, creator, linux, "0 (Linux), 3 or 4")?;
    let (log_block, log_cluster) = (fields.u32(0x18), fields.u32(0x1c));
    check(
        "block size exponent",
        0x18,
        log_block,
        log_block <= 6,
        "0 to 6",
    )?;
    let cluster_fits = log_cluster >= log_block && log_cluster <= 19;
    let cluster_fits = cluster_fits && (bigalloc || log_cluster == log_block);
    let allowed = "that of the block size, with bigalloc up to 19";
    check(
        "cluster size exponent",
        0x1c,
        log_cluster,
        cluster_fits,
        allowed,
    )?;
    Ok((log_block, log_cluster))
}
