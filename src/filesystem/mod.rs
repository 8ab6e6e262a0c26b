//! The filesystems of an image: ext4 (ext2 and ext3 with it) through libext2fs, FAT through hadris-fat.
//!
//! Both work on a storage that fills one partition, read and written at offsets; the caller gives an overlay over a
//! slice of the disk, so that the source stays as it was. Neither needs the kernel, root or a mount. [`probe`] names
//! what lies in a partition by its magic numbers.
//!
//! Everything is hostile input: before libext2fs, which is C, stands [`ext4::Superblock`]; symbolic links of an image
//! lead to files of the image, never of this machine.

mod error;
pub mod ext4;
pub mod fat;
mod probe;

pub use error::Error;
pub use probe::{Ambiguity, Content, OnlyLuks2, SECONDARY_OFFSETS_BYTES, old_copies, probe};

/// A result of this room.
pub type Result<T> = std::result::Result<T, Error>;
