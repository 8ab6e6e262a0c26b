#![no_main]
//! See harness/prediction.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::prediction::run(input);
});
