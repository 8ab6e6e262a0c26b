//! Raw, fixed VHD, or something else: what form a disk has in a file.
//!
//! The footer of a VHD comes first, then the beginning of the file; a raw disk has no header of its own, so it
//! is what is left, if a partition table was found. Where the table says that the disk fills the file, it is
//! raw whatever its last sector looks like: the backup header is there, a footer cannot be.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::format::{DiskFormat, OpenDisk, SourceFormat};
use super::other_format::{OtherFormat, bare_content, has};
use super::vhd::{COOKIE, FOOTER_BYTES, Footer};
use super::{Error, Result, Warning};
use base::storage::{ReadAt, Slice};

/// What a file was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// Its form.
    pub format: DiskFormat,
    /// Length of the disk; it starts with the file.
    pub disk_bytes: u64,
    /// What a user should know.
    pub warnings: Vec<Warning>,
}

impl Detected {
    /// The disk, as a window onto the file.
    pub fn disk<S: ReadAt>(&self, file: S) -> Result<Slice<S>> {
        Ok(Slice::new(file, 0, self.disk_bytes)?)
    }

    pub(super) fn open(self, file: impl ReadAt + 'static) -> Result<OpenDisk> {
        Ok(OpenDisk {
            format: SourceFormat::Written(self.format),
            disk: Box::new(self.disk(file)?),
            below: Vec::new(),
            warnings: self.warnings,
        })
    }
}

/// Tells the form of the disk in a file. `disk_end_bytes` is where the disk ends by its partition table, if
/// there is one.
pub fn detect(file: &dyn ReadAt, disk_end_bytes: Option<u64>) -> Result<Detected> {
    let len_bytes = file.len_bytes();
    if len_bytes == 0 {
        return Err(Error::Empty);
    }
    let fills_the_file = disk_end_bytes == Some(len_bytes);
    if !fills_the_file {
        if let Some(offset_bytes) = len_bytes.checked_sub(FOOTER_BYTES)
            && has(file, offset_bytes, &COOKIE)?
        {
            return fixed_vhd(file, offset_bytes);
        }
        if let Some(offset_bytes) = len_bytes.checked_sub(FOOTER_BYTES.saturating_sub(1))
            && has(file, offset_bytes, &COOKIE)?
        {
            return Err(Error::OtherFormat {
                format: OtherFormat::ShortFooterVhd,
            });
        }
    }
    if let Some(format) = OtherFormat::of(file)? {
        return Err(Error::OtherFormat { format });
    }
    if disk_end_bytes.is_none() {
        if let Some(content) = bare_content(file)? {
            return Err(Error::NotADisk { content });
        }
        // A boot sector without a GPT: the partition table's reader says what is wrong with it.
        if !has(file, 510, &[0x55, 0xaa])? {
            return Err(Error::NotAnImage { len_bytes });
        }
    }
    Ok(Detected {
        format: DiskFormat::Raw,
        disk_bytes: len_bytes,
        warnings: Vec::new(),
    })
}

/// The disk before a footer at `disk_bytes`, which fills the file.
fn fixed_vhd(file: &dyn ReadAt, disk_bytes: u64) -> Result<Detected> {
    let mut bytes = [0; 512];
    file.read_exact_at(&mut bytes, disk_bytes)?;
    let footer = Footer::parse(&bytes)?;
    let stated_bytes = footer.disk_bytes();
    if stated_bytes != disk_bytes {
        return Err(Error::VhdSize {
            stated_bytes,
            disk_bytes,
        });
    }
    let mut warnings = Vec::new();
    if !disk_bytes.is_multiple_of(1 << 20) {
        warnings.push(Warning::NotWholeMebibytes { disk_bytes });
    }
    let geometry_bytes = footer.disk_bytes_for_qemu();
    if geometry_bytes != disk_bytes {
        warnings.push(Warning::OtherSizeForQemu {
            disk_bytes,
            geometry_bytes,
        });
    }
    Ok(Detected {
        format: DiskFormat::FixedVhd,
        disk_bytes,
        warnings,
    })
}
