#![no_main]
//! See harness/loader_files.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::loader_files::run(input);
});
