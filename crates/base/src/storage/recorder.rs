//! A storage that notes every write and flush, and fails where a test says so.
//!
//! What was recorded can be replayed up to any point, so a test can enumerate what a crash leaves behind.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Error, ReadAt, Result, WriteAt};

/// One call that changed a storage, in the order in which it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// Bytes written at an offset.
    Write {
        /// Where they were written.
        offset_bytes: u64,
        /// What was written.
        bytes: Vec<u8>,
    },
    /// Everything before it is durable.
    Flush,
}

/// Which call fails, counted from 0; no call does by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fault {
    /// The write that fails, with nothing of it written.
    pub write: Option<u64>,
    /// The flush that fails.
    pub flush: Option<u64>,
    /// The read that fails.
    pub read: Option<u64>,
}

/// Hands every call on to a storage, records the ones that change it, and injects one fault.
#[derive(Debug)]
pub struct Recorder<S> {
    storage: S,
    fault: Fault,
    log: Mutex<Vec<Recorded>>,
    reads: AtomicU64,
    writes: AtomicU64,
    flushes: AtomicU64,
    bytes_read: AtomicU64,
}

impl<S> Recorder<S> {
    /// Records what happens to `storage`.
    pub fn new(storage: S) -> Self {
        Self::with_fault(storage, Fault::default())
    }

    /// Records what happens to `storage`, and fails once, as `fault` says.
    pub fn with_fault(storage: S, fault: Fault) -> Self {
        Self {
            storage,
            fault,
            log: Mutex::new(Vec::new()),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
        }
    }

    /// What changed the storage so far.
    pub fn log(&self) -> Vec<Recorded> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many bytes were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The storage below.
    pub fn into_inner(self) -> S {
        self.storage
    }

    fn note(&self, entry: Recorded) {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
    }
}

/// Counts one call, and says whether it is the one that shall fail.
fn fails(counter: &AtomicU64, fault: Option<u64>) -> bool {
    Some(counter.fetch_add(1, Ordering::Relaxed)) == fault
}

fn injected() -> std::io::Error {
    std::io::Error::other("injected fault")
}

impl<S: ReadAt> ReadAt for Recorder<S> {
    fn len_bytes(&self) -> u64 {
        self.storage.len_bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        if fails(&self.reads, self.fault.read) {
            return Err(Error::Read {
                offset_bytes,
                source: injected(),
            });
        }
        self.bytes_read
            .fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.storage.read_exact_at(buffer, offset_bytes)
    }

    fn next_data(&self, from_bytes: u64) -> Result<Option<Range<u64>>> {
        self.storage.next_data(from_bytes)
    }
}

impl<S: WriteAt> WriteAt for Recorder<S> {
    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> Result<()> {
        if fails(&self.writes, self.fault.write) {
            return Err(Error::Write {
                offset_bytes,
                source: injected(),
            });
        }
        self.storage.write_all_at(bytes, offset_bytes)?;
        self.note(Recorded::Write {
            offset_bytes,
            bytes: bytes.to_vec(),
        });
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        if fails(&self.flushes, self.fault.flush) {
            return Err(Error::Flush(injected()));
        }
        self.storage.flush()?;
        self.note(Recorded::Flush);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn writes_and_flushes_are_recorded_in_order() {
        let recorder = Recorder::new(MemoryStorage::new(vec![0; 16]));
        recorder.write_all_at(&[1, 2], 3).unwrap();
        recorder.flush().unwrap();
        recorder.write_all_at(&[4], 5).unwrap();
        assert_eq!(
            recorder.log(),
            [
                Recorded::Write {
                    offset_bytes: 3,
                    bytes: vec![1, 2]
                },
                Recorded::Flush,
                Recorded::Write {
                    offset_bytes: 5,
                    bytes: vec![4]
                },
            ]
        );
    }

    #[test]
    fn the_chosen_write_fails_and_leaves_nothing() {
        let fault = Fault {
            write: Some(1),
            ..Fault::default()
        };
        let recorder = Recorder::with_fault(MemoryStorage::new(vec![0; 16]), fault);
        recorder.write_all_at(&[1], 0).unwrap();
        assert!(matches!(
            recorder.write_all_at(&[2], 1),
            Err(Error::Write {
                offset_bytes: 1,
                ..
            })
        ));
        recorder.write_all_at(&[3], 2).unwrap();
        assert_eq!(recorder.into_inner().into_bytes()[..3], [1, 0, 3]);
    }
}
