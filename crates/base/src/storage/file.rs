//! An open file as a storage, with its holes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{Error, ReadAt, Result, WriteAt, check_range};

/// A regular file or a block device: read and written at offsets, a file's holes told by `SEEK_DATA` and `SEEK_HOLE`.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    len_bytes: u64,
    /// A device has no holes, and its kernel no answer where they are.
    is_device: bool,
}

impl FileStorage {
    /// Takes over an open file, with the length that it has now.
    pub fn new(file: File) -> Result<Self> {
        let metadata = file.metadata().map_err(Error::Extent)?;
        let is_device = metadata.file_type().is_block_device();
        let len_bytes = if is_device {
            // What it has as a file says nothing about the device.
            rustix::fs::seek(&file, SeekFrom::End(0))
                .map_err(|error| Error::Extent(error.into()))?
        } else {
            metadata.len()
        };
        Ok(Self {
            file,
            len_bytes,
            is_device,
        })
    }

    /// Takes over an open file and gives it a length; bytes that this adds are a hole.
    pub fn with_len(file: File, len_bytes: u64) -> Result<Self> {
        file.set_len(len_bytes).map_err(Error::Extent)?;
        Ok(Self {
            file,
            len_bytes,
            is_device: false,
        })
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file back.
    pub fn into_file(self) -> File {
        self.file
    }

    /// The offset of the first byte of the kind `whence` at or behind `from_bytes`; `None` where there is
    /// none before the end.
    fn seek(&self, whence: SeekFrom) -> Result<Option<u64>> {
        match rustix::fs::seek(&self.file, whence) {
            Ok(offset_bytes) => Ok(Some(offset_bytes)),
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(Error::Extent(error.into())),
        }
    }
}

impl ReadAt for FileStorage {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        check_range(offset_bytes, buffer.len(), self.len_bytes)?;
        self.file
            .read_exact_at(buffer, offset_bytes)
            .map_err(|source| match source.kind() {
                // The file became shorter while it was open.
                io::ErrorKind::UnexpectedEof => Error::BeyondEnd {
                    offset_bytes,
                    len_bytes: buffer.len() as u64,
                    end_bytes: self.file.metadata().map_or(0, |file| file.len()),
                },
                _ => Error::Read {
                    offset_bytes,
                    source,
                },
            })
    }

    fn next_data(&self, from_bytes: u64) -> Result<Option<Range<u64>>> {
        if from_bytes >= self.len_bytes {
            return Ok(None);
        }
        if self.is_device {
            return Ok(Some(from_bytes..self.len_bytes));
        }
        let Some(start) = self.seek(SeekFrom::Data(from_bytes))? else {
            return Ok(None);
        };
        if start >= self.len_bytes {
            return Ok(None);
        }
        let end = self.seek(SeekFrom::Hole(start))?.unwrap_or(self.len_bytes);
        Ok(Some(start..end.min(self.len_bytes)))
    }
}

impl WriteAt for FileStorage {
    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> Result<()> {
        check_range(offset_bytes, bytes.len(), self.len_bytes)?;
        self.file
            .write_all_at(bytes, offset_bytes)
            .map_err(|source| Error::Write {
                offset_bytes,
                source,
            })
    }

    fn flush(&self) -> Result<()> {
        self.file.sync_all().map_err(Error::Flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_told_from_data() {
        let storage = FileStorage::with_len(tempfile::tempfile().unwrap(), 1 << 20).unwrap();
        storage.write_all_at(&[7; 4096], 512 << 10).unwrap();
        let data = storage.next_data(0).unwrap().unwrap();
        assert!(data.start <= 512 << 10 && data.end >= (512 << 10) + 4096);
        assert_eq!(storage.next_data((1 << 20) - 1).unwrap(), None);
        assert_eq!(storage.next_data(1 << 20).unwrap(), None);
    }

    #[test]
    fn a_file_that_shrinks_while_it_is_open_is_an_error_not_a_short_read() {
        let storage = FileStorage::with_len(tempfile::tempfile().unwrap(), 8192).unwrap();
        storage.file().set_len(4096).unwrap();
        assert!(matches!(
            storage.read_vec(0, 8192),
            Err(Error::BeyondEnd {
                offset_bytes: 0,
                len_bytes: 8192,
                end_bytes: 4096
            })
        ));
    }
}
