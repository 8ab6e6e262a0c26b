#![no_main]
//! See harness/cloud_config.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::cloud_config::run(input);
});
