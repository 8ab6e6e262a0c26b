#![no_main]
//! See harness/vhd.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::vhd::run(input);
});
