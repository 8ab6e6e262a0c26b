//! The LUKS2 container, judged by cryptsetup on plain files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod containers;
mod cryptsetup_opens_what_we_create;
mod the_vector_container_comes_out_byte_for_byte;
