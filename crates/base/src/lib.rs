//! What every crate stands on: key bytes, where random bytes come from, bytes at offsets, and what formats share.

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

pub mod checksum;
pub mod cursor;
pub mod hash;
pub mod json;
pub mod number;
pub mod secret;
pub mod storage;
