//! A storage that several readers go through in step, and that is read once all the same.
//!
//! Each thread has a window: the bytes that it read last, from the first offset that was not in the window before. Where
//! one thread lets reader after reader ask for the same range before it goes on, the first one reads the storage and the
//! others get what it got. What the readers get does not depend on their being in step.

use crate::number::to_usize;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};

use super::{ReadAt, Result, check_range};

/// Gives what a thread read last once more.
pub struct ReadOnce<S> {
    base: S,
    window_bytes: u64,
    windows: Mutex<HashMap<ThreadId, Window>>,
}

/// What a thread read last.
#[derive(Default)]
struct Window {
    start_bytes: u64,
    bytes: Vec<u8>,
    /// The ranges of the storage that were read, none of them in another.
    read: Vec<Range<u64>>,
}

impl<S: ReadAt> ReadOnce<S> {
    /// Readers go on when they are through with `window_bytes` bytes at most.
    pub fn new(base: S, window_bytes: u64) -> Self {
        Self {
            base,
            window_bytes,
            windows: Mutex::default(),
        }
    }

    /// The storage below.
    pub fn base(&self) -> &S {
        &self.base
    }

    fn fill(&self, window: &mut Window, buffer: &mut [u8], wanted: &Range<u64>) -> Result<()> {
        if window.copy(buffer, wanted) {
            return Ok(());
        }
        self.base.read_exact_at(buffer, wanted.start)?;
        let end_bytes = window.start_bytes.saturating_add(self.window_bytes);
        if wanted.start < window.start_bytes || wanted.end > end_bytes || window.read.is_empty() {
            window.start_bytes = wanted.start;
            window.read.clear();
        }
        if wanted.end - wanted.start <= self.window_bytes {
            window.keep(buffer, wanted);
        }
        Ok(())
    }
}

impl Window {
    /// Fills the buffer, where all of the range was read.
    fn copy(&self, buffer: &mut [u8], wanted: &Range<u64>) -> bool {
        let is_read = |read: &Range<u64>| read.start <= wanted.start && wanted.end <= read.end;
        if !self.read.iter().any(is_read) {
            return false;
        }
        let start = to_usize(wanted.start - self.start_bytes);
        match self.bytes.get(start..start + buffer.len()) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    fn keep(&mut self, bytes: &[u8], read: &Range<u64>) {
        let start = to_usize(read.start - self.start_bytes);
        let end = start + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(bytes);
        self.read.push(read.clone());
    }
}

impl<S: ReadAt> ReadAt for ReadOnce<S> {
    fn len_bytes(&self) -> u64 {
        self.base.len_bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        let end = check_range(offset_bytes, buffer.len(), self.len_bytes())?;
        if buffer.is_empty() {
            return Ok(());
        }
        let thread = thread::current().id();
        let windows = || self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out, so that the threads do not wait for one another's reads.
        let mut window = windows().remove(&thread).unwrap_or_default();
        let filled = self.fill(&mut window, buffer, &(offset_bytes..end));
        windows().insert(thread, window);
        filled
    }

    fn next_data(&self, from_bytes: u64) -> Result<Option<Range<u64>>> {
        self.base.next_data(from_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Counts what is read of it; every byte is its offset.
    struct Counted(AtomicU64);

    impl ReadAt for Counted {
        fn len_bytes(&self) -> u64 {
            200
        }

        fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
            for (offset, byte) in (offset_bytes..).zip(buffer.iter_mut()) {
                *byte = u8::try_from(offset).unwrap();
            }
            self.0.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            Ok(())
        }
    }

    fn counted() -> ReadOnce<Counted> {
        ReadOnce::new(Counted(AtomicU64::new(0)), 50)
    }

    fn read(storage: &ReadOnce<Counted>, range: Range<u64>) {
        let bytes = storage
            .read_vec(range.start, to_usize(range.end - range.start))
            .unwrap();
        assert!(
            range
                .zip(bytes)
                .all(|(offset, byte)| u64::from(byte) == offset)
        );
    }

    #[test]
    fn readers_in_step_cost_one() {
        let storage = counted();
        // Pieces of two chunks, as free blocks and holes cut them.
        for chunk in [[10..20, 30..60], [61..100, 105..111]] {
            for _ in 0..4 {
                for range in &chunk {
                    read(&storage, range.clone());
                }
            }
        }
        assert_eq!(storage.base.0.into_inner(), 10 + 30 + 39 + 6);
    }

    #[test]
    fn readers_out_of_step_get_the_same_bytes() {
        let storage = counted();
        for start in [0, 90, 3, 120, 49, 50, 51, 0] {
            read(&storage, start..start + 50);
            read(&storage, start + 7..start + 20);
        }
        read(&storage, 0..200);
        assert_eq!(storage.base.0.into_inner(), 8 * 50 + 200);
        assert!(counted().read_vec(199, 2).is_err());
    }

    #[test]
    fn each_thread_has_a_window_of_its_own() {
        let storage = counted();
        read(&storage, 0..50);
        thread::scope(|scope| {
            scope.spawn(|| read(&storage, 100..150));
        });
        read(&storage, 0..50);
        assert_eq!(storage.base.0.into_inner(), 100);
    }
}
