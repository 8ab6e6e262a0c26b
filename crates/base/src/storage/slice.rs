//! A window onto a storage: a partition of a disk, the disk in a VHD, the segment of a container.

use std::ops::Range;

use super::{Error, ReadAt, Result, WriteAt, check_range};

/// The bytes `start_bytes .. start_bytes + len_bytes` of another storage, as a storage of its own.
#[derive(Debug, Clone)]
pub struct Slice<S> {
    storage: S,
    start_bytes: u64,
    len_bytes: u64,
}

impl<S: ReadAt> Slice<S> {
    /// A window of `len_bytes` bytes from `start_bytes` on.
    ///
    /// Fails with [`Error::BeyondEnd`] where the storage is shorter than the window's end.
    pub fn new(storage: S, start_bytes: u64, len_bytes: u64) -> Result<Self> {
        let end_bytes = storage.len_bytes();
        match start_bytes.checked_add(len_bytes) {
            Some(end) if end <= end_bytes => Ok(Self {
                storage,
                start_bytes,
                len_bytes,
            }),
            _ => Err(Error::BeyondEnd {
                offset_bytes: start_bytes,
                len_bytes,
                end_bytes,
            }),
        }
    }
}

impl<S: ReadAt> ReadAt for Slice<S> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        check_range(offset_bytes, buffer.len(), self.len_bytes)?;
        self.storage
            .read_exact_at(buffer, self.start_bytes + offset_bytes)
    }

    fn next_data(&self, from_bytes: u64) -> Result<Option<Range<u64>>> {
        if from_bytes >= self.len_bytes {
            return Ok(None);
        }
        let found = self.storage.next_data(self.start_bytes + from_bytes)?;
        Ok(found
            .map(|data| data.start - self.start_bytes..data.end - self.start_bytes)
            .map(|data| data.start..data.end.min(self.len_bytes))
            .filter(|data| !data.is_empty()))
    }
}

impl<S: WriteAt> WriteAt for Slice<S> {
    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> Result<()> {
        check_range(offset_bytes, bytes.len(), self.len_bytes)?;
        self.storage
            .write_all_at(bytes, self.start_bytes + offset_bytes)
    }

    fn flush(&self) -> Result<()> {
        self.storage.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn a_slice_reads_and_writes_only_its_window() {
        let storage = MemoryStorage::new((0..=255).collect());
        let slice = Slice::new(&storage, 100, 10).unwrap();
        assert_eq!(
            slice.read_vec(0, 10).unwrap(),
            (100..110).collect::<Vec<u8>>()
        );
        slice.write_all_at(&[0xff, 0xfe], 8).unwrap();
        assert_eq!(storage.read_vec(107, 4).unwrap(), [107, 0xff, 0xfe, 110]);
    }

    #[test]
    fn nothing_reaches_beyond_the_window() {
        let storage = MemoryStorage::new(vec![0; 256]);
        let slice = Slice::new(&storage, 100, 10).unwrap();
        assert!(matches!(
            slice.read_vec(1, 10),
            Err(Error::BeyondEnd {
                offset_bytes: 1,
                len_bytes: 10,
                end_bytes: 10
            })
        ));
        assert!(matches!(
            slice.write_all_at(&[0], 10),
            Err(Error::BeyondEnd {
                offset_bytes: 10,
                len_bytes: 1,
                end_bytes: 10
            })
        ));
        assert!(matches!(
            Slice::new(&storage, 250, 7).map(|_| ()),
            Err(Error::BeyondEnd {
                offset_bytes: 250,
                len_bytes: 7,
                end_bytes: 256
            })
        ));
        assert!(Slice::new(&storage, u64::MAX, 2).is_err());
    }

    #[test]
    fn data_is_cut_to_the_window() {
        let storage = MemoryStorage::new(vec![0; 256]);
        let slice = Slice::new(&storage, 100, 10).unwrap();
        assert_eq!(slice.next_data(3).unwrap(), Some(3..10));
        assert_eq!(slice.next_data(10).unwrap(), None);
    }
}
