//! The one pass over the data: source read once, output written once, in chunks, by several threads.
//!
//! Every thread takes the next chunk, reads it, encrypts it in place and writes it, so a chunk stays in
//! the cache of the core that works on it and memory is threads times [`CHUNK_BYTES`], whatever the size
//! of the image. Chunks are taken in ascending order, so reading and writing stay near-sequential.
//! Blocks that the filesystem does not use are not read: their plaintext is zeros.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::filesystem::ext4::BlockBitmap;
use crate::luks2::{SectorCipher, SectorSize, VolumeKey, XtsCipher};
use crate::provision::Error;
use crate::provision::observer::{Observer, StopFlag};
use crate::storage::{ReadAt, WriteAt};

/// How much a thread works on at a time: a multiple of every sector size, small enough for a core's cache.
pub const CHUNK_BYTES: u64 = 512 << 10;

/// A range of the output, and how its bytes come about.
pub struct Part<'a> {
    /// Where the plain bytes come from.
    pub source: &'a dyn ReadAt,
    /// Which bytes of the source are in use, where a filesystem tells; the others are not read.
    pub used: Option<&'a BlockBitmap>,
    /// The range of the source that this part is made from; it may reach beyond the source's end, from
    /// where on it is zeros.
    pub range: Range<u64>,
    /// Where the first byte of the range lies in the output.
    pub output_bytes: u64,
    /// Encrypts the part, in sectors that count from its first byte; `None` copies it. What is not
    /// copied because it is a hole or not in use stays a hole; encrypted, it is written as zeros.
    pub encryption: Option<Encryption<'a>>,
    /// What becomes of an encrypted part's bytes that are not in use.
    pub free_space: FreeSpace,
}

/// What becomes of blocks that the filesystem does not use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FreeSpace {
    /// They are written, as encrypted zeros.
    #[default]
    Encrypt,
    /// They are not written, and stay holes: whoever has the file sees which blocks are in use.
    Skip,
}

/// How a part is encrypted.
#[derive(Clone, Copy)]
pub struct Encryption<'a> {
    /// The key of the segment.
    pub volume_key: &'a VolumeKey,
    /// Sector size of the segment.
    pub sector_size: SectorSize,
}

impl Part<'_> {
    fn len_bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn chunks(&self) -> u64 {
        self.len_bytes().div_ceil(CHUNK_BYTES)
    }
}

/// The next range of data of a part's source, as it was asked for last.
///
/// Telling where data ends can cost the kernel a walk over the whole rest of a file (it does on tmpfs), so
/// a thread asks once for each range and not once for each chunk.
#[derive(Default)]
struct Extent {
    part: usize,
    /// From here to the start of `data` there is a hole.
    from: u64,
    /// Where it ends, the next question is due; `None` before the first.
    data: Option<Range<u64>>,
}

impl Extent {
    /// The first range of data at or behind `from`.
    fn next_data(
        &mut self,
        number: usize,
        part: &Part<'_>,
        from: u64,
    ) -> Result<Range<u64>, Error> {
        match &self.data {
            Some(data) if self.part == number && (self.from..data.end).contains(&from) => {
                Ok(data.start.max(from)..data.end)
            }
            _ => {
                let end = part.source.len_bytes();
                let found = part.source.next_data(from).map_err(Error::Source)?;
                let data = found.unwrap_or(end..end);
                *self = Self {
                    part: number,
                    from,
                    data: Some(data.clone()),
                };
                Ok(data)
            }
        }
    }

    /// The next range of bytes that have to be read, within `from .. end` of the part's source.
    fn next_live(
        &mut self,
        (number, part): (usize, &Part<'_>),
        mut from: u64,
        end: u64,
    ) -> Result<Option<Range<u64>>, Error> {
        let end = end.min(part.source.len_bytes());
        while from < end {
            let used = match part.used {
                None => from..end,
                Some(bitmap) => bitmap.next_used(from).unwrap_or(end..end),
            };
            let used = used.start..used.end.min(end);
            if used.start >= end {
                break;
            }
            let data = self.next_data(number, part, used.start)?;
            if data.start < used.end {
                return Ok(Some(data.start..data.end.min(used.end)));
            }
            from = data.start;
        }
        Ok(None)
    }
}

/// Bytes that [`run`] will report as done.
pub fn total_bytes(parts: &[Part<'_>]) -> u64 {
    parts.iter().map(Part::len_bytes).sum()
}

/// Produces all parts in `output`, with so many threads. The first failure ends the work.
pub fn run(
    parts: &[Part<'_>],
    output: &dyn WriteAt,
    threads: usize,
    observer: &dyn Observer,
    stop: &StopFlag,
) -> Result<(), Error> {
    let next_chunk = AtomicU64::new(0);
    let failure = Mutex::new(None);
    let failed = StopFlag::new();
    let work = || {
        let mut worker = match Worker::new(parts, output) {
            Ok(worker) => worker,
            Err(error) => return Err(error),
        };
        while !failed.is_raised() {
            if stop.is_raised() {
                return Err(Error::Interrupted);
            }
            let Some((part, offset)) = locate(parts, next_chunk.fetch_add(1, Ordering::Relaxed))
            else {
                break;
            };
            observer.advance(worker.produce(part, offset)?);
        }
        Ok(())
    };
    let guarded = || {
        if let Err(error) = work() {
            failed.raise();
            if let Ok(mut first) = failure.lock() {
                first.get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(guarded);
        }
        guarded();
    });
    match failure.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error),
        Err(_) => Err(Error::Interrupted),
    }
}

/// The part that holds a chunk, and the chunk's offset within it.
fn locate<'a, 'b>(parts: &'a [Part<'b>], mut chunk: u64) -> Option<((usize, &'a Part<'b>), u64)> {
    for (number, part) in parts.iter().enumerate() {
        if chunk < part.chunks() {
            return Some(((number, part), chunk * CHUNK_BYTES));
        }
        chunk -= part.chunks();
    }
    None
}

/// What a thread has of its own: a buffer and a cipher context.
struct Worker<'a> {
    output: &'a dyn WriteAt,
    buffer: Vec<u8>,
    cipher: Option<XtsCipher>,
    extent: Extent,
}

impl<'a> Worker<'a> {
    fn new(parts: &[Part<'_>], output: &'a dyn WriteAt) -> Result<Self, Error> {
        let encryption = parts.iter().find_map(|part| part.encryption);
        let cipher = encryption
            .map(|encryption| XtsCipher::new(encryption.volume_key, encryption.sector_size))
            .transpose()?;
        Ok(Self {
            output,
            buffer: vec![0; small(CHUNK_BYTES)],
            cipher,
            extent: Extent::default(),
        })
    }

    /// Produces one chunk and returns its length.
    fn produce(&mut self, numbered: (usize, &Part<'_>), offset: u64) -> Result<u64, Error> {
        let part = numbered.1;
        let len = CHUNK_BYTES.min(part.len_bytes() - offset);
        if part.encryption.is_some() {
            self.encrypt(numbered, offset, len)?;
        } else {
            self.copy(numbered, offset, len)?;
        }
        Ok(len)
    }

    /// Copies what is live in a chunk, and leaves the rest a hole.
    fn copy(&mut self, numbered: (usize, &Part<'_>), offset: u64, len: u64) -> Result<(), Error> {
        let part = numbered.1;
        let mut at = part.range.start + offset;
        let end = at + len;
        while let Some(live) = self.extent.next_live(numbered, at, end)? {
            let bytes = &mut self.buffer[..small(live.end - live.start)];
            part.source
                .read_exact_at(bytes, live.start)
                .map_err(Error::Source)?;
            let output = part.output_bytes + (live.start - part.range.start);
            self.output
                .write_all_at(bytes, output)
                .map_err(Error::Output)?;
            at = live.end;
        }
        Ok(())
    }

    /// Encrypts a chunk.
    fn encrypt(
        &mut self,
        numbered: (usize, &Part<'_>),
        offset: u64,
        len: u64,
    ) -> Result<(), Error> {
        let part = numbered.1;
        let start = part.range.start + offset;
        let written = written(part, start..start + len);
        if written.is_empty() {
            return Ok(());
        }
        let bytes = &mut self.buffer[..small(len)];
        let mut at = start;
        while let Some(live) = self.extent.next_live(numbered, at, start + len)? {
            let (from, to) = (small(live.start - start), small(live.end - start));
            bytes[small(at - start)..from].fill(0);
            part.source
                .read_exact_at(&mut bytes[from..to], live.start)
                .map_err(Error::Source)?;
            at = live.end;
        }
        bytes[small(at - start)..].fill(0);
        if let Some(cipher) = self.cipher.as_mut() {
            cipher.encrypt(offset / 512, bytes)?;
        }
        for range in written {
            let bytes = &bytes[small(range.start - start)..small(range.end - start)];
            self.output
                .write_all_at(bytes, part.output_bytes + (range.start - part.range.start))
                .map_err(Error::Output)?;
        }
        Ok(())
    }
}

/// What is written of a chunk of an encrypted part: all of it, or the sectors that hold something used.
fn written(part: &Part<'_>, chunk: Range<u64>) -> Vec<Range<u64>> {
    let (FreeSpace::Skip, Some(used), Some(encryption)) =
        (part.free_space, part.used, &part.encryption)
    else {
        return vec![chunk];
    };
    let sector_bytes = encryption.sector_size.bytes() as u64;
    // Sectors count from the part's first byte.
    let sector_start = |at: u64| at - (at - part.range.start) % sector_bytes;
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut from = chunk.start;
    while let Some(next) = used.next_used(from).filter(|next| next.start < chunk.end) {
        let end = next.end.min(chunk.end);
        let sectors = sector_start(next.start)..sector_start(end - 1) + sector_bytes;
        let end = sectors.end.min(chunk.end);
        match ranges.last_mut() {
            Some(last) if last.end >= sectors.start => last.end = last.end.max(end),
            _ => ranges.push(sectors.start..end),
        }
        from = next.end;
    }
    ranges
}

/// A length within a chunk.
#[expect(clippy::cast_possible_truncation, reason = "bounded by CHUNK_BYTES")]
fn small(len: u64) -> usize {
    len as usize
}
