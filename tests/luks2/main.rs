//! The LUKS2 container, judged by cryptsetup on plain files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod a_header_with_one_bad_copy_opens_with_a_warning;
mod an_update_is_what_cryptsetup_reads;
mod containers;
mod cryptsetup_opens_what_we_create;
mod headers_of_cryptsetup_survive_a_round_trip;
mod no_header_makes_the_reader_panic;
mod our_verdict_on_a_header_is_cryptsetups_or_stricter;
mod the_vector_container_comes_out_byte_for_byte;
