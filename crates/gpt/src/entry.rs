//! One entry of the array: a partition, or nothing.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 16 | type GUID; zero: the entry is unused |
//! | 16 | 16 | unique GUID |
//! | 32 | 8 | first LBA |
//! | 40 | 8 | last LBA, inclusive |
//! | 48 | 8 | attributes |
//! | 56 | 72 | name, 36 units of UTF-16, ended by a zero unit where it is shorter |
//!
//! UEFI 2.10, table 5.6. Entries may have 256, 512, ... bytes; those behind the 128 are kept as they are.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use uuid::Uuid;
use zerocopy::byteorder::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The 128 bytes of an entry that have a meaning.
#[derive(Debug, Clone, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EntryFields {
    type_guid: [u8; 16],
    unique_guid: [u8; 16],
    first_lba: U64,
    last_lba: U64,
    attributes: U64,
    name: [U16; 36],
}

/// One entry, used or not, with all of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    fields: EntryFields,
    rest: Vec<u8>,
}

/// A partition as the table describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The number of its entry, counted from 1, as in `/dev/sda1`.
    pub number: u32,
    /// What it is for; [`super::types`] has names.
    pub type_guid: Uuid,
    /// Its own GUID (`PARTUUID`).
    pub unique_guid: Uuid,
    /// First sector.
    pub first_lba: u64,
    /// Last sector, inclusive.
    pub last_lba: u64,
    /// Attribute bits: 0 required by the platform, 2 bootable by a legacy BIOS, 48 to 63 by type.
    pub attributes: u64,
    /// Name; what is no valid UTF-16 shows as U+FFFD here, and stays as it is in the table.
    pub name: String,
}

impl Partition {
    /// Length in sectors.
    pub fn sectors(&self) -> u64 {
        // A partition that was read or set ends at or behind its start and inside of the usable range.
        self.last_lba
            .saturating_sub(self.first_lba)
            .saturating_add(1)
    }
}

impl Entry {
    /// Takes an entry apart; `None` where there are fewer than 128 bytes.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (fields, rest) = EntryFields::read_from_prefix(bytes).ok()?;
        Some(Self {
            fields,
            rest: rest.to_vec(),
        })
    }

    /// The bytes of the entry, fields and rest, appended to `array`.
    pub(super) fn append_to(&self, array: &mut Vec<u8>) {
        array.extend_from_slice(self.fields.as_bytes());
        array.extend_from_slice(&self.rest);
    }

    /// The partition, if the entry is used; `number` counts from 1.
    pub(super) fn partition(&self, number: u32) -> Option<Partition> {
        let fields = &self.fields;
        (fields.type_guid != [0; 16]).then(|| Partition {
            number,
            type_guid: Uuid::from_bytes_le(fields.type_guid),
            unique_guid: Uuid::from_bytes_le(fields.unique_guid),
            first_lba: fields.first_lba.get(),
            last_lba: fields.last_lba.get(),
            attributes: fields.attributes.get(),
            name: name(&fields.name),
        })
    }

    /// Moves the end of the partition; `last_lba` is inclusive.
    pub(super) fn set_last_lba(&mut self, last_lba: u64) {
        self.fields.last_lba = last_lba.into();
    }
}

fn name(units: &[U16]) -> String {
    let units = units.iter().map(|unit| unit.get());
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u16], rest: usize) -> Vec<u8> {
        let mut bytes = vec![0x11; 56];
        for index in 0..36 {
            let unit = name.get(index).copied().unwrap_or(0);
            bytes.extend_from_slice(&unit.to_le_bytes());
        }
        bytes.extend(std::iter::repeat_n(0xab, rest));
        bytes
    }

    #[test]
    fn a_lone_surrogate_shows_as_a_replacement_and_keeps_its_bytes() {
        let bytes = entry(&[0x72, 0xd800, 0x74], 128);
        let parsed = Entry::parse(&bytes).unwrap();
        assert_eq!(parsed.partition(1).unwrap().name, "r\u{fffd}t");
        let mut written = Vec::new();
        parsed.append_to(&mut written);
        assert_eq!(written, bytes);
    }

    #[test]
    fn a_name_of_36_units_needs_no_zero_at_its_end() {
        let parsed = Entry::parse(&entry(&[0x61; 36], 0)).unwrap();
        assert_eq!(parsed.partition(1).unwrap().name, "a".repeat(36));
    }

    #[test]
    fn an_entry_without_a_type_is_no_partition_and_a_short_one_no_entry() {
        assert_eq!(Entry::parse(&[0; 128]).unwrap().partition(1), None);
        assert_eq!(Entry::parse(&[0; 127]), None);
    }
}
