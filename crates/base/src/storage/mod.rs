//! Bytes at offsets: the one way in which every room above reads and writes an image.
//!
//! A *storage* has a fixed length. [`ReadAt`] reads it and tells where data lies (the rest are *holes*,
//! which read as zeros and cost nothing); [`WriteAt`] writes it and flushes. Both take `&self`, so one
//! storage serves several threads. [`Slice`] is a window onto a storage, [`Overlay`] keeps changed blocks
//! in memory above a storage that is never written, [`Cached`] and [`ReadOnce`] let several readers cost one,
//! [`FileStorage`] is an open file, [`MemoryStorage`] a buffer, and [`Recorder`] notes every write and flush
//! and injects faults, for tests.

mod cached;
mod error;
mod file;
mod memory;
mod overlay;
mod read_once;
mod recorder;
mod slice;

pub use cached::Cached;
pub use error::Error;
pub use file::FileStorage;
pub use memory::MemoryStorage;
pub use overlay::{BLOCK_BYTES as OVERLAY_BLOCK_BYTES, Overlay};
pub use read_once::ReadOnce;
pub use recorder::{Fault, Recorded, Recorder};
pub use slice::Slice;

use std::ops::Range;
use std::sync::Arc;

/// A result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// A storage that can be read.
pub trait ReadAt: Send + Sync {
    /// Length in bytes; it does not change while the storage is open.
    fn len_bytes(&self) -> u64;

    /// Fills `buffer` from `offset_bytes` on. Bytes in holes read as zeros.
    ///
    /// Fails with [`Error::BeyondEnd`] where the range does not lie within the storage.
    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()>;

    /// The first range of data that ends behind `from_bytes`, cut to start there at the earliest; `None`
    /// where only holes follow. Bytes outside of such ranges read as zeros without being read.
    ///
    /// A storage that cannot tell says that all of it is data. Two calls may return adjacent ranges.
    fn next_data(&self, from_bytes: u64) -> Result<Option<Range<u64>>> {
        let len_bytes = self.len_bytes();
        Ok((from_bytes < len_bytes).then_some(from_bytes..len_bytes))
    }

    /// The bytes of `range`, in a buffer of their own. For structures whose length was checked; never for
    /// a length that an image claims.
    fn read_vec(&self, offset_bytes: u64, len_bytes: usize) -> Result<Vec<u8>> {
        let mut buffer = vec![0; len_bytes];
        self.read_exact_at(&mut buffer, offset_bytes)?;
        Ok(buffer)
    }
}

/// A storage that can be written, too.
pub trait WriteAt: ReadAt {
    /// Writes all of `bytes` at `offset_bytes`; a storage does not grow.
    ///
    /// Fails with [`Error::BeyondEnd`] where the range does not lie within the storage.
    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> Result<()>;

    /// Returns when every write before it is durable.
    fn flush(&self) -> Result<()>;
}

macro_rules! forward {
    ($pointer:ty) => {
        impl<S: ReadAt + ?Sized> ReadAt for $pointer {
            fn len_bytes(&self) -> u64 {
                (**self).len_bytes()
            }
            fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
                (**self).read_exact_at(buffer, offset_bytes)
            }
            fn next_data(&self, from_bytes: u64) -> Result<Option<Range<u64>>> {
                (**self).next_data(from_bytes)
            }
        }

        impl<S: WriteAt + ?Sized> WriteAt for $pointer {
            fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> Result<()> {
                (**self).write_all_at(bytes, offset_bytes)
            }
            fn flush(&self) -> Result<()> {
                (**self).flush()
            }
        }
    };
}

forward!(&S);
forward!(Arc<S>);
forward!(Box<S>);

/// Checks that `len_bytes` bytes at `offset_bytes` lie within a storage of `end_bytes` bytes, and returns
/// the offset behind them.
pub fn check_range(offset_bytes: u64, len_bytes: usize, end_bytes: u64) -> Result<u64> {
    let len_bytes = len_bytes as u64; // usize is at most 64 bits wide on every target of Rust
    match offset_bytes.checked_add(len_bytes) {
        Some(end) if end <= end_bytes => Ok(end),
        _ => Err(Error::BeyondEnd {
            offset_bytes,
            len_bytes,
            end_bytes,
        }),
    }
}
