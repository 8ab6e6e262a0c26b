//! What a conversion in place leaves on the disk while it is not done: the mark in the header, the record in front of the
//! tail; and why a conversion cannot begin or go on. The engine is `in_place`; whoever asks what is in a partition reads these.

pub(crate) mod error;
pub(crate) mod mark;
pub(crate) mod record;

pub use error::{Error, RESUME};
pub(crate) use {mark::Mark, mark::is_half_converted, record::Record};

/// How much of the filesystem the edits of a conversion may change: what the tail has room for.
pub(crate) const MAX_EDITED_BYTES: u64 = 3 << 20;
