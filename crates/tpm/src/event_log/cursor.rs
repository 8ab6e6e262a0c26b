//! Little-endian numbers and counted bytes, one after the other.

/// A place in the bytes of a log.
pub(super) struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn long(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn word(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Bytes behind their 32-bit length.
    pub fn counted(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.long()?).ok()?;
        self.take(len)
    }
}
