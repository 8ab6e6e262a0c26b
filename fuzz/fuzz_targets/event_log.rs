#![no_main]
//! See harness/event_log.rs.

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    harness::event_log::run(input);
});
