//! FAT: the EFI system partition, read and changed through hadris-fat.
//!
//! [`Geometry`] checks the boot sector before the library sees it, and reads the allocation table for the two
//! questions that the library does not answer: how much is free, and what a file takes. [`Fat`] finds, reads, lists,
//! makes directories and replaces files. FAT12, FAT16 and FAT32 are taken, exFAT is not.
//!
//! Changes go to the storage as they come, a replaced file's clusters are written over in place: nothing here is
//! safe to interrupt, so the storage is an overlay whose blocks somebody writes out in an order that is.
//!
//! Source: Microsoft "FAT: General Overview of On-Disk Format" (fatgen103); UEFI 2.10 section 13.3.

mod clock;
mod cursor;
mod geometry;
mod volume;

pub use geometry::{FatType, Geometry};
pub use volume::{Entry, Fat};
