//! A disk that lies in a file in pieces, by a map of its format: what QEMU, `VMware` and Hyper-V have in common.
//!
//! The format says of a byte of the disk where the piece lies that it belongs to ([`Map::locate`]): nowhere, in the
//! file, compressed in the file, or on the disk below. [`Mapped`] reads by that, tells the data's extents, and keeps a
//! few unpacked pieces, so that neighbouring reads do not unpack one twice. The file's last unit may be cut short where
//! zeros follow; what should lie behind it is an error and no zeros: the file was cut off.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use base::number::to_usize;
use base::storage::{self, ReadAt, check_range};

/// How many unpacked pieces are kept; a piece has 2 MiB at most.
const KEPT_PIECES: usize = 8;

/// Extents are joined up to here, so that reads are long and the map is not walked far ahead of them.
const JOINED_BYTES: u64 = 8 << 20;

/// Where a piece of a disk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: zeros.
    Hole,
    /// On the disk below, at the same offset; zeros where there is none.
    Below,
    /// At this offset of the file.
    At(u64),
    /// In a compressed unit, so many bytes from its beginning.
    Packed {
        /// The unit.
        unit: Unit,
        /// Where in the unpacked unit.
        within_bytes: u64,
    },
}

/// A unit that is unpacked whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    /// Where it lies in the file.
    pub offset_bytes: u64,
    /// Its compressed length, or more: bytes behind it do not matter.
    pub packed_bytes: usize,
    /// Its length when it is unpacked.
    pub plain_bytes: usize,
    /// How it is compressed.
    pub method: Method,
}

/// How a unit is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// RFC 1951.
    Deflate,
    /// RFC 1950.
    Zlib,
    /// RFC 8878.
    Zstd,
}

/// What a format says about where a disk lies.
pub(super) trait Map: Send + Sync {
    /// Length of the disk.
    fn disk_bytes(&self) -> u64;

    /// The unit in which the file grows: its end stands for the next multiple of this, with zeros.
    fn unit_bytes(&self) -> u64;

    /// Where the byte at `offset_bytes`, which is on the disk, lies, and the offset behind the last byte of the disk
    /// that follows it there. That is behind `offset_bytes`, and at the end of the disk at the latest.
    fn locate(&self, file: &dyn ReadAt, offset_bytes: u64) -> storage::Result<(Place, u64)>;
}

/// A disk by its map.
pub(super) struct Mapped<S, M> {
    file: S,
    map: M,
    below: Option<Box<dyn ReadAt>>,
    unpacked: Cache<Vec<u8>>,
    file_data: Asked,
    below_data: Asked,
}

impl<S: ReadAt, M: Map> Mapped<S, M> {
    /// The disk in `file`; `below` is what [`Place::Below`] stands for.
    pub fn new(file: S, map: M, below: Option<Box<dyn ReadAt>>) -> Self {
        Self {
            file,
            map,
            below,
            unpacked: Cache::new(KEPT_PIECES),
            file_data: Asked::default(),
            below_data: Asked::default(),
        }
    }

    fn read_piece(&self, place: Place, piece: &mut [u8], offset_bytes: u64) -> storage::Result<()> {
        match place {
            Place::Hole => piece.fill(0),
            Place::Below => self.read_below(piece, offset_bytes)?,
            Place::At(start) => self.read_file(piece, start)?,
            Place::Packed { unit, within_bytes } => {
                let load = || unpack(&self.file, unit);
                let plain = self.unpacked.get(unit.offset_bytes, load)?;
                let within = to_usize(within_bytes);
                let end = within.saturating_add(piece.len());
                let Some(bytes) = plain.get(within..end) else {
                    return Err(damaged(unit.offset_bytes, "a compressed piece is short"));
                };
                piece.copy_from_slice(bytes);
            }
        }
        Ok(())
    }

    /// The end of the file's last unit.
    fn file_end(&self) -> u64 {
        let end = self.file.len_bytes();
        end.checked_next_multiple_of(self.map.unit_bytes())
            .unwrap_or(end)
    }

    /// Reads what the file has from `start` on, and zeros to the end of its last unit.
    fn read_file(&self, piece: &mut [u8], start: u64) -> storage::Result<()> {
        if check_range(start, piece.len(), self.file_end()).is_err() {
            // For its error.
            return self.file.read_exact_at(piece, start);
        }
        let left = self.file.len_bytes().saturating_sub(start);
        let count = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
        let (there, behind) = piece.split_at_mut(count);
        behind.fill(0);
        if there.is_empty() {
            return Ok(());
        }
        self.file.read_exact_at(there, start)
    }

    /// Reads the disk below, which may be shorter: then zeros follow.
    fn read_below(&self, piece: &mut [u8], offset_bytes: u64) -> storage::Result<()> {
        let Some(below) = &self.below else {
            piece.fill(0);
            return Ok(());
        };
        let left = below.len_bytes().saturating_sub(offset_bytes);
        let count = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
        let (there, behind) = piece.split_at_mut(count);
        behind.fill(0);
        if there.is_empty() {
            return Ok(());
        }
        below.read_exact_at(there, offset_bytes)
    }

    /// The first data of the disk in a piece `from..end` that lies at `place`.
    fn data_within(
        &self,
        place: Place,
        from: u64,
        end: u64,
    ) -> storage::Result<Option<Range<u64>>> {
        let found = match place {
            Place::Hole => None,
            Place::Packed { .. } => Some(from..end),
            Place::Below => match &self.below {
                Some(below) if from < below.len_bytes() => {
                    self.below_data.next_data(below, from, below.len_bytes())?
                }
                _ => None,
            },
            Place::At(start) => self.file_data(start)?.map(|data| {
                let on_disk = |at: u64| from.saturating_add(at.saturating_sub(start));
                on_disk(data.start)..on_disk(data.end)
            }),
        };
        Ok(found
            .map(|data| data.start.max(from)..data.end.min(end))
            .filter(|data| !data.is_empty()))
    }

    /// The file's first data at or behind `from`. What lies behind the file's last unit counts as data, for the read
    /// that fails.
    fn file_data(&self, from: u64) -> storage::Result<Option<Range<u64>>> {
        let file_end = self.file_end();
        if from >= file_end {
            return Ok(Some(from..u64::MAX));
        }
        self.file_data.next_data(&self.file, from, file_end)
    }
}

impl<S: ReadAt, M: Map> ReadAt for Mapped<S, M> {
    fn len_bytes(&self) -> u64 {
        self.map.disk_bytes()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> storage::Result<()> {
        check_range(offset_bytes, buffer.len(), self.len_bytes())?;
        let (mut rest, mut from) = (buffer, offset_bytes);
        while !rest.is_empty() {
            let (place, end) = self.map.locate(&self.file, from)?;
            let room = to_usize(end.saturating_sub(from));
            let (piece, behind) = rest.split_at_mut(room.min(rest.len()));
            self.read_piece(place, piece, from)?;
            (rest, from) = (behind, end);
        }
        Ok(())
    }

    fn next_data(&self, from_bytes: u64) -> storage::Result<Option<Range<u64>>> {
        let mut from = from_bytes;
        let mut joined: Option<Range<u64>> = None;
        while from < self.len_bytes() {
            let (place, end) = self.map.locate(&self.file, from)?;
            let data = self.data_within(place, from, end)?;
            joined = match (joined, data) {
                (None, None) => None,
                (None, Some(data)) => Some(data),
                (Some(before), Some(data)) if data.start == before.end => {
                    Some(before.start..data.end)
                }
                (Some(before), _) => return Ok(Some(before)),
            };
            match &joined {
                Some(joined) if joined.end < end => break,
                Some(joined) if joined.end.saturating_sub(joined.start) >= JOINED_BYTES => break,
                _ => from = end,
            }
        }
        Ok(joined)
    }
}

/// The last answer of a storage about its data, and for what: asking can cost the kernel a walk over a file, or a map
/// below a walk over its tables.
#[derive(Default)]
struct Asked(Mutex<Option<(u64, Range<u64>)>>);

impl Asked {
    /// The first data of `storage` at or behind `from`, which lies before its `end`; it may be empty at the end.
    fn next_data(
        &self,
        storage: &dyn ReadAt,
        from: u64,
        end: u64,
    ) -> storage::Result<Option<Range<u64>>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, data)) = &*last
            && (*asked..data.end).contains(&from)
        {
            return Ok(Some(data.start.max(from)..data.end));
        }
        let found = storage.next_data(from)?;
        *last = Some((from, found.clone().unwrap_or(end..end)));
        Ok(found)
    }
}

/// Reads a unit and unpacks it, in full.
fn unpack(file: &dyn ReadAt, unit: Unit) -> storage::Result<Vec<u8>> {
    let left = file.len_bytes().saturating_sub(unit.offset_bytes);
    let count = usize::try_from(left).map_or(unit.packed_bytes, |left| left.min(unit.packed_bytes));
    if count == 0 {
        return file.read_vec(unit.offset_bytes, unit.packed_bytes);
    }
    let packed = file.read_vec(unit.offset_bytes, count)?;
    let mut plain = vec![0; unit.plain_bytes];
    let is_whole = match unit.method {
        Method::Deflate => inflate(&packed, &mut plain, false),
        Method::Zlib => inflate(&packed, &mut plain, true),
        Method::Zstd => unpack_zstd(&packed, &mut plain),
    };
    if is_whole {
        Ok(plain)
    } else {
        Err(damaged(
            unit.offset_bytes,
            "a compressed piece of the disk is damaged",
        ))
    }
}

/// True where `plain` was filled.
fn inflate(packed: &[u8], plain: &mut [u8], has_header: bool) -> bool {
    let mut decompress = flate2::Decompress::new(has_header);
    let end = flate2::FlushDecompress::Finish;
    let status = decompress.decompress(packed, plain, end);
    status.is_ok() && decompress.total_out() == plain.len() as u64
}

/// True where `plain` was filled.
fn unpack_zstd(mut packed: &[u8], plain: &mut [u8]) -> bool {
    // A window that is larger than what it is to hold has no use; the encoder rounds up.
    let window = (plain.len() as u64).saturating_mul(2).max(1 << 20);
    ruzstd::decoding::StreamingDecoder::new_with_max_window_size(&mut packed, window)
        .is_ok_and(|mut decoder| io::Read::read_exact(&mut decoder, plain).is_ok())
}

/// An error of a read: what lies at this offset of the file is not as it should be.
pub(super) fn damaged(
    offset_bytes: u64,
    what: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> storage::Error {
    storage::Error::Read {
        offset_bytes,
        source: io::Error::new(io::ErrorKind::InvalidData, what),
    }
}

/// The last few values that were loaded, by a key.
pub(super) struct Cache<T> {
    kept: usize,
    entries: Mutex<VecDeque<(u64, Arc<T>)>>,
}

impl<T> Cache<T> {
    /// Keeps so many values.
    pub fn new(kept: usize) -> Self {
        Self {
            kept,
            entries: Mutex::new(VecDeque::new()),
        }
    }

    /// The value of a key, loaded where it is not there. Two threads may load one value at the same time.
    pub fn get<E>(&self, key: u64, load: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let lock = || self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // The newest first: reads go forward.
        if let Some((_, value)) = lock().iter().rev().find(|(other, _)| *other == key) {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(load()?);
        let mut entries = lock();
        if entries.len() >= self.kept {
            entries.pop_front();
        }
        entries.push_back((key, Arc::clone(&value)));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::storage::MemoryStorage;

    /// Pieces of 10 bytes: a hole, below, at 0, at 10 (cut after 5), at 100 (behind the end).
    struct Tens;

    impl Map for Tens {
        fn disk_bytes(&self) -> u64 {
            50
        }
        fn unit_bytes(&self) -> u64 {
            10
        }
        fn locate(&self, _: &dyn ReadAt, offset_bytes: u64) -> storage::Result<(Place, u64)> {
            let (piece, within) = (offset_bytes / 10, offset_bytes % 10);
            let place = match piece {
                0 => Place::Hole,
                1 => Place::Below,
                2 => Place::At(within),
                3 => Place::At(10 + within),
                _ => Place::At(100 + within),
            };
            Ok((place, (piece + 1) * 10))
        }
    }

    fn disk() -> Mapped<MemoryStorage, Tens> {
        let below = Box::new(MemoryStorage::new(vec![2; 14]));
        Mapped::new(MemoryStorage::new(vec![1; 15]), Tens, Some(below))
    }

    #[test]
    fn pieces_come_from_where_the_map_says() {
        let expected = [
            vec![0; 10],
            vec![2; 4],
            vec![0; 6],
            vec![1; 10],
            vec![1; 5],
            vec![0; 5],
        ];
        let expected = expected.concat();
        let disk = disk();
        assert_eq!(disk.read_vec(0, 40).unwrap(), expected);
        for from in 0..40 {
            assert_eq!(
                disk.read_vec(from as u64, 1).unwrap(),
                expected[from..=from]
            );
        }
        assert!(matches!(
            disk.read_vec(35, 6),
            Err(storage::Error::BeyondEnd {
                offset_bytes: 100,
                ..
            })
        ));
    }

    #[test]
    fn extents_are_those_of_the_pieces_and_joined() {
        let disk = disk();
        assert_eq!(disk.next_data(0).unwrap(), Some(10..14));
        assert_eq!(disk.next_data(12).unwrap(), Some(12..14));
        assert_eq!(disk.next_data(14).unwrap(), Some(20..35));
        // What is missing is told as data, so that it is not taken for zeros.
        assert_eq!(disk.next_data(35).unwrap(), Some(40..50));
        assert_eq!(disk.next_data(50).unwrap(), None);
    }

    #[test]
    fn the_cache_loads_once_and_forgets_the_oldest() {
        let cache = Cache::new(2);
        let mut loads = Vec::new();
        for key in [1, 1, 2, 1, 3, 2, 1] {
            let load = || {
                loads.push(key);
                Ok::<_, ()>(key)
            };
            assert_eq!(*cache.get(key, load).unwrap(), key);
        }
        assert_eq!(loads, [1, 2, 3, 1]);
    }
}
