//! An event log: what is read, written again, reads the same; its values are the same by either replay; and it is compared
//! with a prediction. Logs of TPM 1.2 and of confidential guests are read and not compared.

use std::sync::OnceLock;

use base::storage::MemoryStorage;
use firmware::{Hash, Program, UefiConfig, config};
use measure::{
    Boot, BootFile, Chain, Input, Prediction, Profile, Reader, Row, Rules, Verdict, explain,
    parse_variable_data, predict,
};
use tpm::Bank;
use tpm::event_log::{Kind, Log, LoggedEvent, read, replay, values, write};

use super::{shown, told};

const SHIM: &[u8] = include_bytes!("../../tests/data/vectors/pe/shim-std.efi");
const KERNEL: &[u8] = include_bytes!("../../tests/data/vectors/pe/kernel-db-a.efi");
const CONFIGURATION: &[u8] = include_bytes!("../../tests/data/vectors/uefi/std.json");

pub fn run(input: &[u8]) -> bool {
    let log = Log::parse(input);
    let mut is_read = log.as_ref().is_ok_and(|log| log.events() > 0);
    if let Err(error) = &log {
        told(error);
    }
    for bank in [Bank::Sha256, Bank::Sha384] {
        let events = match read(input, bank) {
            Ok(events) => events,
            Err(error) => {
                told(&error);
                continue;
            }
        };
        let log = log.as_ref().unwrap();
        assert_eq!(log.kind, Kind::CryptoAgile);
        // An event with two digests of one bank counts by its first.
        let of_log = log.values(bank.algorithm_id()).unwrap();
        assert_eq!(of_log, values(&events, bank));
        is_read |= !events.is_empty();
        for event in &events {
            assert_eq!(event.digest.len(), bank.zero().len());
            let _ = parse_variable_data(&event.data);
        }
        // Zeros at the end are no event, also where a whole one is made of them.
        let again = read(&write(&events, bank), bank).unwrap();
        assert!(events.starts_with(&again));
        if again.len() == events.len() {
            assert_eq!(extended(&again, bank), extended(&events, bank));
        }
        compare(&events, bank);
    }
    is_read
}

fn extended(events: &[LoggedEvent], bank: Bank) -> std::collections::BTreeMap<u32, Vec<u8>> {
    let extended = events.iter().filter(|event| !event.is_only_noted());
    replay(
        extended.map(|event| (event.pcr, event.digest.as_slice())),
        bank,
    )
}

/// What a guest of the tests' vectors measures.
fn prediction(bank: Bank) -> &'static Prediction {
    static BOTH: OnceLock<[Prediction; 2]> = OnceLock::new();
    let [sha256, sha384] = BOTH.get_or_init(|| [Bank::Sha256, Bank::Sha384].map(predicted));
    match bank {
        Bank::Sha256 => sha256,
        Bank::Sha384 => sha384,
    }
}

fn predicted(bank: Bank) -> Prediction {
    let files = [("shimx64.efi", SHIM), ("grubx64.efi", KERNEL)].map(|(name, bytes)| {
        let file = MemoryStorage::new(bytes.to_vec());
        BootFile {
            folder: Vec::new(),
            name: name.to_owned(),
            program: Program::read(&file, &[Hash::Sha384], false).unwrap(),
        }
    });
    let configuration = UefiConfig::from_json(CONFIGURATION, config::Rules::Ours).unwrap();
    let prediction = predict(&Input {
        configuration: &configuration.config,
        boot: &Boot {
            files: files.into(),
            chains: vec![Chain::new(0, [1])],
            ..Boot::default()
        },
        profile: Profile {
            boot_manager: true,
            secure_boot: true,
            kernel: true,
            ..Profile::default()
        },
        reader: Reader::SnapBootstrap,
        rules: Rules::firmware(),
        bank,
    });
    prediction.unwrap()
}

/// Every event of the log has its line, and what is equal leads to equal values.
fn compare(events: &[LoggedEvent], bank: Bank) {
    let prediction = prediction(bank);
    let branches: Vec<_> = prediction.branches.iter().collect();
    let explanation = explain(&branches, &prediction.selection, events);
    for other in &explanation.others {
        shown(&other.event.event_type);
        shown(&other.event.description);
    }
    let mut compared = explanation.others.len();
    for comparison in &explanation.comparisons {
        let pcr = u32::from(comparison.pcr);
        let logged = events
            .iter()
            .filter(|event| event.pcr == pcr && !event.is_only_noted());
        compared += logged.clone().count();
        let lines = comparison.rows.iter().filter(|row| row.logged.is_some());
        assert_eq!(lines.count(), logged.count());
        for row in &comparison.rows {
            for side in [&row.predicted, &row.logged].into_iter().flatten() {
                shown(&side.event_type);
                shown(&side.description);
            }
            row.cause.iter().for_each(shown);
        }
        let is_equal = |row: &Row| row.verdict == Verdict::Equal;
        if comparison.rows.iter().all(is_equal) {
            assert_eq!(comparison.predicted, comparison.logged);
        }
    }
    assert_eq!(compared, events.len());
}
