#![no_main]
//! See harness/authenticated_variable.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::authenticated_variable::run(input);
});
