#![no_main]
//! See harness/sbat.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::sbat::run(input);
});
