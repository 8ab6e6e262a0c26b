//! ext4 without the kernel: read, and edited through libext2fs, in an image.
//!
//! [`Superblock`] decides whether libext2fs may see the image and whether the filesystem may be edited;
//! [`Filesystem`] reads files and makes the few edits that this project needs; [`BlockBitmap`] tells which blocks
//! are used. ext2 and ext3 filesystems are taken too. All bytes go through the storage that the caller gives.
//!
//! Refused: a filesystem that is not clean, has a journal to replay, orphans, quotas, multi-mount protection, a
//! journal elsewhere or features that the linked library does not know; directories that are encrypted or ignore
//! case. Nothing but the named file, its directory and the filesystem's own accounts changes.

#[allow(
    unsafe_code,
    reason = "calls into libext2fs over the C file shim.c, and callbacks from it; the rest of the crate is safe"
)]
mod binding;
mod bitmap;
mod edit;
mod handle;
mod path;
mod resolve;
mod superblock;

pub use bitmap::BlockBitmap;
pub use handle::{DirEntry, Filesystem, Kind, Metadata};
pub use superblock::{SUPERBLOCK_OFFSET_BYTES, Superblock, Warning};
