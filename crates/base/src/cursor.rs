//! Bytes that are read one field after the other.

/// A place in some bytes. Reading never goes beyond their end, and what could not be read is not skipped.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Begins at the first of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// All bytes, those included that were read.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many bytes were read.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// The next `len_bytes` bytes; `None` where they end before.
    pub fn take(&mut self, len_bytes: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len_bytes)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// The next `N` bytes, for the numbers of either byte order.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_ends_at_the_last_byte_and_skips_nothing() {
        let mut cursor = Cursor::new(&[1, 2, 3, 4]);
        assert_eq!(cursor.array().map(u16::from_le_bytes), Some(0x0201));
        assert_eq!(cursor.array::<3>(), None);
        assert_eq!(cursor.take(usize::MAX), None);
        assert_eq!((cursor.offset(), cursor.left()), (2, 2));
        assert_eq!(cursor.take(2), Some(&[3, 4][..]));
        assert_eq!(cursor.take(0), Some(&[][..]));
        assert_eq!((cursor.left(), cursor.bytes().len()), (0, 4));
    }
}
