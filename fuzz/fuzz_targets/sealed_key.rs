#![no_main]
//! See harness/sealed_key.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::sealed_key::run(input);
});
