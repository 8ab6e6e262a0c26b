#![no_main]
//! See harness/variable_store.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::variable_store::run(input);
});
