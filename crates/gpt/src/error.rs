//! What can be wrong with a partition table, and what was merely noticed.

use std::fmt;

use uuid::Uuid;

use base::storage;

/// Which of the two copies of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyName {
    /// The copy behind the protective MBR.
    Primary,
    /// The copy at the end of the disk.
    Backup,
}

impl fmt::Display for CopyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
        })
    }
}

/// Why a copy of a table cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The eight bytes `EFI PART` are not there.
    #[error("no header at LBA {lba}")]
    NoSignature {
        /// Where it was looked for.
        lba: u64,
    },
    /// A revision other than 1.0.
    #[error("header revision {revision:#010x} is not 0x00010000")]
    Revision {
        /// As stored, at offset 8.
        revision: u32,
    },
    /// A header smaller than its fields or larger than a sector.
    #[error("header size {header_bytes} is not between 92 and {sector_bytes}")]
    HeaderSize {
        /// As stored, at offset 12.
        header_bytes: u32,
        /// The disk's sector size.
        sector_bytes: u64,
    },
    /// The header's checksum does not match.
    #[error("header checksum {stored:#010x} should be {computed:#010x}")]
    HeaderChecksum {
        /// As stored, at offset 16.
        stored: u32,
        /// CRC-32 of the header with that field as zero.
        computed: u32,
    },
    /// The header says that it lies elsewhere.
    #[error("the header at LBA {lba} says that it lies at LBA {stated_lba}")]
    MisplacedHeader {
        /// Where it was read.
        lba: u64,
        /// As stored, at offset 24.
        stated_lba: u64,
    },
    /// An entry size that is not 128 x 2^n.
    #[error("entry size {entry_bytes} is not 128, 256, 512 and so on")]
    EntrySize {
        /// As stored, at offset 84.
        entry_bytes: u32,
    },
    /// No entries, or more than are read.
    #[error("{count} entries of {entry_bytes} bytes are none, or more than 1 MiB")]
    EntryCount {
        /// As stored, at offset 80.
        count: u32,
        /// As stored, at offset 84.
        entry_bytes: u32,
    },
    /// First usable LBA behind the last one, or behind the disk.
    #[error("usable range {first_lba}-{last_lba} does not lie on the disk")]
    UsableRange {
        /// First usable LBA.
        first_lba: u64,
        /// Last usable LBA.
        last_lba: u64,
    },
    /// The header lies where partitions may lie.
    #[error("the header at LBA {lba} lies in the usable range {first_lba}-{last_lba}")]
    HeaderInUsableRange {
        /// The header.
        lba: u64,
        /// First usable LBA.
        first_lba: u64,
        /// Last usable LBA.
        last_lba: u64,
    },
    /// The array of entries lies over a header, over the usable range or behind the disk.
    #[error("the entries at LBA {first_lba}-{last_lba} lie over something else or behind the disk")]
    EntriesPlace {
        /// First sector of the array.
        first_lba: u64,
        /// Last sector of the array.
        last_lba: u64,
    },
    /// The checksum of the entries does not match.
    #[error("checksum of the entries {stored:#010x} should be {computed:#010x}")]
    EntriesChecksum {
        /// As stored in the header, at offset 88.
        stored: u32,
        /// CRC-32 of the entries.
        computed: u32,
    },
}

/// In what two valid copies differ first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// A field of the headers (disk GUID, usable range, entries) or the addresses of each other.
    Header,
    /// The entry of this partition, counted from 1.
    Entry(u32),
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => formatter.write_str("their headers"),
            Self::Entry(number) => write!(formatter, "partition {number}"),
        }
    }
}

/// Something that was put right or passed over, and that a user should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// One copy cannot be used; writing the table replaces it.
    #[error("the {copy} partition table is damaged ({flaw}), the other copy is used")]
    DamagedCopy {
        /// The damaged one.
        copy: CopyName,
        /// Why it cannot be used.
        flaw: Flaw,
    },
    /// Both copies are valid and do not say the same; writing the table makes them equal.
    #[error("the two partition tables differ in {difference}, the primary one is used")]
    CopiesDiffer {
        /// The first difference.
        difference: Difference,
    },
    /// The backup is not in the last sector: the image was enlarged, or has something behind it.
    #[error(
        "the backup partition table is at LBA {backup_lba}, not at the disk's last LBA {last_lba}"
    )]
    BackupNotAtEnd {
        /// Where the backup header is.
        backup_lba: u64,
        /// The last sector of the disk.
        last_lba: u64,
    },
    /// The disk's length is not a whole number of sectors; what is over belongs to no sector.
    #[error(
        "the last {rest_bytes} bytes of the disk are less than a sector of {sector_bytes} bytes"
    )]
    PartialSector {
        /// What is over.
        rest_bytes: u64,
        /// The disk's sector size.
        sector_bytes: u64,
    },
    /// Two partitions cannot be told apart by what shall be unique (UEFI 2.10, table 5-7).
    #[error(
        "partitions {first} and {second} have the same unique GUID {guid}: who looks for one by it may find the other"
    )]
    SameUniqueGuid {
        /// Number of the first one.
        first: u32,
        /// Number of the next one that has it.
        second: u32,
        /// The GUID.
        guid: Uuid,
    },
}

/// Why a partition table cannot be read, or not be changed as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk could not be read or written.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// Neither copy is there, with sectors of 512 or 4096 bytes.
    #[error("there is no GUID partition table, with sectors of 512 or of 4096 bytes")]
    NoTable,
    /// The disk has partitions, but in the older kind of table.
    #[error("the disk has an MBR partition table, and no GUID partition table")]
    OnlyMbr,
    /// Neither copy can be used.
    #[error("both partition tables are damaged; the primary: {primary}; the backup: {backup}")]
    BothDamaged {
        /// What is wrong with the primary.
        primary: Flaw,
        /// What is wrong with the backup.
        backup: Flaw,
    },
    /// Valid tables for both sector sizes: no telling which one a guest will see.
    #[error("there are two partition tables, one for sectors of 512 bytes and one for 4096 bytes")]
    TwoSectorSizes,
    /// The table describes a disk that goes on behind the end of this one.
    #[error(
        "the disk is truncated: its partition table describes {table_sectors} sectors of \
         {sector_bytes} bytes, {disk_sectors} are there"
    )]
    Truncated {
        /// Sectors up to the backup header.
        table_sectors: u64,
        /// Sectors that there are.
        disk_sectors: u64,
        /// The disk's sector size.
        sector_bytes: u64,
    },
    /// LBA 0 has no entry of type 0xEE that starts at LBA 1: firmware and kernel would pass the table over.
    #[error("LBA 0 holds no protective MBR (an entry of type 0xEE that starts at LBA 1)")]
    NoProtectiveMbr,
    /// LBA 0 names further partitions, whose places a change would have to follow.
    #[error("the disk has a hybrid MBR: its partitions cannot be moved or resized")]
    HybridMbr,
    /// A partition ends before it starts.
    #[error("partition {number} ends at LBA {last_lba}, before its start at LBA {first_lba}")]
    Backwards {
        /// The partition.
        number: u32,
        /// Its first LBA.
        first_lba: u64,
        /// Its last LBA.
        last_lba: u64,
    },
    /// A partition leaves the usable range.
    #[error(
        "partition {number} ({first_lba}-{last_lba}) leaves the usable range \
         {first_usable_lba}-{last_usable_lba}"
    )]
    OutsideUsable {
        /// The partition.
        number: u32,
        /// Its first LBA.
        first_lba: u64,
        /// Its last LBA.
        last_lba: u64,
        /// The table's first usable LBA.
        first_usable_lba: u64,
        /// The table's last usable LBA.
        last_usable_lba: u64,
    },
    /// Two partitions share sectors.
    #[error(
        "partition {number} ({first_lba}-{last_lba}) overlaps partition {other} \
         ({other_first_lba}-{other_last_lba})"
    )]
    Overlap {
        /// The one that starts first.
        number: u32,
        /// Its first LBA.
        first_lba: u64,
        /// Its last LBA.
        last_lba: u64,
        /// The one that starts inside it.
        other: u32,
        /// The other's first LBA.
        other_first_lba: u64,
        /// The other's last LBA.
        other_last_lba: u64,
    },
    /// No partition has this number.
    #[error("there is no partition {number}")]
    NoPartition {
        /// The number, from 1.
        number: u32,
    },
    /// A copy must be written anew, and the usable range leaves no room for it.
    #[error("there is no room for the {copy} partition table outside of the usable range")]
    NoRoom {
        /// The copy.
        copy: CopyName,
    },
    /// A disk of so few sectors cannot hold both copies.
    #[error("a disk of {sectors} sectors is too small for its partition table")]
    DiskTooSmall {
        /// Sectors asked for.
        sectors: u64,
    },
    /// The table was planned for a disk of another length.
    #[error("the partition table is for {table_bytes} bytes, the disk has {disk_bytes}")]
    OtherLength {
        /// Length that the table was read or resized for.
        table_bytes: u64,
        /// Length of the disk.
        disk_bytes: u64,
    },
}
