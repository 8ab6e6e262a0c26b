#![no_main]
//! See harness/signature_list.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::signature_list::run(input);
});
