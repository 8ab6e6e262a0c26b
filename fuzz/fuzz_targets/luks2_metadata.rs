#![no_main]
//! See harness/luks2_metadata.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::luks2_metadata::run(input);
});
