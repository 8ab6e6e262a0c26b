#![no_main]
//! See harness/pkcs7.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::pkcs7::run(input);
});
