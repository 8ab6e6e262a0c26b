//! What a qcow2 image says of the file below it: a name, which is shown and never followed, and a format.
//!
//! The format stands in an extension of the header. Extensions lie between the header and the backing file's name, each
//! of them a type and a length of four bytes each, then so many bytes, filled up to a multiple of 8; type 0 ends them.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::{Header, Qcow2Defect, VERSION_2_BYTES, power_of_two};
use crate::Result;
use crate::format::BackingFormat;
use base::number::to_usize;
use base::storage::{ReadAt, check_range};

/// Longest name of a backing file.
const MAX_NAME_BYTES: u32 = 1023;

/// Type of the extension that holds the format of the backing file.
const FORMAT: [u8; 4] = 0xe279_2aca_u32.to_be_bytes();
/// Type that ends the extensions.
const END: [u8; 4] = [0; 4];

/// Longest name of a format that is shown.
const SHOWN_BYTES: usize = 16;

/// The file below an image, as the image has it.
pub(super) struct Backing {
    /// Its name, without control characters.
    pub name: String,
    /// The name of its format; empty where none is stated.
    format: Vec<u8>,
}

impl Backing {
    /// Reads it; `None` where nothing is below. An empty name is none, to QEMU as well.
    pub fn read(file: &dyn ReadAt, header: &Header) -> Result<Option<Self>> {
        let offset_bytes = header.backing_file_offset.get();
        let length = header.backing_file_bytes.get().min(MAX_NAME_BYTES);
        if offset_bytes == 0 || length == 0 {
            return Ok(None);
        }
        let length = to_usize(length.into());
        if check_range(offset_bytes, length, file.len_bytes()).is_err() {
            let what = "backing file's name";
            return Err(Qcow2Defect::BeyondEnd { what, offset_bytes }.into());
        }
        let name = file.read_vec(offset_bytes, length)?;
        Ok(Some(Self {
            name: shown(&name),
            format: stated_format(file, header)?,
        }))
    }

    /// Its format, where one is stated.
    pub fn format(&self) -> Result<Option<BackingFormat>> {
        if self.format.is_empty() {
            return Ok(None);
        }
        let shown_bytes = self.format.get(..SHOWN_BYTES).unwrap_or(&self.format);
        let unknown = || Qcow2Defect::BackingFormat {
            format: shown(shown_bytes),
        };
        Ok(Some(BackingFormat::of(&self.format).ok_or_else(unknown)?))
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// The name in the last extension that holds one: QEMU takes that, too.
fn stated_format(file: &dyn ReadAt, header: &Header) -> Result<Vec<u8>> {
    let start = match header.version.get() {
        2 => VERSION_2_BYTES as u64,
        _ => header.length.get().into(),
    };
    // 2 MiB at most, whatever the header says.
    let cluster_bytes = power_of_two(header.cluster_bits.get());
    let end = header.backing_file_offset.get();
    let end = end.min(cluster_bytes).min(file.len_bytes());
    let length = to_usize(end.saturating_sub(start));
    let extensions = if length == 0 {
        Vec::new()
    } else {
        file.read_vec(start, length)?
    };
    let (mut rest, mut format) = (&extensions[..], &[][..]);
    while let Some((kind, behind)) = rest.split_first_chunk::<4>()
        && *kind != END
        && let Some((length, behind)) = behind.split_first_chunk::<4>()
    {
        let length = to_usize(u32::from_be_bytes(*length).into());
        let Some((data, _)) = behind.split_at_checked(length) else {
            let offset_bytes = end.saturating_sub(rest.len() as u64);
            return Err(Qcow2Defect::Extension { offset_bytes }.into());
        };
        if *kind == FORMAT {
            format = data;
        }
        // The last one may end without its filling.
        let padded = length.next_multiple_of(8);
        rest = behind.get(padded..).unwrap_or_default();
    }
    Ok(format.to_vec())
}
