#![no_main]
//! See harness/packed.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::packed::run(input);
});
