//! Where plain bytes go: into the scratch file, but for blocks of zeros, which stay holes.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use super::scratch::Scratch;
use super::{Failure, PackedDefect};
use crate::other_format::OtherFormat;
use crate::packed::Packing;
use base::storage::{self, MemoryStorage};

/// How much is collected before it is written.
const BUFFER_BYTES: usize = 1 << 20;

/// Zeros of this length, at such offsets, are not written: the blocks of most file systems.
const BLOCK_BYTES: usize = 4096;

const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Takes plain bytes from decoders, one after the other.
pub(super) struct Sink<'a> {
    scratch: &'a Scratch,
    told: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    buffer: Vec<u8>,
    filled: usize,
    written_bytes: u64,
}

impl<'a> Sink<'a> {
    pub fn new(scratch: &'a Scratch, told: &'a mut dyn FnMut(u64) -> ControlFlow<()>) -> Self {
        Self {
            scratch,
            told,
            buffer: vec![0; BUFFER_BYTES],
            filled: 0,
            written_bytes: 0,
        }
    }

    /// Takes all that a decoder gives; `position` tells how far the packed file was read for it.
    pub fn take<R: Read>(
        &mut self,
        decoder: &mut R,
        position: impl Fn(&R) -> u64,
    ) -> Result<(), Failure> {
        loop {
            match decoder.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Ok(()),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::Read(error)),
            }
            if self.filled == self.buffer.len() {
                self.write()?;
                if (self.told)(position(decoder)).is_break() {
                    return Err(Failure::Stopped);
                }
            }
        }
    }

    /// Writes the rest and tells how many bytes there were.
    pub fn finish(mut self) -> Result<u64, Failure> {
        self.write()?;
        Ok(self.written_bytes)
    }

    fn write(&mut self) -> Result<(), Failure> {
        let bytes = &self.buffer[..self.filled];
        if self.written_bytes == 0 {
            refuse_other_formats(bytes)?;
        }
        let is_zero = |block: &&[u8]| **block == ZEROS[..block.len()];
        let mut at = 0;
        while at < bytes.len() {
            let blocks = bytes[at..].chunks(BLOCK_BYTES);
            let holes: usize = blocks.take_while(is_zero).map(<[u8]>::len).sum();
            at += holes;
            let blocks = bytes[at..].chunks(BLOCK_BYTES);
            let data: usize = blocks
                .take_while(|block| !is_zero(block))
                .map(<[u8]>::len)
                .sum();
            let offset_bytes = self.written_bytes + at as u64;
            self.scratch
                .file()
                .write_all_at(&bytes[at..at + data], offset_bytes)
                .map_err(|source| {
                    Failure::Write(storage::Error::Write {
                        offset_bytes,
                        source,
                    })
                })?;
            at += data;
        }
        self.written_bytes += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}

/// Ends the work at its beginning where the first bytes show something that is not read.
fn refuse_other_formats(bytes: &[u8]) -> Result<(), Failure> {
    let start = MemoryStorage::new(bytes.to_vec());
    match OtherFormat::of(&start) {
        Ok(Some(format)) if !format.is_read() || Packing::of(format).is_some() => {
            Err(Failure::Defect(PackedDefect::Holds(format)))
        }
        _ => Ok(()),
    }
}
