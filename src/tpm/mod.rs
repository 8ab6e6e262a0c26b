//! TPM 2.0 structures, computed without a device.
//!
//! A *bank* holds one value for each PCR, made by one hash function. A value is only ever *extended*: it
//! becomes the digest of itself and a new digest. A policy names a *selection* of PCRs and the *composite*
//! digest of their values.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod event_log;
mod pcr;

pub use pcr::{Bank, Selection, composite};
