//! The filesystems of an image: ext4 (ext2 and ext3 with it) through libext2fs, FAT through hadris-fat.
//!
//! Both work on a storage that fills one partition, read and written at offsets; the caller gives an overlay over a
//! slice of the disk, so that the source stays as it was. Neither needs the kernel, root or a mount.
//!
//! Everything is hostile input: before libext2fs, which is C, stands [`ext4::Superblock`]; symbolic links of an image
//! lead to files of the image, never of this machine.

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

mod error;
pub mod ext4;
pub mod fat;

pub use error::Error;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
