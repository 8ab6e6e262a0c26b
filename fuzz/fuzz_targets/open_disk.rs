#![no_main]
//! See harness/open_disk.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::open_disk::run(input);
});
