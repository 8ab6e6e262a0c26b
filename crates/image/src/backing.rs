//! Backing files: what lies below an image that holds the changes to another one.
//!
//! An image names the file below it, and whoever wrote the image chose that name: a guest's disk could name any file of
//! the machine that reads it. So a stored name is never followed. The user names the files, from the top down
//! ([`BackingFile`]), and those are read; one too few or one too many is an error.
//!
//! The image states the format of the file below it, too, and that is believed: *raw* bytes are a disk whatever they
//! look like, since a guest that owned such a disk chose its first sector, a header of a qcow2 image for one. Where no
//! format is stated, the file that the user named is told by what it holds, as a source is, with a warning.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::detect::{DiskFormat, OpenDisk, SourceFormat, detect, open_disk_over, open_virtual};
use super::other_format::OtherFormat;
use super::{Error, Result, Warning};
use base::storage::ReadAt;

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

/// Opens the disk in a backing file, which lies on those `below` it.
pub(super) fn open(
    file: &BackingFile,
    stated: Option<BackingFormat>,
    below: &[BackingFile],
) -> Result<OpenDisk> {
    let opened = match stated {
        Some(stated) => open_as(file, stated, below),
        None => open_by_content(file, below),
    };
    opened.map_err(|problem| Error::BackingFile {
        path: file.path.clone(),
        problem: Box::new(problem),
    })
}

fn open_as(file: &BackingFile, stated: BackingFormat, below: &[BackingFile]) -> Result<OpenDisk> {
    let bytes = Arc::clone(&file.file);
    let no_such = Error::NotAsStated { stated };
    let found = match stated {
        BackingFormat::Raw => return raw(file, below),
        BackingFormat::Vhd => match detect(&bytes, None) {
            Ok(detected) if detected.format == DiskFormat::FixedVhd => {
                refuse(below)?;
                return detected.open(bytes);
            }
            Ok(_) | Err(Error::NotAnImage { .. } | Error::NotADisk { .. } | Error::Empty) => None,
            Err(Error::OtherFormat { format }) => Some(format),
            Err(error) => return Err(error),
        },
        // By the beginning alone: what the end looks like is the disk's own affair.
        _ => OtherFormat::of(&bytes)?,
    };
    match (stated, found) {
        (BackingFormat::Qcow2, Some(format @ OtherFormat::Qcow2))
        | (BackingFormat::Vmdk, Some(format @ (OtherFormat::Vmdk | OtherFormat::VmdkDescriptor)))
        | (BackingFormat::Vhdx, Some(format @ OtherFormat::Vhdx))
        | (
            BackingFormat::Vhd,
            Some(format @ (OtherFormat::DynamicVhd | OtherFormat::DifferencingVhd)),
        ) => open_virtual(bytes, format, below),
        _ => Err(no_such),
    }
}

fn open_by_content(file: &BackingFile, below: &[BackingFile]) -> Result<OpenDisk> {
    let opened = open_disk_over(Arc::clone(&file.file), file.disk_end_bytes, below);
    let mut opened = match opened {
        // Something below an image is a disk, with partitions or without.
        Err(Error::NotAnImage { .. } | Error::NotADisk { .. } | Error::Empty) => raw(file, below)?,
        opened => opened?,
    };
    opened.warnings.push(Warning::BackingFormatNotStated {
        format: opened.format,
    });
    Ok(opened)
}

fn raw(file: &BackingFile, below: &[BackingFile]) -> Result<OpenDisk> {
    refuse(below)?;
    Ok(OpenDisk {
        format: SourceFormat::Written(DiskFormat::Raw),
        disk: Box::new(Arc::clone(&file.file)),
        below: Vec::new(),
        warnings: Vec::new(),
    })
}
