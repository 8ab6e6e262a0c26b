//! What a log is made of, one after the other: little-endian numbers and counted bytes.

use base::cursor;

/// A place in the bytes of a log.
pub(super) struct Cursor<'a>(cursor::Cursor<'a>);

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(cursor::Cursor::new(bytes))
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.0.bytes()
    }

    pub fn offset(&self) -> usize {
        self.0.offset()
    }

    pub fn take(&mut self, len_bytes: usize) -> Option<&'a [u8]> {
        self.0.take(len_bytes)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.0.array().map(u8::from_le_bytes)
    }

    pub fn word(&mut self) -> Option<u16> {
        self.0.array().map(u16::from_le_bytes)
    }

    pub fn long(&mut self) -> Option<u32> {
        self.0.array().map(u32::from_le_bytes)
    }

    /// Bytes behind their 32-bit length.
    pub fn counted(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.long()?).ok()?;
        self.take(len)
    }
}
