#![no_main]
//! See harness/systemd_token.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::systemd_token::run(input);
});
