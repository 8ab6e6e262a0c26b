//! A disk in a file: how it is opened, in which form it lies there, and how an output file appears.
//!
//! Two forms are read and written: *raw*, the disk's bytes and nothing else, and *fixed VHD*, the same with a
//! footer of 512 bytes behind. Dynamic VHDs ([`DynamicVhd`]), qcow2 images, sparse VMDKs and VHDX files are read only,
//! by [`open_disk`], qcow2 images above the backing files that the user named ([`open_disk_over`]); what is compressed or in a ZIP archive is unpacked first ([`unpack`]). Everything else is named
//! and refused, with the command that converts it ([`OtherFormat`]). [`open_qcow2`] opens a qcow2 image whatever it
//! holds, a variable store for one. [`Source`] opens a regular file and locks it; [`detect`] tells the form. [`Output`] has
//! no name until it is complete: it is published whole or not at all.
//!
//! Raw or VHD can hang on where the partition table says that the disk ends, so [`detect`] takes that as an
//! argument and this crate knows no partition table.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::cast_possible_truncation,
        clippy::print_stdout,
        clippy::print_stderr
    )
)]

mod detect;
mod device;
mod directory;
mod dynamic_vhd;
mod error;
mod format;
mod mapped;
mod open;
mod other_format;
mod output;
mod packed;
mod publish;
mod qcow2;
mod source;
mod temporary_name;
mod vhd;
mod vhdx;
mod vmdk;

pub use detect::{Detected, detect};
pub use device::{Device, blank, is_device};
pub use directory::flush_directory;
pub use dynamic_vhd::{DynamicVhd, DynamicVhdDefect};
pub use error::{Error, FileKind, Warning};
pub use format::{BackingFile, BackingFormat, DiskFormat, OpenDisk, SourceFormat};
pub use open::{open_disk, open_disk_over, open_qcow2};
pub use other_format::{OtherFormat, quoted};
pub use output::{Output, Replace, Temporary, free_bytes};
pub use packed::{PackedDefect, Packing, Scratch, unpack};
pub use publish::{Finished, PublishStep, Published};
pub use qcow2::Qcow2Defect;
pub use source::{FileIdentity, Lock, Source, open_regular};
pub use temporary_name::{LeftBehind, left_behind};
pub use vhd::{FOOTER_BYTES, Footer, Geometry, vhd_time};
pub use vhdx::VhdxDefect;
pub use vmdk::VmdkDefect;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
