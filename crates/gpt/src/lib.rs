//! The GUID partition table (UEFI 2.10, section 5.3): read, changed and written, both copies.
//!
//! A *copy* is a header sector and an array of entries; the *primary* copy lies behind the protective MBR,
//! the *backup* copy ends the disk. Disks have sectors of 512 or 4096 bytes, and a table is valid at one of
//! the two only, so it is looked for at both. [`Table`] is a value: what it does not change on purpose it
//! writes back bit for bit, bytes behind the fields that we know included (headers longer than 92 bytes,
//! entries longer than 128, names that are no valid UTF-16).
//!
//! One damaged copy is replaced by the other, with a [`Warning`]; two damaged copies, partitions that
//! overlap or leave the usable range, a truncated disk and a missing protective MBR are refused. A hybrid
//! MBR is kept, but nothing is moved under it. An array of more than 1 MiB is never read.
//!
//! ```
//! use base::storage::MemoryStorage;
//! use gpt::{Error, Table};
//!
//! // A disk without a table is refused with what is missing, and where.
//! let disk = MemoryStorage::new(vec![0; 1 << 20]);
//! assert!(matches!(Table::read(&disk), Err(Error::NoTable { .. })));
//! ```

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

mod copy;
mod entry;
mod error;
mod header;
mod locate;
mod mbr;
mod table;
pub mod types;
mod write;

pub use entry::Partition;
pub use error::{CopyName, Difference, Error, Flaw, Warning};
pub use locate::disk_end_bytes;
pub use table::Table;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Largest array of entries that is read, in bytes; the usual one has 16 KiB.
const MAX_ENTRIES_BYTES: u64 = 1 << 20;

/// The least room that the UEFI specification reserves for an array of entries, in bytes (section 5.3.1).
const MIN_ENTRIES_BYTES: u64 = 16384;

/// The sector sizes that disks have, in bytes.
const SECTOR_SIZES: [u64; 2] = [512, 4096];
