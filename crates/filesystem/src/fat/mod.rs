//! FAT: the EFI system partition, read and changed through hadris-fat.
//!
//! [`Geometry`] checks the boot sector before the library sees it, and reads the allocation table for the two
//! questions that the library does not answer: how much is free, and what a file takes. [`Fat`] finds, reads, lists,
//! makes directories and replaces files. FAT12, FAT16 and FAT32 are taken, exFAT is not.
//!
//! Changes go to the storage as they come, which nobody may interrupt, so the storage is an overlay whose blocks
//! somebody writes out. Where that goes to an image in use, [`phases()`] says in which order it is safe.
//!
//! Source: Microsoft "FAT: General Overview of On-Disk Format" (fatgen103); UEFI 2.10 section 13.3.

mod clock;
mod cursor;
mod geometry;
mod phases;
mod volume;

pub use geometry::{FatType, Geometry};
pub use phases::{Phases, SectorWrite, phases};
pub use volume::{Entry, Fat};
