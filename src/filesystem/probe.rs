//! What lies in a partition, by magic numbers: so that a refusal can name it.
//!
//! | offset | bytes | content |
//! | --- | --- | --- |
//! | 0 | `LUKS\xba\xbe`, version 1 or 2 (16 bits, big-endian) | LUKS |
//! | 0x4000 … 0x400000 | `SKUL\xba\xbe` | a LUKS2 container that lost its primary header |
//! | 0x438 | `53 ef` | ext2, ext3, ext4 |
//! | 0 | `XFSB` | XFS |
//! | 0x10040 | `_BHRfS_M` | btrfs |
//! | 0 | `hsqs` | squashfs |
//! | 0x400 | `e2 e1 f5 e0` | EROFS |
//! | 0x52, 0x36 | `FAT32   `; `FAT16   `, `FAT12   ` | FAT, as its makers name it |
//! | 0x218 | `LVM2 001` | LVM, where the label lies in the second sector, its usual place |

use super::Result;
use crate::storage::ReadAt;

/// What a partition's magic numbers say. Nothing else about it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Content {
    /// A LUKS1 container.
    Luks1,
    /// A LUKS2 container.
    Luks2,
    /// The secondary header of a LUKS2 container whose primary one is gone.
    Luks2SecondaryOnly,
    /// An ext2, ext3 or ext4 filesystem.
    Ext,
    /// An XFS filesystem.
    Xfs,
    /// A btrfs filesystem.
    Btrfs,
    /// A squashfs filesystem.
    Squashfs,
    /// An EROFS filesystem.
    Erofs,
    /// A FAT filesystem.
    Fat,
    /// A physical volume of LVM.
    Lvm,
    /// Nothing that is known here.
    Unknown,
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Luks1 => "a LUKS1 container",
            Self::Luks2 => "a LUKS2 container",
            Self::Luks2SecondaryOnly => "a LUKS2 container whose primary header is lost",
            Self::Ext => "an ext2, ext3 or ext4 filesystem",
            Self::Xfs => "an XFS filesystem",
            Self::Btrfs => "a btrfs filesystem",
            Self::Squashfs => "a squashfs filesystem",
            Self::Erofs => "an EROFS filesystem",
            Self::Fat => "a FAT filesystem",
            Self::Lvm => "an LVM physical volume",
            Self::Unknown => "nothing that is recognised",
        })
    }
}

/// The places of a LUKS2 secondary header: behind a primary one of each size that there is.
const SECONDARY_OFFSETS_BYTES: [u64; 9] = [
    0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000,
];

/// Looks at the magic numbers of the partition that `storage` is.
pub fn probe(storage: &dyn ReadAt) -> Result<Content> {
    let start = [
        (0, &b"LUKS\xba\xbe\x00\x01"[..], Content::Luks1),
        (0, b"LUKS\xba\xbe\x00\x02", Content::Luks2),
        (0, b"XFSB", Content::Xfs),
        (0, b"hsqs", Content::Squashfs),
        (0x438, b"\x53\xef", Content::Ext),
        (0x1_0040, b"_BHRfS_M", Content::Btrfs),
        (0x400, b"\xe2\xe1\xf5\xe0", Content::Erofs),
        (0x52, b"FAT32   ", Content::Fat),
        (0x36, b"FAT16   ", Content::Fat),
        (0x36, b"FAT12   ", Content::Fat),
        (0x218, b"LVM2 001", Content::Lvm),
    ];
    // Last: it may be a leftover behind a filesystem that was made later.
    let secondary = SECONDARY_OFFSETS_BYTES
        .map(|offset| (offset, &b"SKUL\xba\xbe"[..], Content::Luks2SecondaryOnly));
    for (offset_bytes, magic, content) in start.into_iter().chain(secondary) {
        if holds(storage, offset_bytes, magic)? {
            return Ok(content);
        }
    }
    Ok(Content::Unknown)
}

fn holds(storage: &dyn ReadAt, offset_bytes: u64, magic: &[u8]) -> Result<bool> {
    if offset_bytes + magic.len() as u64 > storage.len_bytes() {
        return Ok(false);
    }
    Ok(storage.read_vec(offset_bytes, magic.len())? == magic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{MemoryStorage, WriteAt};

    fn content(offset_bytes: u64, magic: &[u8], len_bytes: usize) -> Content {
        let storage = MemoryStorage::new(vec![0; len_bytes]);
        storage.write_all_at(magic, offset_bytes).unwrap();
        probe(&storage).unwrap()
    }

    #[test]
    fn a_magic_number_is_found_at_the_very_end_and_not_missed_one_byte_short() {
        assert_eq!(content(0x1_0040, b"_BHRfS_M", 0x1_0048), Content::Btrfs);
        assert_eq!(content(0x1_0040, b"_BHRfS_", 0x1_0047), Content::Unknown);
        assert_eq!(content(0, b"", 0), Content::Unknown);
    }

    #[test]
    fn a_luks_header_of_a_version_to_come_is_not_taken_for_one_of_today() {
        assert_eq!(content(0, b"LUKS\xba\xbe\x00\x01", 512), Content::Luks1);
        assert_eq!(content(0, b"LUKS\xba\xbe\x00\x02", 512), Content::Luks2);
        assert_eq!(content(0, b"LUKS\xba\xbe\x00\x03", 512), Content::Unknown);
    }

    #[test]
    fn a_lost_primary_header_is_noticed_by_the_secondary_at_each_place() {
        for offset in SECONDARY_OFFSETS_BYTES {
            let found = content(offset, b"SKUL\xba\xbe", 0x41_0000);
            assert_eq!(found, Content::Luks2SecondaryOnly);
        }
    }

    #[test]
    fn a_filesystem_wins_over_a_leftover_secondary_header() {
        let storage = MemoryStorage::new(vec![0; 0x10000]);
        storage.write_all_at(b"SKUL\xba\xbe", 0x4000).unwrap();
        storage.write_all_at(b"\x53\xef", 0x438).unwrap();
        assert_eq!(probe(&storage).unwrap(), Content::Ext);
    }

    #[test]
    fn fat_lvm_and_erofs_are_named() {
        assert_eq!(content(0x52, b"FAT32   ", 512), Content::Fat);
        assert_eq!(content(0x36, b"FAT12   ", 512), Content::Fat);
        assert_eq!(content(0x218, b"LVM2 001", 1024), Content::Lvm);
        assert_eq!(content(0x400, b"\xe2\xe1\xf5\xe0", 2048), Content::Erofs);
        assert_eq!(content(0, b"XFSB", 2048), Content::Xfs);
        assert_eq!(content(0, b"hsqs", 2048), Content::Squashfs);
    }
}
