//! Raw, fixed VHD, or something else: what form a disk has in a file.
//!
//! The footer of a VHD comes first, then the beginning of the file; a raw disk has no header of its own, so it
//! is what is left, if a partition table was found. Where the table says that the disk fills the file, it is
//! raw whatever its last sector looks like: the backup header is there, a footer cannot be.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::fmt;

use super::backing::{self, BackingFile};
use super::dynamic_vhd::DynamicVhd;
use super::other_format::{OtherFormat, bare_content, has};
use super::vhd::{COOKIE, FOOTER_BYTES, Footer};
use super::{Error, Result, Warning, qcow2, vhdx, vmdk};
use base::storage::{ReadAt, Slice};

/// A form of a disk in a file that we read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// The disk's bytes alone.
    Raw,
    /// The disk's bytes and a footer of 512 bytes.
    FixedVhd,
}

impl DiskFormat {
    /// Length of a file that holds a disk of `disk_bytes` bytes; `None` where that is more than 2^64.
    pub fn file_bytes(self, disk_bytes: u64) -> Option<u64> {
        match self {
            Self::Raw => Some(disk_bytes),
            Self::FixedVhd => disk_bytes.checked_add(FOOTER_BYTES),
        }
    }
}

/// A form of a disk in a file that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFormat {
    /// One that is written, too.
    Written(DiskFormat),
    /// A VHD with a block allocation table.
    DynamicVhd,
    /// QEMU copy-on-write.
    Qcow2,
    /// The format of `VMware`, in one file.
    Vmdk,
    /// Hyper-V's later format.
    Vhdx,
}

impl SourceFormat {
    /// The form of an output for which nothing else is asked: the same where it is written, a fixed VHD for a dynamic
    /// one, raw for the others.
    pub fn of_output(self) -> DiskFormat {
        match self {
            Self::Written(format) => format,
            Self::DynamicVhd => DiskFormat::FixedVhd,
            Self::Qcow2 | Self::Vmdk | Self::Vhdx => DiskFormat::Raw,
        }
    }

    /// True where a file of this format can give its name to what [`of_output`](Self::of_output) says: its name
    /// promises no other.
    pub fn is_replaced_by_its_output(self) -> bool {
        matches!(self, Self::Written(_) | Self::DynamicVhd)
    }
}

impl fmt::Display for SourceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Written(DiskFormat::Raw) => "raw",
            Self::Written(DiskFormat::FixedVhd) => "fixed VHD",
            Self::DynamicVhd => "dynamic VHD",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "VMDK",
            Self::Vhdx => "VHDX",
        })
    }
}

/// The disk in a file of any form that is read.
pub struct OpenDisk {
    /// The form of the file.
    pub format: SourceFormat,
    /// The disk's bytes.
    pub disk: Box<dyn ReadAt>,
    /// The forms of the files below it, from the top down.
    pub below: Vec<SourceFormat>,
    /// What a user should know.
    pub warnings: Vec<Warning>,
}

/// Opens the disk in a file; `disk_end_bytes` as for [`detect`].
pub fn open_disk(file: impl ReadAt + 'static, disk_end_bytes: Option<u64>) -> Result<OpenDisk> {
    open_disk_over(file, disk_end_bytes, &[])
}

/// The same for a file that may hold the changes to another one, which is the first of `below`, and that to the next.
pub fn open_disk_over(
    file: impl ReadAt + 'static,
    disk_end_bytes: Option<u64>,
    below: &[BackingFile],
) -> Result<OpenDisk> {
    match detect(&file, disk_end_bytes) {
        Ok(detected) => {
            backing::refuse(below)?;
            detected.open(file)
        }
        Err(Error::OtherFormat { format }) => open_virtual(file, format, below),
        Err(error) => Err(error),
    }
}

/// Opens the disk in a file of a format that has a map of the disk.
pub(super) fn open_virtual(
    file: impl ReadAt + 'static,
    format: OtherFormat,
    below: &[BackingFile],
) -> Result<OpenDisk> {
    let mut warnings = Vec::new();
    let (format, disk): (_, Box<dyn ReadAt>) = match format {
        OtherFormat::Qcow2 => return qcow2::open(file, below),
        OtherFormat::DynamicVhd => {
            let disk = DynamicVhd::open(file)?;
            warnings = disk.warnings();
            (SourceFormat::DynamicVhd, Box::new(disk))
        }
        OtherFormat::Vmdk => (SourceFormat::Vmdk, vmdk::open(file)?),
        OtherFormat::Vhdx => (SourceFormat::Vhdx, vhdx::open(file)?),
        format => return Err(Error::OtherFormat { format }),
    };
    backing::refuse(below)?;
    Ok(OpenDisk {
        format,
        disk,
        below: Vec::new(),
        warnings,
    })
}

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
