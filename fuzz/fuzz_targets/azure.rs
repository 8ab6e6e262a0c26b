#![no_main]
//! See harness/azure.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::azure::run(input);
});
