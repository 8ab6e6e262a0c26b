#![no_main]
//! See harness/qcow2.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::qcow2::run(input);
});
