//! `encrypt --in-place`: the root partition of a disk becomes a container where it lies, and a run that ends early, for
//! whatever reason, is resumed.
//!
//! The filesystem moves by the length of the LUKS2 header, chunk by chunk from its end to its start (`moving`). The
//! *boundary* between what is plain and what is converted is recorded in the header (`journal`, `mark`). What is
//! overwritten before it has moved lies in the *tail* at the end of the partition (`tail`), for which the *record*
//! vouches (`record`). `begin` makes all that durable before anything of the filesystem is touched, `run` goes on
//! from there, `resume` finds out where that is. `encrypt` does it by path.
//!
//! Whatever subset of the writes since the last flush reaches the disk, nothing is lost: docs/architecture.md, "How
//! `encrypt --in-place` works".

mod begin;
mod journal;
mod leftovers;
mod moving;
mod resume;
mod run;
mod tail;
mod view;

pub use begin::CHUNK_BYTES;
pub(crate) use begin::{NewTable, Start};
pub use run::Conversion;

pub use crate::common::half_converted::Error;
