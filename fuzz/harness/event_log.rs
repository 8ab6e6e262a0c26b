//! An event log: what is read, written again, reads the same.

use encrypt_cloud_image::measure::parse_variable_data;
use encrypt_cloud_image::tpm::Bank;
use encrypt_cloud_image::tpm::event_log::{read, replay, write};

use super::told;

pub fn run(input: &[u8]) -> bool {
    let mut is_read = false;
    for bank in [Bank::Sha256, Bank::Sha384] {
        let events = match read(input, bank) {
            Ok(events) => events,
            Err(error) => {
                told(&error);
                continue;
            }
        };
        is_read |= !events.is_empty();
        for event in &events {
            assert_eq!(event.digest.len(), bank.zero().len());
            let _ = parse_variable_data(&event.data);
        }
        let log = write(&events, bank);
        // Zeros at the end are no event, also where a whole one is made of them.
        let again = read(&log, bank).unwrap();
        assert!(events.starts_with(&again));
        let digests = |events: &[encrypt_cloud_image::tpm::event_log::LoggedEvent]| {
            replay(
                events
                    .iter()
                    .filter(|event| !event.is_only_noted())
                    .map(|event| (event.pcr, event.digest.as_slice())),
                bank,
            )
        };
        if again.len() == events.len() {
            assert_eq!(digests(&again), digests(&events));
        }
    }
    is_read
}
