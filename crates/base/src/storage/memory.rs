//! A storage in a buffer: headers that are built before they are written, and tests.

use crate::number::to_usize;
use std::sync::{PoisonError, RwLock};

use super::{ReadAt, Result, WriteAt, check_range};

/// A storage whose bytes lie in memory; flushing it does nothing.
#[derive(Debug, Default)]
pub struct MemoryStorage(RwLock<Vec<u8>>);

impl MemoryStorage {
    /// A storage with these bytes and this length.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(RwLock::new(bytes))
    }

    /// The bytes as they are now.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadAt for MemoryStorage {
    fn len_bytes(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let end = check_range(offset_bytes, buffer.len(), bytes.len() as u64)?;
        buffer.copy_from_slice(&bytes[to_usize(offset_bytes)..to_usize(end)]);
        Ok(())
    }
}

impl WriteAt for MemoryStorage {
    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> Result<()> {
        let mut stored = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let end = check_range(offset_bytes, bytes.len(), stored.len() as u64)?;
        stored[to_usize(offset_bytes)..to_usize(end)].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
