//! A storage as the library reads and writes it: one position, moved by seeking.
//!
//! The library drops what a storage said and keeps a kind of error; so the first error is kept aside here, and told
//! in place of the library's own.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::rc::Rc;

use base::storage::{self, ReadAt, WriteAt};

/// What lies below: to be read only, or to be written too.
#[derive(Clone, Copy)]
pub(super) enum Below<'s> {
    Read(&'s dyn ReadAt),
    Write(&'s dyn WriteAt),
}

impl ReadAt for Below<'_> {
    fn len_bytes(&self) -> u64 {
        match self {
            Self::Read(storage) => storage.len_bytes(),
            Self::Write(storage) => storage.len_bytes(),
        }
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> storage::Result<()> {
        match self {
            Self::Read(storage) => storage.read_exact_at(buffer, offset_bytes),
            Self::Write(storage) => storage.read_exact_at(buffer, offset_bytes),
        }
    }
}

/// Where the first error of a storage waits.
pub(super) type Aside = Rc<RefCell<Option<storage::Error>>>;

pub(super) struct Cursor<'s> {
    below: Below<'s>,
    position: u64,
    aside: Aside,
}

impl<'s> Cursor<'s> {
    pub(super) fn new(below: Below<'s>, aside: Aside) -> Self {
        Self {
            below,
            position: 0,
            aside,
        }
    }

    fn keep(&self, error: storage::Error) -> io::Error {
        self.aside.borrow_mut().get_or_insert(error);
        io::Error::other("the storage failed")
    }
}

impl Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.below.len_bytes().saturating_sub(self.position);
        let length = usize::try_from(left).map_or(buffer.len(), |left| buffer.len().min(left));
        let Some(buffer) = buffer.get_mut(..length) else {
            return Ok(0);
        };
        self.below
            .read_exact_at(buffer, self.position)
            .map_err(|error| self.keep(error))?;
        self.position += length as u64;
        Ok(length)
    }
}

impl Write for Cursor<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Below::Write(storage) = self.below else {
            return Err(io::ErrorKind::PermissionDenied.into());
        };
        storage
            .write_all_at(bytes, self.position)
            .map_err(|error| self.keep(error))?;
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // the caller decides when its storage becomes durable
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
            SeekFrom::End(distance) => self.below.len_bytes().checked_add_signed(distance),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
