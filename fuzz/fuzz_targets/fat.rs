#![no_main]
//! See harness/fat.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::fat::run(input);
});
