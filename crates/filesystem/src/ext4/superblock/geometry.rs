//! Groups, their descriptors and their inodes: what sizes and counts of a superblock have to do with each other.
//!
//! The library multiplies and allocates by these numbers. A [`Geometry`] that passes [`Geometry::check`] keeps that
//! arithmetic within bounds; the limits are those of mke2fs 1.47 and of the library's own types.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::fields::{SuperblockFields, check};
use crate::Result;

/// What follows from sizes and counts: groups, their descriptors, their inodes.
pub(super) struct Geometry<'b> {
    pub(super) fields: SuperblockFields<'b>,
    pub(super) revision: u32,
    pub(super) block_bytes: u32,
    /// log2 of the blocks in a cluster.
    pub(super) log_ratio: u32,
    pub(super) blocks: u64,
    pub(super) first_data_block: u32,
    pub(super) wide: bool,
    pub(super) meta_groups: bool,
}

impl Geometry<'_> {
    /// Checks all of it.
    pub(super) fn check(&self) -> Result<()> {
        self.check_groups()?;
        let inode_bytes = self.check_inodes()?;
        self.check_descriptors(inode_bytes)
    }

    /// Blocks a group, which its bitmap has to hold.
    fn blocks_per_group(&self) -> u32 {
        self.fields.u32(0x20)
    }

    fn inodes_per_group(&self) -> u32 {
        self.fields.u32(0x28)
    }

    fn check_groups(&self) -> Result<()> {
        let fields = &self.fields;
        let block = self.block_bytes;
        // A bitmap is one block, and the library moves it by whole bytes.
        let bits = block.saturating_mul(8).min(65_528);
        let clusters = fields.u32(0x24);
        let fits = (256..=bits).contains(&clusters) && clusters.is_multiple_of(8);
        let allowed = "a multiple of 8 from 256 to 8 a byte of a block, at most 65528";
        check("count of clusters a group", 0x24, clusters, fits, allowed)?;
        let per_group = self.blocks_per_group();
        let fits = u64::from(per_group) == u64::from(clusters) << self.log_ratio;
        let allowed = "the clusters a group, in blocks";
        check("count of blocks a group", 0x20, per_group, fits, allowed)?;
        let inodes = self.inodes_per_group();
        let fits = (8..=block.saturating_mul(8)).contains(&inodes) && inodes.is_multiple_of(8);
        let allowed = "a multiple of 8 from 8 to 8 a byte of a block";
        check("count of inodes a group", 0x28, inodes, fits, allowed)
    }

    /// Checks the inodes of a checked group, and returns their size.
    fn check_inodes(&self) -> Result<u32> {
        let fields = &self.fields;
        let block = self.block_bytes;
        let inode_bytes = if self.revision == 0 {
            128
        } else {
            u32::from(fields.u16(0x58))
        };
        let fits = inode_bytes.is_power_of_two() && (128..=block).contains(&inode_bytes);
        let allowed = "a power of two from 128 to the block size";
        check("inode size", 0x58, inode_bytes, fits, allowed)?;
        if inode_bytes > 128 {
            let room = inode_bytes.saturating_sub(128);
            let allowed = "a multiple of 4 that leaves the inode its first 128 bytes";
            for (field, offset) in [
                ("minimum extra inode size", 0x15c),
                ("extra inode size", 0x15e),
            ] {
                let extra = u32::from(fields.u16(offset));
                let fits = extra <= room && extra % 4 == 0;
                check(field, offset, extra, fits, allowed)?;
            }
        }
        let first_inode = if self.revision == 0 {
            11
        } else {
            fields.u32(0x54)
        };
        let most = self.inodes_per_group().saturating_mul(2).max(11);
        let fits = (11..=most).contains(&first_inode);
        check(
            "first inode",
            0x54,
            first_inode,
            fits,
            "11 or a little more",
        )?;
        Ok(inode_bytes)
    }

    /// Checks the groups' descriptors, and that all inodes and descriptors have room.
    fn check_descriptors(&self, inode_bytes: u32) -> Result<()> {
        let fields = &self.fields;
        let block = self.block_bytes;
        let (per_group, inodes) = (self.blocks_per_group(), self.inodes_per_group());
        let descriptor_bytes = if self.wide {
            u32::from(fields.u16(0xfe))
        } else {
            32
        };
        let fits = descriptor_bytes.is_power_of_two()
            && (!self.wide || (64..=1024).contains(&descriptor_bytes));
        let allowed = "a power of two from 64 to 1024";
        check("descriptor size", 0xfe, descriptor_bytes, fits, allowed)?;
        let per_block = block.checked_div(descriptor_bytes).unwrap_or(0).max(1);
        let data_blocks = self.blocks.saturating_sub(u64::from(self.first_data_block));
        let groups = data_blocks.div_ceil(u64::from(per_group.max(1)));
        let fits = u32::try_from(groups).is_ok();
        let allowed = "at most 2^32 - 1 groups of blocks";
        check("count of blocks", 0x04, self.blocks, fits, allowed)?;
        let inodes_count = fields.u32(0x00);
        let fits = groups.checked_mul(u64::from(inodes)) == Some(u64::from(inodes_count));
        let allowed = "the inodes a group times the groups";
        check("count of inodes", 0x00, inodes_count, fits, allowed)?;
        let table_bytes = u64::from(inodes_count).saturating_mul(u64::from(inode_bytes));
        let fits = table_bytes < self.blocks.saturating_mul(u64::from(block));
        let allowed = "as many as the filesystem has room for";
        check("count of inodes", 0x00, inodes_count, fits, allowed)?;

        let descriptor_blocks = groups.div_ceil(u64::from(per_block));
        let reserved = fields.u16(0xce);
        let fits = u32::from(reserved) <= block / 4;
        let allowed = "at most a quarter of the block size";
        check(
            "count of reserved descriptor blocks",
            0xce,
            reserved,
            fits,
            allowed,
        )?;
        let first_meta = fields.u32(0x104);
        let (in_front, fits) = if self.meta_groups {
            let fits = u64::from(first_meta) <= descriptor_blocks;
            (u64::from(first_meta), fits)
        } else {
            (descriptor_blocks.saturating_add(u64::from(reserved)), true)
        };
        let allowed = "at most the count of descriptor blocks";
        check("first meta block group", 0x104, first_meta, fits, allowed)?;
        let group_blocks = u64::from(per_group).min(data_blocks);
        let fits = in_front.saturating_add(1) < group_blocks;
        let allowed = "few enough for their descriptors to fit into a group";
        check("count of blocks", 0x04, self.blocks, fits, allowed)?;
        let log_flex = fields.u8(0x174);
        let allowed = "at most 31";
        check(
            "flex group exponent",
            0x174,
            log_flex,
            log_flex <= 31,
            allowed,
        )
    }
}
