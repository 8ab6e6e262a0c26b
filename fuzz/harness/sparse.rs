//! Storages from small inputs: what an input does not name is zeros, or the bytes of a base.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 1 | options, which each target reads in its own way |
//! | 1 | 8 | length of the storage in bytes |
//! | 9 | | pieces until the end: offset in 4 bytes, length in 2, the bytes |
//!
//! Integers are little-endian. Any bytes are a storage: an offset behind the end is taken modulo the length, a piece is
//! cut where the input or the storage ends. `make.py` beside the seeds writes this form.

use std::ops::Range;

use base::storage::{Overlay, ReadAt, Result, WriteAt};

/// A storage that holds zeros and takes no memory, whatever its length.
pub struct Zeros(pub u64);

impl ReadAt for Zeros {
    fn len_bytes(&self) -> u64 {
        self.0
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        let end_bytes = offset_bytes.checked_add(buffer.len() as u64);
        if end_bytes.is_none_or(|end| end > self.0) {
            // The overlay above has checked the range.
            panic!("BUG: {} bytes at {offset_bytes}", buffer.len());
        }
        buffer.fill(0);
        Ok(())
    }

    fn next_data(&self, _: u64) -> Result<Option<Range<u64>>> {
        Ok(None)
    }
}

/// An input taken apart.
pub struct Input<'i> {
    /// The first byte.
    pub options: u8,
    /// The length that it claims, below 2^62.
    pub len_bytes: u64,
    pieces: &'i [u8],
}

impl<'i> Input<'i> {
    /// `None` where the input is too short for its first two fields.
    pub fn parse(input: &'i [u8]) -> Option<Self> {
        let (options, rest) = input.split_first()?;
        let (len_bytes, pieces) = rest.split_first_chunk()?;
        Some(Self {
            options: *options,
            len_bytes: u64::from_le_bytes(*len_bytes) & (u64::MAX >> 2),
            pieces,
        })
    }

    /// True where this bit of the options is set.
    pub fn option(&self, bit: u8) -> bool {
        self.options >> bit & 1 == 1
    }

    /// The storage: the pieces over zeros.
    pub fn storage(&self) -> Overlay<Zeros> {
        let storage = Overlay::new(Zeros(self.len_bytes));
        self.apply(&storage);
        storage
    }

    /// Writes the pieces to a storage.
    pub fn apply(&self, storage: &dyn WriteAt) {
        let len_bytes = storage.len_bytes();
        let mut rest = self.pieces;
        while let Some((head, behind)) = rest.split_first_chunk::<6>() {
            let [a, b, c, d, e, f] = *head;
            let length = usize::from(u16::from_le_bytes([e, f])).min(behind.len());
            let (bytes, behind) = behind.split_at(length);
            rest = behind;
            if len_bytes == 0 {
                continue;
            }
            let offset_bytes = u64::from(u32::from_le_bytes([a, b, c, d])) % len_bytes;
            let room = usize::try_from(len_bytes - offset_bytes).unwrap_or(usize::MAX);
            put(storage, offset_bytes, &bytes[..length.min(room)]);
        }
    }
}

/// The bytes there; `None` behind the end.
pub fn get(storage: &dyn ReadAt, offset_bytes: u64, len_bytes: usize) -> Option<Vec<u8>> {
    let end_bytes = offset_bytes.checked_add(len_bytes as u64)?;
    (end_bytes <= storage.len_bytes()).then(|| storage.read_vec(offset_bytes, len_bytes).unwrap())
}

/// Writes bytes that lie within the storage.
pub fn put(storage: &dyn WriteAt, offset_bytes: u64, bytes: &[u8]) {
    storage.write_all_at(bytes, offset_bytes).unwrap();
}

/// A copy of the storage's blocks with another length.
pub fn resized(storage: &Overlay<Zeros>, len_bytes: u64) -> Overlay<Zeros> {
    let copy = Overlay::new(Zeros(len_bytes));
    for range in storage.changed_ranges() {
        let end_bytes = range.end.min(len_bytes);
        if let Some(length) = end_bytes.checked_sub(range.start) {
            let length = usize::try_from(length).unwrap();
            put(
                &copy,
                range.start,
                &storage.read_vec(range.start, length).unwrap(),
            );
        }
    }
    copy
}

/// True where both hold the same bytes.
pub fn equal(one: &Overlay<Zeros>, other: &Overlay<Zeros>) -> bool {
    let all = |storage: &Overlay<Zeros>| storage.changed_ranges();
    one.len_bytes() == other.len_bytes()
        && all(one).into_iter().chain(all(other)).all(|range| {
            let length = usize::try_from(range.end - range.start).unwrap();
            one.read_vec(range.start, length).unwrap()
                == other.read_vec(range.start, length).unwrap()
        })
}
