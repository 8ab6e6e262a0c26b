//! What lies in a partition, by magic numbers: so that a refusal can name it, and so that nothing is taken for a LUKS2
//! container that may be something else.
//!
//! | offset | bytes | content |
//! | --- | --- | --- |
//! | 0 | `LUKS\xba\xbe`, version (16 bits, big-endian) | LUKS |
//! | 0 | `XFSB` | XFS |
//! | 0 | `hsqs` | squashfs |
//! | 0x438 | `53 ef` | ext2, ext3, ext4 |
//! | 0x400 | `e2 e1 f5 e0` | EROFS |
//! | 0x10040 | `_BHRfS_M` | btrfs |
//! | 0x52, 0x36 | `FAT32   `; `FAT16   `, `FAT12   ` | FAT, as its makers name it |
//! | 0x218 | `LVM2 001` | LVM, where the label lies in the second sector, its usual place |
//! | 0x4000 … 0x400000 | `SKUL\xba\xbe` | a copy of a LUKS2 header |
//!
//! A disk may have a past. What is written sparsely over it leaves old bytes in its holes, so a sound ext4 filesystem may
//! have an old secondary LUKS2 header in blocks that it does not use, or the first sectors of an old primary one in front
//! of its superblock, or those of an XFS or squashfs filesystem. The first is a filesystem ([`old_copies`] finds the leftover); the others are an
//! [`Ambiguity`].

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::cast_possible_truncation,
        clippy::print_stdout,
        clippy::print_stderr
    )
)]

use base::storage::{ReadAt, Result};

/// What a partition's magic numbers say. Nothing else about it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Content {
    /// A LUKS1 container.
    Luks1,
    /// A LUKS2 container.
    Luks2,
    /// A LUKS container of another version.
    LuksOther,
    /// The secondary header of a LUKS2 container whose primary one is gone.
    Luks2SecondaryOnly,
    /// Two things, of which one is left over.
    Ambiguous(Ambiguity),
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

impl Content {
    /// True where an encrypted container is there, or was, or may be.
    pub fn is_encrypted(self) -> bool {
        match self {
            Self::Luks1 | Self::Luks2 | Self::LuksOther | Self::Luks2SecondaryOnly => true,
            Self::Ambiguous(ambiguity) => ambiguity.one.content.is_encrypted(),
            Self::Ext
            | Self::Xfs
            | Self::Btrfs
            | Self::Squashfs
            | Self::Erofs
            | Self::Fat
            | Self::Lvm
            | Self::Unknown => false,
        }
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Luks1 => "a LUKS1 container",
            Self::Luks2 => "a LUKS2 container",
            Self::LuksOther => "a LUKS container of an unknown version",
            Self::Luks2SecondaryOnly => "a LUKS2 container whose primary header is lost",
            Self::Ambiguous(ambiguity) => return ambiguity.fmt(f),
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

/// The magic numbers of two things, of which one is left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ambiguity {
    one: &'static Signature,
    other: &'static Signature,
}

impl std::fmt::Display for Ambiguity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { one, other } = self;
        write!(
            f,
            "the magic numbers of {} at {:#x} and of {} at {:#x}",
            one.content, one.offset_bytes, other.content, other.offset_bytes
        )
    }
}

/// A magic number.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Signature {
    offset_bytes: u64,
    magic: &'static [u8],
    content: Content,
}

const fn signature(offset_bytes: u64, magic: &'static [u8], content: Content) -> Signature {
    Signature {
        offset_bytes,
        magic,
        content,
    }
}

/// Those at the very start, of which there is one at most.
static AT_START: [Signature; 5] = [
    signature(0, b"LUKS\xba\xbe\x00\x01", Content::Luks1),
    signature(0, b"LUKS\xba\xbe\x00\x02", Content::Luks2),
    signature(0, b"LUKS\xba\xbe", Content::LuksOther),
    signature(0, b"XFSB", Content::Xfs),
    signature(0, b"hsqs", Content::Squashfs),
];

/// All others. The first one that is there counts: places of later ones may be data of earlier ones.
static BEHIND: [Signature; 7] = [
    signature(0x438, b"\x53\xef", Content::Ext),
    signature(0x1_0040, b"_BHRfS_M", Content::Btrfs),
    signature(0x400, b"\xe2\xe1\xf5\xe0", Content::Erofs),
    signature(0x52, b"FAT32   ", Content::Fat),
    signature(0x36, b"FAT16   ", Content::Fat),
    signature(0x36, b"FAT12   ", Content::Fat),
    signature(0x218, b"LVM2 001", Content::Lvm),
];

/// The places of a LUKS2 secondary header: behind a primary one of each size that there is.
pub const SECONDARY_OFFSETS_BYTES: [u64; 9] = [
    0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000,
];

/// A partition that begins with the magic number of LUKS2, and has no other's: only such a one is read as a container.
#[derive(Clone, Copy)]
pub struct OnlyLuks2<'a>(&'a dyn ReadAt);

impl<'a> OnlyLuks2<'a> {
    /// The partition that `storage` is, where it is such a one.
    pub fn check(storage: &'a dyn ReadAt) -> Result<Option<Self>> {
        Ok((probe(storage)? == Content::Luks2).then_some(Self(storage)))
    }

    /// Its bytes.
    pub fn storage(self) -> &'a dyn ReadAt {
        self.0
    }
}

/// Looks at the magic numbers of the partition that `storage` is.
pub fn probe(storage: &dyn ReadAt) -> Result<Content> {
    let at_start = first(storage, &AT_START)?;
    let others = match at_start {
        // Of these only ext4 leaves the start alone; where the others have their magic number, it may be data.
        Some(filesystem) if !filesystem.content.is_encrypted() => &BEHIND[..1],
        _ => &BEHIND,
    };
    Ok(match (at_start, first(storage, others)?) {
        (Some(one), Some(other)) => Content::Ambiguous(Ambiguity { one, other }),
        (Some(only), None) | (None, Some(only)) => only.content,
        // Behind a filesystem it is a leftover.
        (None, None) if !old_copies(storage)?.is_empty() => Content::Luks2SecondaryOnly,
        (None, None) => Content::Unknown,
    })
}

/// Where something lies that a reader may take for the secondary header of a LUKS2 container, in ascending order. Where
/// the partition holds no container it is the leftover of an earlier one.
pub fn old_copies(storage: &dyn ReadAt) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    for offset_bytes in SECONDARY_OFFSETS_BYTES {
        if holds(storage, offset_bytes, b"SKUL\xba\xbe")? {
            found.push(offset_bytes);
        }
    }
    Ok(found)
}

fn first(
    storage: &dyn ReadAt,
    signatures: &'static [Signature],
) -> Result<Option<&'static Signature>> {
    for signature in signatures {
        if holds(storage, signature.offset_bytes, signature.magic)? {
            return Ok(Some(signature));
        }
    }
    Ok(None)
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
    use base::storage::{MemoryStorage, WriteAt};

    fn storage(magics: &[(u64, &[u8])], len_bytes: usize) -> MemoryStorage {
        let storage = MemoryStorage::new(vec![0; len_bytes]);
        for (offset_bytes, magic) in magics {
            storage.write_all_at(magic, *offset_bytes).unwrap();
        }
        storage
    }

    fn content(offset_bytes: u64, magic: &[u8], len_bytes: usize) -> Content {
        probe(&storage(&[(offset_bytes, magic)], len_bytes)).unwrap()
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
        assert_eq!(content(0, b"LUKS\xba\xbe\x00\x03", 512), Content::LuksOther);
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
        let storage = storage(&[(0x4000, b"SKUL\xba\xbe"), (0x438, b"\x53\xef")], 0x10000);
        assert_eq!(probe(&storage).unwrap(), Content::Ext);
        assert_eq!(old_copies(&storage).unwrap(), [0x4000]);
    }

    #[test]
    fn a_container_beside_anything_else_is_neither() {
        for luks in &AT_START[..3] {
            for other in &BEHIND {
                let both = [
                    (luks.offset_bytes, luks.magic),
                    (other.offset_bytes, other.magic),
                ];
                let storage = storage(&both, 0x2_0000);
                let content = probe(&storage).unwrap();
                let ambiguity = Ambiguity { one: luks, other };
                // A container's version may be any number.
                if luks.content != Content::LuksOther {
                    assert_eq!(content, Content::Ambiguous(ambiguity));
                }
                assert!(content.is_encrypted());
                assert!(OnlyLuks2::check(&storage).unwrap().is_none());
            }
        }
        let both: [(u64, &[u8]); 2] = [(0, b"LUKS\xba\xbe\x00\x02"), (0x438, b"\x53\xef")];
        assert_eq!(
            probe(&storage(&both, 4096)).unwrap().to_string(),
            "the magic numbers of a LUKS2 container at 0x0 and of an ext2, ext3 or ext4 filesystem at 0x438"
        );
    }

    #[test]
    fn two_filesystems_are_neither() {
        let ext: (u64, &[u8]) = (0x438, b"\x53\xef");
        let both = storage(&[(0, b"XFSB"), ext], 4096);
        let content = probe(&both).unwrap();
        assert_eq!(
            content.to_string(),
            "the magic numbers of an XFS filesystem at 0x0 and of an ext2, ext3 or ext4 filesystem at 0x438"
        );
        assert!(!content.is_encrypted());
        let data_of_xfs = storage(&[(0, b"XFSB"), (0x1_0040, b"_BHRfS_M")], 0x2_0000);
        assert_eq!(probe(&data_of_xfs).unwrap(), Content::Xfs);
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
