//! A record of an edk2 variable store: one variable, or what is left of one.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 2 | 0x55AA; anything else ends the list |
//! | 2 | 1 | state: bits are cleared one by one as the record lives |
//! | 4 | 4 | attributes |
//! | 8 | 8 | monotonic count |
//! | 16 | 16 | time of the last authenticated write |
//! | 32 | 4 | index of a public key |
//! | 36 | 4 | bytes of the name, its final NUL included |
//! | 40 | 4 | bytes of the data |
//! | 44 | 16 | vendor GUID |
//! | 60 | … | name in UTF-16, directly behind it the data; then up to the next multiple of 4 |
//!
//! edk2 `MdeModulePkg/Include/Guid/VariableFormat.h`, `AUTHENTICATED_VARIABLE_HEADER`; little-endian. Records
//! that do not lie within their store, and live ones whose name cannot be read, are refused.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use base::number::to_usize;
use uuid::Uuid;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const START: u16 = 0x55aa;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// 0x3f: written whole.
    Added,
    /// 0x3e: written whole, and a newer copy is being written. It counts until that is there.
    InDeleteTransition,
    /// Deleted, replaced, or never written to the end.
    Dead(u8),
}

impl State {
    fn new(byte: u8) -> Self {
        match byte {
            0x3f => Self::Added,
            0x3e => Self::InDeleteTransition,
            dead => Self::Dead(dead),
        }
    }
}

/// A record of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it begins in the file.
    pub offset_bytes: u64,
    /// What became of it.
    pub state: State,
    /// Attributes of the variable (UEFI 2.10, section 8.2.1).
    pub attributes: u32,
    /// Namespace of the name.
    pub vendor: Uuid,
    /// The name in UTF-16, without its NUL; empty in a dead record that was never written to the end.
    pub name: Vec<u16>,
    /// The variable's content.
    pub data: Vec<u8>,
}

impl Record {
    /// True where the record was neither deleted nor replaced.
    pub fn is_live(&self) -> bool {
        !matches!(self.state, State::Dead(_))
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name.iter().copied().eq(name.encode_utf16())
    }

    /// The name for people.
    pub fn display_name(&self) -> String {
        String::from_utf16_lossy(&self.name)
            .escape_debug()
            .collect()
    }
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Its header does not lie within the store.
    #[error("has a header of 60 bytes, which reaches behind the end of the store")]
    Header,
    /// Its name and data do not lie within the store.
    #[error(
        "claims {name_bytes} bytes of name and {data_bytes} of data, which reach behind the end of the store"
    )]
    Length {
        /// The name's field.
        name_bytes: u32,
        /// The data's field.
        data_bytes: u32,
    },
    /// The name of a live record is no UTF-16 that ends in a NUL.
    #[error("has a name of {name_bytes} bytes that is no UTF-16 text with a final NUL")]
    Name {
        /// The name's field.
        name_bytes: u32,
    },
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    start: U16,
    state: u8,
    reserved: u8,
    attributes: U32,
    monotonic_count: U64,
    time: [u8; 16],
    key_index: U32,
    name_bytes: U32,
    data_bytes: U32,
    vendor: [u8; 16],
}

impl Header {
    /// True where power failed while the header was written: a field is still erased. Firmware takes such a
    /// record for one without name and data, whatever the lengths say.
    fn is_unwritten(&self) -> bool {
        let erased = [self.attributes, self.name_bytes, self.data_bytes];
        self.state == 0xff || erased.contains(&u32::MAX.into())
    }
}

/// The records of a store from `first` on; `store_offset` is where the store begins in the file. A failure
/// tells where in the file the record begins.
pub(super) fn parse(
    store: &[u8],
    first: usize,
    store_offset: u64,
) -> Result<Vec<Record>, (u64, RecordError)> {
    let mut records = Vec::new();
    let mut at = first;
    while let Some(rest) = store.get(at..) {
        let offset_bytes = store_offset.saturating_add(at as u64);
        if rest.first_chunk().copied().map(u16::from_le_bytes) != Some(START) {
            break;
        }
        let (record, len) = parse_one(rest, offset_bytes).map_err(|error| (offset_bytes, error))?;
        records.push(record);
        // Records are aligned in the file, which is where flash is mapped from.
        let end = offset_bytes.saturating_add(len as u64);
        let padding = end.next_multiple_of(4).saturating_sub(end);
        let padding = to_usize(padding); // 3 at most
        at = at.saturating_add(len).saturating_add(padding);
    }
    Ok(records)
}

/// The record at the start of `rest`, and its length without padding.
fn parse_one(rest: &[u8], offset_bytes: u64) -> Result<(Record, usize), RecordError> {
    let Ok((header, body)) = Header::ref_from_prefix(rest) else {
        return Err(RecordError::Header);
    };
    let state = State::new(header.state);
    let is_dead = matches!(state, State::Dead(_));
    let (name_bytes, data_bytes) = if is_dead && header.is_unwritten() {
        (0, 0)
    } else {
        (header.name_bytes.get(), header.data_bytes.get())
    };
    let size = |field: u32| to_usize(field.into());
    let outside = RecordError::Length {
        name_bytes,
        data_bytes,
    };
    let (name, behind) = body.split_at_checked(size(name_bytes)).ok_or(outside)?;
    let data = behind.get(..size(data_bytes)).ok_or(outside)?;
    let name = match text(name) {
        Some(name) => name,
        None if is_dead => Vec::new(),
        None => return Err(RecordError::Name { name_bytes }),
    };
    let record = Record {
        offset_bytes,
        state,
        attributes: header.attributes.get(),
        vendor: Uuid::from_bytes_le(header.vendor),
        name,
        data: data.to_vec(),
    };
    let len = size_of::<Header>()
        .saturating_add(size(name_bytes))
        .saturating_add(data.len());
    Ok((record, len))
}

/// The units before the final NUL, which is the only one.
fn text(bytes: &[u8]) -> Option<Vec<u16>> {
    let units = bytes.chunks_exact(2);
    if !units.remainder().is_empty() {
        return None;
    }
    let units: Vec<u16> = units
        .filter_map(|unit| unit.first_chunk().copied().map(u16::from_le_bytes))
        .collect();
    let (last, name) = units.split_last()?;
    (*last == 0 && !name.contains(&0)).then(|| name.to_vec())
}

#[cfg(test)]
pub(super) mod made {
    use super::*;

    pub const NAME_BYTES_AT: usize = 36;
    pub const DATA_BYTES_AT: usize = 40;

    /// A record without padding.
    pub fn record(state: u8, name: &str, vendor: Uuid, data: &[u8]) -> Vec<u8> {
        let name: Vec<u8> = name
            .encode_utf16()
            .chain([0])
            .flat_map(u16::to_le_bytes)
            .collect();
        let header = Header {
            start: START.into(),
            state,
            reserved: 0,
            attributes: 0x27.into(),
            monotonic_count: 0.into(),
            time: [0; 16],
            key_index: 0.into(),
            name_bytes: u32::try_from(name.len()).unwrap().into(),
            data_bytes: u32::try_from(data.len()).unwrap().into(),
            vendor: vendor.to_bytes_le(),
        };
        [header.as_bytes(), &name, data].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::made::{DATA_BYTES_AT, NAME_BYTES_AT, record};
    use super::*;

    fn pk(state: u8) -> Vec<u8> {
        record(state, "PK", Uuid::nil(), b"data")
    }

    fn message(record: &[u8]) -> String {
        let (offset, error) = parse(record, 0, 0x48).unwrap_err();
        assert_eq!(offset, 0x48);
        error.to_string()
    }

    fn with_field(mut record: Vec<u8>, at: usize, value: u32) -> Vec<u8> {
        record[at..at + 4].copy_from_slice(&value.to_le_bytes());
        record
    }

    #[test]
    fn records_follow_at_multiples_of_four() {
        for len in 0..5 {
            let mut store = record(0x3f, "A", Uuid::nil(), &vec![1; len]);
            while !store.len().is_multiple_of(4) {
                store.push(0xff);
            }
            store.extend(pk(0x3f));
            let records = parse(&store, 0, 0x48).unwrap();
            let names: Vec<_> = records.iter().map(Record::display_name).collect();
            assert_eq!(names, ["A", "PK"], "{len}");
        }
    }

    #[test]
    fn anything_else_than_the_start_ends_the_list() {
        assert_eq!(parse(&[0xff; 64], 0, 0).unwrap(), []);
        assert_eq!(parse(&[0xaa], 0, 0).unwrap(), []);
        assert_eq!(parse(&[], 28, 0).unwrap(), []);
        assert_eq!(
            parse(&pk(0x3f), 0, 0).unwrap().len(),
            1,
            "right up to the end"
        );
    }

    #[test]
    fn what_reaches_behind_the_end_is_refused() {
        let whole = pk(0x3f);
        assert_eq!(
            message(&whole[..59]),
            "has a header of 60 bytes, which reaches behind the end of the store"
        );
        assert_eq!(
            message(&whole[..whole.len() - 1]),
            "claims 6 bytes of name and 4 of data, which reach behind the end of the store"
        );
        for (at, value) in [
            (NAME_BYTES_AT, u32::MAX),
            (DATA_BYTES_AT, u32::MAX),
            (DATA_BYTES_AT, 5),
        ] {
            assert!(
                message(&with_field(pk(0x3f), at, value)).ends_with("behind the end of the store")
            );
        }
        assert!(
            parse(&with_field(pk(0x3d), DATA_BYTES_AT, 5), 0, 0).is_err(),
            "dead ones too"
        );
    }

    #[test]
    fn a_header_that_was_not_written_to_its_end_takes_its_own_room_only() {
        for (at, state) in [
            (4, 0x7f),
            (NAME_BYTES_AT, 0x7f),
            (DATA_BYTES_AT, 0x7f),
            (8, 0xff),
        ] {
            let mut store = with_field(pk(state), at, u32::MAX)[..60].to_vec();
            store.extend(pk(0x3f));
            let records = parse(&store, 0, 0).unwrap();
            assert_eq!(records.len(), 2, "{at}");
            assert!(!records[0].is_live() && records[1].is_named("PK"));
        }
    }

    #[test]
    fn a_live_record_has_a_readable_name() {
        let bad = "that is no UTF-16 text with a final NUL";
        for (name_bytes, data_bytes) in [(0, 4), (5, 4), (4, 4)] {
            let record = with_field(pk(0x3f), NAME_BYTES_AT, name_bytes);
            let record = with_field(record, DATA_BYTES_AT, data_bytes);
            assert_eq!(
                message(&record),
                format!("has a name of {name_bytes} bytes {bad}")
            );
        }
        let mut nul_inside = pk(0x3f);
        nul_inside[60] = 0;
        assert_eq!(message(&nul_inside), format!("has a name of 6 bytes {bad}"));
        let dead = with_field(pk(0x3d), NAME_BYTES_AT, 5);
        assert!(parse(&dead, 0, 0).unwrap()[0].name.is_empty());
    }
}
