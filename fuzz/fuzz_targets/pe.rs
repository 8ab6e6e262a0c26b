#![no_main]
//! See harness/pe.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::pe::run(input);
});
