//! Ranges of large, sparse files: copied, compared, searched and digested without keeping them in memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

/// How much is read at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// An open file and its length.
#[track_caller]
pub fn open(path: &Path) -> (File, u64) {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let len_bytes = file.metadata().unwrap().len();
    (file, len_bytes)
}

/// A file that can be read and written, and that is there already.
#[track_caller]
pub fn open_to_write(path: &Path) -> File {
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Bytes of a file.
#[track_caller]
pub fn read(path: &Path, offset_bytes: u64, len_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; len_bytes];
    open(path)
        .0
        .read_exact_at(&mut bytes, offset_bytes)
        .unwrap();
    bytes
}

/// Writes bytes into a file that is there already.
#[track_caller]
pub fn write(path: &Path, offset_bytes: u64, bytes: &[u8]) {
    open_to_write(path)
        .write_all_at(bytes, offset_bytes)
        .unwrap();
}

/// Inverts one byte of a file.
#[track_caller]
pub fn flip(path: &Path, offset_bytes: u64) {
    let byte = read(path, offset_bytes, 1)[0];
    write(path, offset_bytes, &[!byte]);
}

/// The ranges of `range` that are no holes, each at most [`CHUNK_BYTES`] long.
pub fn data_ranges(file: &File, range: Range<u64>) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) if start < range.end => start,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(error) => panic!("SEEK_DATA: {}", io::Error::from(error)),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))
            .unwrap()
            .min(range.end);
        let mut from = start.max(at);
        while from < end {
            let to = end.min(from + CHUNK_BYTES);
            found.push(from..to);
            from = to;
        }
        at = end;
    }
    found
}

/// Calls `see` with each stretch of data in a range of a file; holes are left out.
fn each_data(file: &File, range: Range<u64>, mut see: impl FnMut(u64, &[u8])) {
    let mut buffer = vec![0; usize::try_from(CHUNK_BYTES).unwrap()];
    for data in data_ranges(file, range) {
        let bytes = &mut buffer[..usize::try_from(data.end - data.start).unwrap()];
        file.read_exact_at(bytes, data.start).unwrap();
        see(data.start, bytes);
    }
}

/// Copies a range of one file to an offset of another, leaving holes (and blocks of zeros) as they are there.
pub fn copy(from: &File, range: Range<u64>, to: &File, to_bytes: u64) {
    let start = range.start;
    each_data(from, range, |offset, bytes| {
        for (index, block) in bytes.chunks(4096).enumerate() {
            if !is_zero(block) {
                let at = offset - start + to_bytes + index as u64 * 4096;
                to.write_all_at(block, at).unwrap();
            }
        }
    });
}

/// Copies a whole file with its holes.
#[track_caller]
pub fn copy_file(from: &Path, to: &Path) {
    let (source, len_bytes) = open(from);
    let copied = File::create_new(to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    copied.set_len(len_bytes).unwrap();
    copy(&source, 0..len_bytes, &copied, 0);
}

/// True where all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    // Whole words first: the test binaries are not optimised.
    bytes == &ZEROS[..bytes.len().min(ZEROS.len())]
        || (bytes.len() > ZEROS.len() && bytes.chunks(ZEROS.len()).all(is_zero))
}

static ZEROS: [u8; 4096] = [0; 4096];

/// The offset of the first byte that is not zero in a range of a file.
pub fn first_not_zero(file: &File, range: Range<u64>) -> Option<u64> {
    let mut first = None;
    each_data(file, range, |offset, bytes| {
        if first.is_none() && !is_zero(bytes) {
            let index = bytes.iter().position(|byte| *byte != 0).unwrap();
            first = Some(offset + index as u64);
        }
    });
    first
}

/// The offset (in the first file) of the first byte in which ranges of two files differ.
pub fn first_difference(
    one: &File,
    range: Range<u64>,
    other: &File,
    other_bytes: u64,
) -> Option<u64> {
    let size = usize::try_from(CHUNK_BYTES).unwrap();
    let (mut left, mut right) = (vec![0; size], vec![0; size]);
    let mut at = range.start;
    while at < range.end {
        let len = usize::try_from((range.end - at).min(CHUNK_BYTES)).unwrap();
        one.read_exact_at(&mut left[..len], at).unwrap();
        other
            .read_exact_at(&mut right[..len], at - range.start + other_bytes)
            .unwrap();
        if left[..len] != right[..len] {
            return (0..len)
                .find(|index| left[*index] != right[*index])
                .map(|index| at + index as u64);
        }
        at += len as u64;
    }
    None
}

/// The offset of the first place where a file holds `needle`.
pub fn find(path: &Path, needle: &[u8]) -> Option<u64> {
    let (file, len_bytes) = open(path);
    let mut tail = Vec::new();
    let mut found = None;
    each_data(&file, 0..len_bytes, |offset, bytes| {
        let kept = tail.len() as u64;
        tail.extend_from_slice(bytes);
        if found.is_none() {
            found = find_in(&tail, needle).map(|index| offset - kept + index as u64);
        }
        tail.drain(..tail.len() - (needle.len() - 1).min(tail.len()));
    });
    found
}

/// The index of the first place where `bytes` hold `needle`.
pub fn find_in(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(index) = bytes[from..].iter().position(|byte| *byte == needle[0]) {
        if bytes[from + index..].starts_with(needle) {
            return Some(from + index);
        }
        from += index + 1;
    }
    None
}

/// SHA-256 over a file's length and all of its data that is not zero, with the places.
pub fn digest(path: &Path) -> [u8; 32] {
    let (file, len_bytes) = open(path);
    let mut hash = Sha256::new();
    hash.update(len_bytes.to_le_bytes());
    each_data(&file, 0..len_bytes, |offset, bytes| {
        for (index, block) in bytes.chunks(4096).enumerate() {
            if !is_zero(block) {
                hash.update((offset + index as u64 * 4096).to_le_bytes());
                hash.update(block);
            }
        }
    });
    hash.finalize().into()
}
