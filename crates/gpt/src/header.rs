//! The header of a copy: one sector.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 8 | signature `EFI PART` |
//! | 8 | 4 | revision, 0x00010000 |
//! | 12 | 4 | header size, 92 at least |
//! | 16 | 4 | CRC-32 of header-size bytes, with this field as zero |
//! | 20 | 4 | reserved |
//! | 24 | 8 | the LBA of this header |
//! | 32 | 8 | the LBA of the other header |
//! | 40 | 8 | first usable LBA |
//! | 48 | 8 | last usable LBA, inclusive |
//! | 56 | 16 | disk GUID |
//! | 72 | 8 | first LBA of the entries |
//! | 80 | 4 | number of entries |
//! | 84 | 4 | size of an entry, 128 x 2^n |
//! | 88 | 4 | CRC-32 of all entries |
//!
//! UEFI 2.10, table 5.5; little-endian. The rest of the sector is kept as it is.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use uuid::Uuid;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Flaw, MAX_ENTRIES_BYTES};

/// `EFI PART`.
pub(super) const SIGNATURE: [u8; 8] = *b"EFI PART";

const REVISION: u32 = 0x0001_0000;

/// Size of the fields that have a meaning, in bytes.
const FIELDS_BYTES: u32 = 92;

#[derive(Debug, Clone, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderFields {
    signature: [u8; 8],
    revision: U32,
    header_bytes: U32,
    checksum: U32,
    reserved: U32,
    my_lba: U64,
    alternate_lba: U64,
    first_usable_lba: U64,
    last_usable_lba: U64,
    disk_guid: [u8; 16],
    entries_lba: U64,
    entry_count: U32,
    entry_bytes: U32,
    entries_checksum: U32,
}

/// A header as found: it has the signature and a whole sector, and nothing else was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawHeader {
    fields: HeaderFields,
    rest: Vec<u8>,
}

/// A header whose checksum, place and limits are right; its entries may still be damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header(RawHeader);

/// Inclusive ranges of sectors: do they share one?
pub(super) fn overlap(first: (u64, u64), second: (u64, u64)) -> bool {
    first.0 <= second.1 && second.0 <= first.1
}

impl RawHeader {
    /// Takes a sector apart; `None` without the signature.
    pub(super) fn parse(sector: &[u8]) -> Option<Self> {
        let (fields, rest) = HeaderFields::read_from_prefix(sector).ok()?;
        (fields.signature == SIGNATURE).then(|| Self {
            fields,
            rest: rest.to_vec(),
        })
    }

    /// The LBA at which the header says that it lies.
    pub(super) fn my_lba(&self) -> u64 {
        self.fields.my_lba.get()
    }

    /// The LBA at which the header says that the other one lies.
    pub(super) fn alternate_lba(&self) -> u64 {
        self.fields.alternate_lba.get()
    }

    /// True where the header's checksum is right.
    pub(super) fn is_intact(&self) -> bool {
        self.computed_checksum() == Some(self.fields.checksum.get())
    }

    fn sector(&self) -> Vec<u8> {
        [self.fields.as_bytes(), &self.rest].concat()
    }

    /// CRC-32 over as many bytes as the header says, `None` where that is too few or too many.
    fn computed_checksum(&self) -> Option<u32> {
        let mut zeroed = self.clone();
        zeroed.fields.checksum = 0.into();
        let header_bytes = self.fields.header_bytes.get();
        let sector = zeroed.sector();
        let covered = sector.get(..usize::try_from(header_bytes).ok()?)?;
        (header_bytes >= FIELDS_BYTES).then(|| crc32fast::hash(covered))
    }

    /// Checks all that a header alone can show: it was read at `lba` of a disk of `disk_sectors` sectors.
    pub(super) fn check(
        self,
        lba: u64,
        disk_sectors: u64,
        sector_bytes: u64,
    ) -> Result<Header, Flaw> {
        let fields = &self.fields;
        let revision = fields.revision.get();
        if revision != REVISION {
            return Err(Flaw::Revision { revision });
        }
        let computed = self.computed_checksum().ok_or(Flaw::HeaderSize {
            header_bytes: fields.header_bytes.get(),
            sector_bytes,
        })?;
        let stored = fields.checksum.get();
        if stored != computed {
            return Err(Flaw::HeaderChecksum { stored, computed });
        }
        if self.my_lba() != lba {
            let stated_lba = self.my_lba();
            return Err(Flaw::MisplacedHeader { lba, stated_lba });
        }
        let (count, entry_bytes) = (fields.entry_count.get(), fields.entry_bytes.get());
        if !entry_bytes.is_power_of_two() || entry_bytes < 128 {
            return Err(Flaw::EntrySize { entry_bytes });
        }
        let header = Header(self);
        if count == 0 || header.entries_len_bytes() > MAX_ENTRIES_BYTES {
            return Err(Flaw::EntryCount { count, entry_bytes });
        }
        let (first_lba, last_lba) = header.usable();
        // Where the disk ends is not looked at here: a disk that is too short is an error of its own.
        if first_lba < 2 || first_lba > last_lba || last_lba == u64::MAX {
            return Err(Flaw::UsableRange {
                first_lba,
                last_lba,
            });
        }
        if overlap((lba, lba), (first_lba, last_lba)) {
            return Err(Flaw::HeaderInUsableRange {
                lba,
                first_lba,
                last_lba,
            });
        }
        header.check_entries_place(disk_sectors, sector_bytes)?;
        Ok(header)
    }
}

impl Header {
    /// The LBA of this header.
    pub(super) fn my_lba(&self) -> u64 {
        self.0.my_lba()
    }

    /// The LBA of the other header.
    pub(super) fn alternate_lba(&self) -> u64 {
        self.0.alternate_lba()
    }

    /// First and last usable LBA, both inclusive.
    pub(super) fn usable(&self) -> (u64, u64) {
        let fields = &self.0.fields;
        (fields.first_usable_lba.get(), fields.last_usable_lba.get())
    }

    /// The disk's GUID.
    pub(super) fn disk_guid(&self) -> Uuid {
        Uuid::from_bytes_le(self.0.fields.disk_guid)
    }

    /// Size of an entry in bytes: 128 x 2^n, 1 MiB at most.
    pub(super) fn entry_bytes(&self) -> u32 {
        self.0.fields.entry_bytes.get()
    }

    /// First LBA of the entries.
    pub(super) fn entries_lba(&self) -> u64 {
        self.0.fields.entries_lba.get()
    }

    /// Length of all entries in bytes; at most 1 MiB once the header is checked.
    pub(super) fn entries_len_bytes(&self) -> u64 {
        let fields = &self.0.fields;
        u64::from(fields.entry_count.get()).saturating_mul(u64::from(fields.entry_bytes.get()))
    }

    /// Sectors that the entries take.
    pub(super) fn entries_sectors(&self, sector_bytes: u64) -> u64 {
        self.entries_len_bytes().div_ceil(sector_bytes)
    }

    /// First and last LBA of the entries, both inclusive.
    pub(super) fn entries_range(&self, sector_bytes: u64) -> (u64, u64) {
        let first_lba = self.entries_lba();
        let behind = first_lba.saturating_add(self.entries_sectors(sector_bytes));
        (first_lba, behind.saturating_sub(1))
    }

    /// CRC-32 that the entries shall have.
    pub(super) fn entries_checksum(&self) -> u32 {
        self.0.fields.entries_checksum.get()
    }

    /// Checks that the entries lie on the disk, and over neither header nor what partitions may use.
    pub(super) fn check_entries_place(
        &self,
        disk_sectors: u64,
        sector_bytes: u64,
    ) -> Result<(), Flaw> {
        let entries @ (first_lba, last_lba) = self.entries_range(sector_bytes);
        let (my_lba, alternate_lba) = (self.my_lba(), self.alternate_lba());
        let taken = [
            (0, 1),
            (my_lba, my_lba),
            (alternate_lba, alternate_lba),
            self.usable(),
        ];
        if last_lba >= disk_sectors || taken.iter().any(|range| overlap(entries, *range)) {
            return Err(Flaw::EntriesPlace {
                first_lba,
                last_lba,
            });
        }
        Ok(())
    }

    /// True where both headers say the same of the disk and name each other.
    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        let shared = |header: &Self| {
            let fields = &header.0.fields;
            (
                fields.first_usable_lba,
                fields.last_usable_lba,
                fields.disk_guid,
                fields.entry_count,
                fields.entry_bytes,
                fields.entries_checksum,
            )
        };
        shared(self) == shared(other)
            && self.my_lba() == other.alternate_lba()
            && other.my_lba() == self.alternate_lba()
    }

    /// The other copy's header, made from this one.
    pub(super) fn counterpart(&self, entries_lba: u64) -> Self {
        let mut other = self.clone();
        other.set_places(self.alternate_lba(), self.my_lba(), entries_lba);
        other
    }

    /// Where this header, the other one and the entries of this one lie.
    pub(super) fn set_places(&mut self, my_lba: u64, alternate_lba: u64, entries_lba: u64) {
        self.0.fields.my_lba = my_lba.into();
        self.0.fields.alternate_lba = alternate_lba.into();
        self.0.fields.entries_lba = entries_lba.into();
    }

    /// The end of what partitions may use.
    pub(super) fn set_last_usable_lba(&mut self, last_lba: u64) {
        self.0.fields.last_usable_lba = last_lba.into();
    }

    /// The header's sector for these entries, with both checksums.
    pub(super) fn to_sector(&self, entries: &[u8]) -> Vec<u8> {
        let mut raw = self.0.clone();
        raw.fields.entries_checksum = crc32fast::hash(entries).into();
        // The size was checked, so that there is a checksum; it stays as it is otherwise.
        let checksum = raw.computed_checksum();
        raw.fields.checksum = checksum.map_or(raw.fields.checksum, U32::new);
        raw.sector()
    }
}
