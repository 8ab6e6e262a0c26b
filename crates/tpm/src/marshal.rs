//! Reading and writing the TPM's wire form: big-endian numbers, and byte strings behind a 16-bit length.
//!
//! TPM 2.0 Library, part 2, section 4. Reading never goes beyond the end and never allocates.

use super::Error;
use base::cursor;
use base::number::fitting;

/// Reads structures from the start of some bytes on.
#[derive(Debug, Clone)]
pub struct Cursor<'a>(cursor::Cursor<'a>);

impl<'a> Cursor<'a> {
    /// Begins at the first of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(cursor::Cursor::new(bytes))
    }

    /// How many bytes were read.
    pub fn offset(&self) -> usize {
        self.0.offset()
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.0.left()
    }

    /// The next `len_bytes` bytes; `field` is named in the error.
    pub fn take(&mut self, len_bytes: usize, field: &'static str) -> Result<&'a [u8], Error> {
        let short = self.short(field);
        self.0.take(len_bytes).ok_or(short)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Error> {
        let short = self.short(field);
        self.0.array().ok_or(short)
    }

    fn short(&self, field: &'static str) -> Error {
        Error::Short {
            field,
            offset: self.offset(),
            len_bytes: self.0.bytes().len(),
        }
    }

    /// A number of 8 bits.
    pub fn byte(&mut self, field: &'static str) -> Result<u8, Error> {
        self.array(field).map(u8::from_be_bytes)
    }

    /// A number of 16 bits.
    pub fn word(&mut self, field: &'static str) -> Result<u16, Error> {
        self.array(field).map(u16::from_be_bytes)
    }

    /// A number of 32 bits.
    pub fn long(&mut self, field: &'static str) -> Result<u32, Error> {
        self.array(field).map(u32::from_be_bytes)
    }

    /// A number of 64 bits.
    pub fn quad(&mut self, field: &'static str) -> Result<u64, Error> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// A byte string behind its 16-bit length (a TPM2B).
    pub fn sized(&mut self, field: &'static str) -> Result<&'a [u8], Error> {
        let len_bytes = self.word(field)?;
        self.take(usize::from(len_bytes), field)
    }

    /// A 16-bit field of which only one value is understood.
    pub fn expect_word(
        &mut self,
        field: &'static str,
        wanted: u16,
        supported: &'static str,
    ) -> Result<(), Error> {
        let offset = self.offset();
        match self.word(field)? {
            found if found == wanted => Ok(()),
            found => Err(Error::Unsupported {
                field,
                offset,
                found: u32::from(found),
                supported,
            }),
        }
    }

    /// A byte string of at most `most` bytes behind its 16-bit length.
    pub fn sized_within(
        &mut self,
        field: &'static str,
        most: usize,
        allowed: &'static str,
    ) -> Result<&'a [u8], Error> {
        let offset = self.offset();
        let bytes = self.sized(field)?;
        if bytes.len() > most {
            return Err(Error::Length {
                field,
                offset,
                len_bytes: bytes.len(),
                allowed,
            });
        }
        Ok(bytes)
    }
}

/// Writes structures one behind the other.
pub trait Marshal {
    /// Appends bytes as they are.
    fn put(&mut self, bytes: &[u8]);

    /// Appends a number of 16 bits.
    fn put_word(&mut self, number: u16) {
        self.put(&number.to_be_bytes());
    }

    /// Appends a number of 32 bits.
    fn put_long(&mut self, number: u32) {
        self.put(&number.to_be_bytes());
    }

    /// Appends a byte string behind its 16-bit length; it has at most 65535 bytes.
    fn put_sized(&mut self, bytes: &[u8]) {
        self.put_word(fitting(bytes.len()));
        self.put(bytes);
    }
}

impl Marshal for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stops_at_the_last_byte_and_not_behind_it() {
        let mut cursor = Cursor::new(&[1, 0, 2, 0, 0, 0, 3, 0, 2, 9, 8]);
        assert_eq!(cursor.byte("a"), Ok(1));
        assert_eq!(cursor.word("b"), Ok(2));
        assert_eq!(cursor.long("c"), Ok(3));
        assert_eq!((cursor.offset(), cursor.left()), (7, 4));
        assert_eq!(cursor.clone().sized("d"), Ok(&[9, 8][..]));
        assert_eq!(
            cursor.quad("sequence").unwrap_err().to_string(),
            "the structure ends at byte 11, within its sequence at byte 7"
        );
        assert_eq!(cursor.offset(), 7); // what could not be read is not skipped
        assert_eq!(
            cursor.take(usize::MAX, "all").unwrap_err().to_string(),
            "the structure ends at byte 11, within its all at byte 7"
        );
        let mut cursor = Cursor::new(&[0, 3, 9, 8]);
        assert_eq!(
            cursor.sized("unique").unwrap_err().to_string(),
            "the structure ends at byte 4, within its unique at byte 2"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        bytes.put_word(0xabcd);
        bytes.put_long(0x4000_0007);
        bytes.put_sized(b"xy");
        bytes.put_sized(b"");
        assert_eq!(hex::encode(&bytes), "abcd40000007000278790000");
    }
}
