#![no_main]
//! See harness/uefi_config.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::uefi_config::run(input);
});
