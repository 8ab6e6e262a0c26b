#![no_main]
//! See harness/tpm_public.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::tpm_public::run(input);
});
