//! The forms that a disk has in a file, and what a file was opened as.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::vhd::FOOTER_BYTES;
use super::{Error, Result, Warning};
use base::storage::ReadAt;

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

/// A file that the user named as the one below an image.
#[derive(Clone)]
pub struct BackingFile {
    /// Its name, for messages.
    pub path: PathBuf,
    /// Its bytes.
    pub file: Arc<dyn ReadAt>,
    /// Where its disk ends by its partition table, if the file begins with one.
    pub disk_end_bytes: Option<u64>,
}

/// The format of a backing file that is stated in the image above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackingFormat {
    /// The disk's bytes, whatever they are.
    Raw,
    /// A fixed or a dynamic VHD.
    Vhd,
    /// QEMU copy-on-write.
    Qcow2,
    /// The format of `VMware`.
    Vmdk,
    /// Hyper-V's later format.
    Vhdx,
}

impl BackingFormat {
    /// The format that QEMU gives this name.
    pub fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"raw" => Self::Raw,
            b"vpc" => Self::Vhd,
            b"qcow2" => Self::Qcow2,
            b"vmdk" => Self::Vmdk,
            b"vhdx" => Self::Vhdx,
            _ => return None,
        })
    }
}

impl fmt::Display for BackingFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Vhd => "VHD",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "VMDK",
            Self::Vhdx => "VHDX",
        })
    }
}

/// Fails where a file was named below an image that has none below it.
pub(super) fn refuse(below: &[BackingFile]) -> Result<()> {
    match below.first() {
        None => Ok(()),
        Some(file) => Err(Error::NoBackingFile {
            named: file.path.clone(),
        }),
    }
}
