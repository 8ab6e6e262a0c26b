//! What several use cases share, and none of them owns: how a disk is opened and which partition is meant, what lies in
//! it, where everything goes in the output, and what a run tells while it works.

pub(crate) mod backing;
pub mod cloud_init;
pub(crate) mod content;
pub(crate) mod data_pass;
pub(crate) mod error;
pub(crate) mod half_converted;
pub(crate) mod layout;
pub(crate) mod observer;
pub(crate) mod partitions;
pub mod recovery_key;
pub(crate) mod staged;
