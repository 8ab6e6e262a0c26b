//! The one pass over the data: source read once, output written once, in chunks, by several threads.
//!
//! Every thread takes the next chunk, reads it, encrypts it in place and writes it, so a chunk stays in
//! the cache of the core that works on it and memory is threads times [`CHUNK_BYTES`], whatever the size
//! of the image. Chunks are taken in ascending order, so reading and writing stay near-sequential.
//! Blocks that the filesystem does not use are not read: their plaintext is zeros.
//!
//! Several outputs can be made in one go: a thread produces the same chunk of each, one after the other, so a source that
//! they share is read once where it stands behind an [`ReadOnce`](base::storage::ReadOnce). One that fails is left out from
//! there on, and the others go on.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::Error;
use crate::common::observer::{Observer, StopFlag};
use base::number::to_usize;
use base::storage::{ReadAt, WriteAt};
use filesystem::ext4::BlockBitmap;
use luks2::{SectorCipher, SectorSize, VolumeKey, XtsCipher};

/// How much a thread works on at a time: a multiple of every sector size, small enough for a core's cache.
pub const CHUNK_BYTES: u64 = 512 << 10;

/// The threads that take part: so many, or one for each processor.
pub fn threads(wanted: Option<usize>) -> usize {
    wanted
        .or_else(|| thread::available_parallelism().ok().map(Into::into))
        .unwrap_or(1)
}

/// A range of the output, and how its bytes come about.
pub struct Part<'a> {
    /// Where the plain bytes come from.
    pub source: Box<dyn ReadAt + 'a>,
    /// Which bytes of the source are in use, where a filesystem tells; the others are not read.
    pub used: Option<&'a BlockBitmap>,
    /// The range of the source that this part is made from; it may reach beyond the source's end, from
    /// where on it is zeros.
    pub range: Range<u64>,
    /// Where the first byte of the range lies in the output.
    pub output_bytes: u64,
    /// Encrypts the part; `None` copies it. What is not
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
    /// Number of the part's first 512-byte unit within the segment, a multiple of the sector size.
    pub first_unit: u64,
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
    fn next_data(&mut self, part: NumberedPart<'_>, from: u64) -> Result<Range<u64>, Error> {
        match &self.data {
            Some(data) if self.part == part.number && (self.from..data.end).contains(&from) => {
                Ok(data.start.max(from)..data.end)
            }
            _ => {
                let end = part.part.source.len_bytes();
                let found = part.part.source.next_data(from).map_err(Error::Source)?;
                let data = found.unwrap_or(end..end);
                *self = Self {
                    part: part.number,
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
        numbered: NumberedPart<'_>,
        mut from: u64,
        end: u64,
    ) -> Result<Option<Range<u64>>, Error> {
        let part = numbered.part;
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
            let data = self.next_data(numbered, used.start)?;
            if data.start < used.end {
                return Ok(Some(data.start..data.end.min(used.end)));
            }
            from = data.start;
        }
        Ok(None)
    }
}

/// An output, and what it is made of.
pub struct Pass<'a> {
    parts: &'a [Part<'a>],
    output: &'a dyn WriteAt,
    failed: StopFlag,
    failure: Mutex<Option<Error>>,
}

impl<'a> Pass<'a> {
    /// All of `parts`, in `output`.
    pub fn new(parts: &'a [Part<'a>], output: &'a dyn WriteAt) -> Self {
        Self {
            parts,
            output,
            failed: StopFlag::new(),
            failure: Mutex::new(None),
        }
    }

    /// Bytes that [`run`] will report as done.
    pub fn total_bytes(&self) -> u64 {
        self.parts.iter().map(Part::len_bytes).sum()
    }

    fn chunks(&self) -> u64 {
        self.parts.iter().map(Part::chunks).sum()
    }

    /// What a thread needs for it; `None` where it has failed with that.
    fn worker(&self) -> Option<Worker<'a>> {
        let worker = Worker::new(self.parts, self.output);
        worker.map_err(|error| self.fail(error)).ok()
    }

    /// Leaves the output out from here on, for the first failure that comes.
    fn fail(&self, error: Error) {
        self.failed.raise();
        if let Ok(mut first) = self.failure.lock() {
            first.get_or_insert(error);
        }
    }

    fn outcome(self) -> Result<(), Error> {
        match self.failure.into_inner() {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(Error::Interrupted),
        }
    }
}

/// Produces all outputs, with so many threads, and tells of each what became of it.
pub fn run(
    passes: Vec<Pass<'_>>,
    threads: usize,
    observer: &dyn Observer,
    stop: &StopFlag,
) -> Vec<Result<(), Error>> {
    let next_chunk = AtomicU64::new(0);
    let chunks = passes.iter().map(Pass::chunks).max().unwrap_or(0);
    let work = || {
        let mut buffer = vec![0; to_usize(CHUNK_BYTES)];
        let mut workers: Vec<_> = passes.iter().map(Pass::worker).collect();
        loop {
            let chunk = next_chunk.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks || passes.iter().all(|pass| pass.failed.is_raised()) {
                break;
            }
            for (pass, worker) in passes.iter().zip(&mut workers) {
                let Some(worker) = worker else { continue };
                if pass.failed.is_raised() {
                    continue;
                }
                let produced = if stop.is_raised() {
                    Err(Error::Interrupted)
                } else {
                    worker.produce(chunk, &mut buffer)
                };
                match produced {
                    Ok(len_bytes) => observer.advance(len_bytes),
                    Err(error) => pass.fail(error),
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    passes.into_iter().map(Pass::outcome).collect()
}

/// Produces one output.
pub fn run_one(
    pass: Pass<'_>,
    threads: usize,
    observer: &dyn Observer,
    stop: &StopFlag,
) -> Result<(), Error> {
    let outcome = run(vec![pass], threads, observer, stop).pop();
    outcome.unwrap_or(Err(Error::Interrupted)) // what nobody answers for was not made
}

/// A part, and its place among those of its output.
#[derive(Clone, Copy)]
struct NumberedPart<'a> {
    number: usize,
    part: &'a Part<'a>,
}

/// The part that holds a chunk, and the chunk's offset within it.
fn locate<'a>(parts: &'a [Part<'a>], mut chunk: u64) -> Option<(NumberedPart<'a>, u64)> {
    for (number, part) in parts.iter().enumerate() {
        if chunk < part.chunks() {
            return Some((NumberedPart { number, part }, chunk * CHUNK_BYTES));
        }
        chunk -= part.chunks();
    }
    None
}

/// What a thread has of its own for an output: a cipher context.
struct Worker<'a> {
    parts: &'a [Part<'a>],
    output: &'a dyn WriteAt,
    cipher: Option<XtsCipher>,
    extent: Extent,
}

impl<'a> Worker<'a> {
    fn new(parts: &'a [Part<'a>], output: &'a dyn WriteAt) -> Result<Self, Error> {
        let encryption = parts.iter().find_map(|part| part.encryption);
        let cipher = encryption
            .map(|encryption| XtsCipher::new(encryption.volume_key, encryption.sector_size))
            .transpose()?;
        Ok(Self {
            parts,
            output,
            cipher,
            extent: Extent::default(),
        })
    }

    /// Produces one chunk and returns its length; 0 behind the last one.
    fn produce(&mut self, chunk: u64, buffer: &mut [u8]) -> Result<u64, Error> {
        let Some((numbered, offset)) = locate(self.parts, chunk) else {
            return Ok(0);
        };
        let part = numbered.part;
        let len = CHUNK_BYTES.min(part.len_bytes() - offset);
        if part.encryption.is_some() {
            self.encrypt(numbered, offset, &mut buffer[..to_usize(len)])?;
        } else {
            self.copy(numbered, offset, &mut buffer[..to_usize(len)])?;
        }
        Ok(len)
    }

    /// Copies what is live in a chunk, and leaves the rest a hole.
    fn copy(
        &mut self,
        numbered: NumberedPart<'_>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Error> {
        let part = numbered.part;
        let mut at = part.range.start + offset;
        let end = at + buffer.len() as u64;
        while let Some(live) = self.extent.next_live(numbered, at, end)? {
            let bytes = &mut buffer[..to_usize(live.end - live.start)];
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
        numbered: NumberedPart<'_>,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), Error> {
        let part = numbered.part;
        let start = part.range.start + offset;
        let len = bytes.len() as u64;
        let written = written(part, start..start + len);
        if written.is_empty() {
            return Ok(());
        }
        let mut at = start;
        while let Some(live) = self.extent.next_live(numbered, at, start + len)? {
            let (from, to) = (to_usize(live.start - start), to_usize(live.end - start));
            bytes[to_usize(at - start)..from].fill(0);
            part.source
                .read_exact_at(&mut bytes[from..to], live.start)
                .map_err(Error::Source)?;
            at = live.end;
        }
        bytes[to_usize(at - start)..].fill(0);
        if let (Some(cipher), Some(encryption)) = (self.cipher.as_mut(), part.encryption) {
            cipher.encrypt(encryption.first_unit + offset / 512, bytes)?;
        }
        for range in written {
            let bytes = &bytes[to_usize(range.start - start)..to_usize(range.end - start)];
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
