//! Opens the disk in a file of any form that is read, and what lies below an image that holds the changes to another one.
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

use std::sync::Arc;

use super::detect::detect;
use super::dynamic_vhd::DynamicVhd;
use super::format::{BackingFile, BackingFormat, DiskFormat, OpenDisk, SourceFormat, refuse};
use super::other_format::{OtherFormat, has};
use super::{Error, Result, Warning, qcow2, vhdx, vmdk};
use base::storage::ReadAt;

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
            refuse(below)?;
            detected.open(file)
        }
        Err(Error::OtherFormat { format }) => open_virtual(file, format, below),
        Err(error) => Err(error),
    }
}

/// Opens the disk in a file of a format that has a map of the disk.
fn open_virtual(
    file: impl ReadAt + 'static,
    format: OtherFormat,
    below: &[BackingFile],
) -> Result<OpenDisk> {
    let mut warnings = Vec::new();
    let (format, disk): (_, Box<dyn ReadAt>) = match format {
        OtherFormat::Qcow2 => return qcow2::open(file, below, &open_below),
        OtherFormat::DynamicVhd => {
            let disk = DynamicVhd::open(file)?;
            warnings = disk.warnings();
            (SourceFormat::DynamicVhd, Box::new(disk))
        }
        OtherFormat::Vmdk => (SourceFormat::Vmdk, vmdk::open(file)?),
        OtherFormat::Vhdx => (SourceFormat::Vhdx, vhdx::open(file)?),
        format => return Err(Error::OtherFormat { format }),
    };
    refuse(below)?;
    Ok(OpenDisk {
        format,
        disk,
        below: Vec::new(),
        warnings,
    })
}

/// The disk in a qcow2 image without a backing file, whatever the disk holds; `None` where the file does not begin as
/// such an image does. What was not read yet can still fail as a read: [`base::storage::Error::Read`] without an error of the
/// operating system, or [`base::storage::Error::BeyondEnd`], where the image is damaged.
pub fn open_qcow2(file: impl ReadAt + 'static) -> Result<Option<Box<dyn ReadAt>>> {
    if has(&file, 0, &qcow2::MAGIC)? {
        Ok(Some(qcow2::open(file, &[], &open_below)?.disk))
    } else {
        Ok(None)
    }
}

/// Opens the disk in a backing file, which lies on those `below` it.
fn open_below(
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
