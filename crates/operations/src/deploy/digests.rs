//! Digests of the image before and after, in one pass over it before anything is written.

use aws_lc_rs::digest::{Context, SHA256};

use super::error::Error;
use super::step::Step;
use crate::{Observer, StopFlag};
use base::number::to_usize;
use base::storage::{Overlay, ReadAt, WriteAt};

/// How much is read at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// SHA-256 of a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// As it is.
    pub input: [u8; 32],
    /// With the steps written.
    pub output: [u8; 32],
}

/// Reads `image` once, for what it is. Holes are not read.
pub fn digest(
    image: &dyn ReadAt,
    observer: &dyn Observer,
    stop: &StopFlag,
) -> Result<[u8; 32], Error> {
    Ok(digests(image, &[], observer, stop)?.input)
}

/// Reads `image` once, for what it is and what the steps make of it. Holes are not read.
pub fn digests(
    image: &dyn ReadAt,
    steps: &[Step],
    observer: &dyn Observer,
    stop: &StopFlag,
) -> Result<Digests, Error> {
    let changed = Overlay::new(image);
    for write in steps.iter().flat_map(|step| &step.writes) {
        let written = changed.write_all_at(&write.bytes, write.offset_bytes);
        written.map_err(crate::Error::Source)?;
    }
    let ranges = changed.changed_ranges();
    let mut input = Context::new(&SHA256);
    let mut output = (!ranges.is_empty()).then(|| Context::new(&SHA256));
    let mut buffer = vec![0; to_usize(CHUNK_BYTES)];
    let zeros = buffer.clone();
    let mut at = 0;
    while at < image.len_bytes() {
        if stop.is_raised() {
            return Err(crate::Error::Interrupted.into());
        }
        let end = image.len_bytes().min(at + CHUNK_BYTES);
        let len = to_usize(end - at);
        let is_changed = ranges
            .iter()
            .any(|range| range.start < end && at < range.end);
        let data = image.next_data(at).map_err(crate::Error::Source)?;
        if data.is_some_and(|data| data.start < end) {
            let read = image.read_exact_at(&mut buffer[..len], at);
            read.map_err(crate::Error::Source)?;
            input.update(&buffer[..len]);
        } else {
            buffer[..len].fill(0);
            input.update(&zeros[..len]);
        }
        if is_changed {
            let read = changed.read_exact_at(&mut buffer[..len], at);
            read.map_err(crate::Error::Source)?;
        }
        if let Some(output) = &mut output {
            output.update(&buffer[..len]);
        }
        observer.advance(end - at);
        at = end;
    }
    let bytes = |context: Context| {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        bytes
    };
    let input = bytes(input);
    Ok(Digests {
        input,
        output: output.map_or(input, bytes),
    })
}
