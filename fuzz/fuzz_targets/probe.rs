#![no_main]
//! See harness/probe.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::probe::run(input);
});
