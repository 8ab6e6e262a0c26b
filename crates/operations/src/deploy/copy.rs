//! A copy of an image, for `--output`: shared with the source where the file system can, sparse everywhere.
//!
//! `copy_file_range` shares blocks on file systems that can (btrfs, XFS), copies within the kernel on others. A range is
//! left out: both copies of the LUKS2 header, so that the copy has never held the clear key.

use std::fs::File;
use std::ops::Range;

use super::error::Error;
use crate::{Observer, StopFlag};
use base::number::to_usize;
use base::storage::{self, FileStorage, ReadAt, WriteAt};
use image::Source;

/// How much is copied at a time, so that a stop is heard.
const CHUNK_BYTES: u64 = 64 << 20;

/// Bytes at a time where the kernel does not copy.
const BUFFER_BYTES: usize = 1 << 20;

/// How many bytes of data there are to copy.
pub fn data_bytes(source: &Source, left_out: &Range<u64>) -> Result<u64, Error> {
    let ranges = data(source, left_out).map_err(Error::Copy)?;
    Ok(ranges.iter().map(|range| range.end - range.start).sum())
}

/// True where the copy shares its blocks with the source, and takes no room of its own: tried on an empty range of an
/// unnamed file.
pub fn can_share(source: &Source, folder: &std::path::Path) -> bool {
    let Ok(file) = tempfile::tempfile_in(folder) else {
        return false;
    };
    rustix::fs::ioctl_ficlone(&file, source.storage().file()).is_ok()
}

/// Copies the source's data, but for a range, into a file of the same length that is all holes.
pub fn copy(
    source: &Source,
    output: &FileStorage,
    left_out: &Range<u64>,
    observer: &dyn Observer,
    stop: &StopFlag,
) -> Result<(), Error> {
    let mut by_kernel = true;
    for range in data(source, left_out).map_err(Error::Copy)? {
        let mut at = range.start;
        while at < range.end {
            if stop.is_raised() {
                return Err(crate::Error::Interrupted.into());
            }
            let end = range.end.min(at.saturating_add(CHUNK_BYTES));
            let copied = if by_kernel {
                copy_by_kernel(source.storage().file(), output.file(), at..end)
            } else {
                copy_by_buffer(source, output, at..end).map_err(Error::Copy)?;
                end - at
            };
            // What the kernel does not copy (another file system, a file system without it) goes through a buffer.
            by_kernel &= copied > 0;
            observer.advance(copied);
            at += copied;
        }
    }
    Ok(())
}

/// Ranges of data, but for those in `left_out`.
fn data(source: &Source, left_out: &Range<u64>) -> storage::Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(range) = source.next_data(at)? {
        at = range.end;
        let before = range.start..range.end.min(left_out.start);
        let behind = range.start.max(left_out.end)..range.end;
        ranges.extend([before, behind].into_iter().filter(|part| !part.is_empty()));
    }
    Ok(ranges)
}

/// How many bytes the kernel copied; 0 where it does not.
fn copy_by_kernel(source: &File, output: &File, range: Range<u64>) -> u64 {
    let (mut from, mut to) = (range.start, range.start);
    let len = to_usize(range.end - range.start);
    let copied = rustix::fs::copy_file_range(source, Some(&mut from), output, Some(&mut to), len);
    copied.map_or(0, |copied| copied as u64)
}

fn copy_by_buffer(source: &Source, output: &FileStorage, range: Range<u64>) -> storage::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = range.start;
    while at < range.end {
        let len =
            usize::try_from(range.end - at).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
        let piece = &mut buffer[..len];
        source.read_exact_at(piece, at)?;
        output.write_all_at(piece, at)?;
        at += len as u64;
    }
    Ok(())
}
