//! A disk whose power fails after so many writes and flushes.
//!
//! What was written since the last flush is then there in part: each sector of 512 bytes by a coin of its own. The
//! coins come from a generator that always starts the same.

use std::sync::Mutex;

use base::storage::{Error, MemoryStorage, ReadAt, Result, WriteAt};

const SECTOR_BYTES: usize = 512;

/// The disk.
pub struct Flaky {
    disk: MemoryStorage,
    state: Mutex<State>,
}

struct State {
    /// How many calls are left; `None` for ever.
    left: Option<u64>,
    calls: u64,
    /// What lay there before the writes since the last flush, in their order.
    before: Vec<(u64, Vec<u8>)>,
}

/// A generator of coins.
pub struct Coins(pub u64);

impl Coins {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

impl Flaky {
    /// A disk with these bytes that fails after so many calls.
    pub fn new(bytes: Vec<u8>, left: Option<u64>) -> Self {
        let state = State {
            left,
            calls: 0,
            before: Vec::new(),
        };
        Self {
            disk: MemoryStorage::new(bytes),
            state: Mutex::new(state),
        }
    }

    /// How many writes and flushes came.
    pub fn calls(&self) -> u64 {
        self.state.lock().unwrap().calls
    }

    /// What is on the disk when the power is back.
    pub fn after_the_failure(self, coins: &mut Coins) -> Vec<u8> {
        let before = self.state.into_inner().unwrap().before;
        let mut bytes = self.disk.into_bytes();
        for (offset_bytes, old) in before.iter().rev() {
            let at = usize::try_from(*offset_bytes).unwrap();
            for (sector, old) in old.chunks(SECTOR_BYTES).enumerate() {
                if coins.below(2) == 0 {
                    let at = at + sector * SECTOR_BYTES;
                    bytes[at..at + old.len()].copy_from_slice(old);
                }
            }
        }
        bytes
    }

    fn fails(state: &mut State) -> bool {
        state.calls += 1;
        match &mut state.left {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

impl ReadAt for Flaky {
    fn len_bytes(&self) -> u64 {
        self.disk.len_bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> Result<()> {
        self.disk.read_exact_at(buffer, offset_bytes)
    }
}

impl WriteAt for Flaky {
    /// The write at which the power fails is there in part, too.
    fn write_all_at(&self, bytes: &[u8], offset_bytes: u64) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        let was_out = state.left == Some(0) && state.calls > 0 && state.before.is_empty();
        let fails = Self::fails(&mut state);
        if !was_out {
            let old = self.disk.read_vec(offset_bytes, bytes.len())?;
            state.before.push((offset_bytes, old));
            self.disk.write_all_at(bytes, offset_bytes)?;
        }
        if fails {
            let source = std::io::Error::other("the power failed");
            return Err(Error::Write {
                offset_bytes,
                source,
            });
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        if Self::fails(&mut state) {
            return Err(Error::Flush(std::io::Error::other("the power failed")));
        }
        state.before.clear();
        Ok(())
    }
}
