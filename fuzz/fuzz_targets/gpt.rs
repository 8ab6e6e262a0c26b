#![no_main]
//! See harness/gpt.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::gpt::run(input);
});
