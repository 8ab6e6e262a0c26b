#![no_main]
//! See harness/ext4.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::ext4::run(input);
});
