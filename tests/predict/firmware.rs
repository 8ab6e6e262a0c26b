//! Real boots: what edk2, shim 16.1 and systemd's stub measured is what we predict, event by event.
//!
//! Each folder of tests/data/firmware is one boot; the programs are recorded as facts (digest, signatures,
//! sections), since the files themselves are large.

use std::collections::BTreeMap;
use std::fs;

use base::storage::MemoryStorage;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use firmware::config::{self, UefiConfig};
use firmware::pe::Digests;
use firmware::{Hash, Program, Signature};
use measure::{
    Boot, BootFile, Chain, Error, Input, Prediction, Problem, Profile, Reader, Rules, predict,
};
use serde::Deserialize;
use tpm::{Bank, event_log};

use crate::data;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    authenticode_sha256: String,
    signatures_pkcs7: Vec<String>,
    sections: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct BootRecord {
    chain: Vec<String>,
}

/// One recorded boot.
pub struct RealBoot {
    pub configuration: UefiConfig,
    pub boot: Boot,
    pub log: Vec<u8>,
    pub pcrs: BTreeMap<String, String>,
    /// Names of the programs in the order of PCR 4.
    pub chain: Vec<String>,
}

fn digests(hex: &str) -> Vec<Digests> {
    let digest = hex::decode(hex).unwrap();
    vec![Digests {
        hash: Hash::Sha256,
        measured: digest.clone(),
        without_tail: digest,
    }]
}

fn debian_shim() -> Program {
    let file = MemoryStorage::new(data::content("vectors/pe/shim-debian-16.1.efi.gz"));
    Program::read(&file, &[], false).unwrap()
}

fn record(name: &str) -> Record {
    let mut records: BTreeMap<String, Record> = data::json("firmware/boot-files.json");
    records.remove(name).unwrap()
}

/// The program that a record describes. The records lack two sections: `.data.ident` of the shim, which is
/// taken from the same file in tests/data/vectors, and the stub's `.sdmagic`, which `origin` tells.
fn program(name: &str) -> Program {
    let record = record(name);
    let signatures = record
        .signatures_pkcs7
        .iter()
        .map(|text| Signature::parse(&BASE64_STANDARD.decode(text).unwrap()).unwrap());
    let mut sections: Vec<(String, Vec<u8>)> = record
        .sections
        .iter()
        .map(|(name, value)| {
            let text = value
                .as_str()
                .or_else(|| value.get("base64")?.as_str())
                .unwrap();
            (name.clone(), BASE64_STANDARD.decode(text).unwrap())
        })
        .collect();
    if name.starts_with("shim") {
        let ident = debian_shim().section(".data.ident").unwrap().to_vec();
        sections.push((".data.ident".to_owned(), ident));
    }
    if name.starts_with("uki") {
        let version = if name.contains("252") {
            "252.39"
        } else {
            "257.13"
        };
        let magic = format!("#### LoaderInfo: systemd-stub {version} ####");
        sections.push((".sdmagic".to_owned(), magic.into_bytes()));
    }
    Program::new(
        digests(&record.authenticode_sha256),
        signatures.collect(),
        sections,
    )
    .unwrap()
}

pub fn real_boot(folder: &str) -> RealBoot {
    let file = |name: &str| fs::read(data::path(&format!("firmware/{folder}/{name}"))).unwrap();
    let record: BootRecord = serde_json::from_slice(&file("boot.json")).unwrap();
    let mut pcrs: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_slice(&file("pcrs.json")).unwrap();
    let configuration = UefiConfig::from_json(&file("uefi-config.json"), config::Rules::Ours)
        .unwrap()
        .config;
    let log = file("eventlog.bin");
    let mut boot = Boot::default();
    for name in record.chain.iter().filter(|name| *name != "(inner kernel)") {
        let mut program = program(name);
        if folder.starts_with("secure-boot-off") && name.starts_with("uki") {
            // The programs are not stored: the inner kernel's digest is the log's last one in PCR 4.
            let events = event_log::read(&log, Bank::Sha256).unwrap();
            let last = events.iter().rfind(|event| event.pcr == 4).unwrap();
            program = program.with_inner_kernel(digests(&hex::encode(&last.digest)));
        }
        boot.files.push(BootFile {
            folder: Vec::new(),
            name: name.clone(),
            program,
        });
    }
    boot.chains = vec![match boot.files.len() {
        1 => Chain::new(0, []),
        _ => Chain::new(0, [1]),
    }];
    RealBoot {
        configuration,
        boot,
        log,
        pcrs: pcrs.remove("sha256").unwrap(),
        chain: record.chain,
    }
}

/// What a prediction of PCR 4 and 7 is made from.
pub fn input(real: &RealBoot, secure_boot: bool) -> Input<'_> {
    Input {
        configuration: &real.configuration,
        boot: &real.boot,
        profile: Profile {
            boot_manager: true,
            secure_boot: true,
            kernel: false,
            ..Profile::default()
        },
        reader: Reader::default(),
        rules: Rules {
            secure_boot,
            ..Rules::firmware()
        },
        bank: Bank::Sha256,
    }
}

fn prediction(real: &RealBoot, secure_boot: bool) -> Result<Prediction, Error> {
    predict(&input(real, secure_boot))
}

/// Asserts that the log's events of PCR 4 and 7 are the predicted ones, and lead to the values that the
/// guest read.
#[track_caller]
fn equals_the_guest(folder: &str, secure_boot: bool) {
    let real = real_boot(folder);
    let prediction = prediction(&real, secure_boot).unwrap();
    let logged = event_log::read(&real.log, Bank::Sha256).unwrap();
    let branch = &prediction.branches[0];
    let predicted: Vec<_> = branch
        .events
        .iter()
        .map(|event| {
            (
                u32::from(event.pcr),
                event.kind.number(),
                hex::encode(&event.digest),
            )
        })
        .collect();
    let logged_of: Vec<_> = logged
        .iter()
        .filter(|event| [4, 7].contains(&event.pcr))
        .map(|event| (event.pcr, event.event_type, hex::encode(&event.digest)))
        .collect();
    assert_eq!(predicted, logged_of, "{folder}");
    for branch in &prediction.branches {
        for (pcr, value) in &branch.pcrs {
            assert_eq!(
                hex::encode(value),
                real.pcrs[&pcr.to_string()],
                "{folder}, PCR {pcr}"
            );
        }
    }
    // What the log says of a variable or an authority is what was hashed, and what we would write.
    let seven: Vec<_> = logged.iter().filter(|event| event.pcr == 7).collect();
    let ours: Vec<_> = branch
        .events
        .iter()
        .filter(|event| event.pcr == 7)
        .collect();
    for (ours, theirs) in ours.iter().zip(seven) {
        assert_eq!(ours.data, theirs.data, "{folder}: {}", ours.description);
    }
}

/// The boots that a prediction can reach.
pub const BOOTS: [&str; 14] = [
    "direct-db-cert",
    "shim-boot-entry",
    "shim-removable",
    "fallback-second-boot",
    "db-order",
    "dbx-present",
    "dual-signed-kernel",
    "leaf-signed-kernel",
    "hash-in-db",
    "stub-252",
    "command-line-by-boot-entry",
    "ovmf-2025.02",
    "secure-boot-off-setup-mode",
    "secure-boot-off-user-mode",
];

#[test]
fn every_boot_within_reach_is_predicted_event_by_event() {
    let (off, on): (Vec<_>, Vec<_>) = BOOTS
        .into_iter()
        .partition(|boot| boot.starts_with("secure-boot-off"));
    assert_eq!((off.len(), on.len()), (2, 12));
    for boot in on {
        equals_the_guest(boot, true);
    }
}

#[test]
fn boots_with_secure_boot_off_are_predicted_when_told_so() {
    equals_the_guest("secure-boot-off-setup-mode", false);
    equals_the_guest("secure-boot-off-user-mode", false);
}

#[test]
fn a_kernel_that_only_a_machine_owners_key_signs_is_refused() {
    let error = prediction(&real_boot("mok-signed-kernel"), true).unwrap_err();
    assert!(
        matches!(&error, Error::Program { file, problem: Problem::Untrusted { .. } } if file == "uki-stub257-mok"),
        "{error:?}"
    );
}

#[test]
fn a_shim_that_is_signed_under_the_other_authority_of_microsoft_is_refused_with_the_years() {
    let real = real_boot("shim-boot-entry"); // its db holds the CA of 2011
    let only = |signature: usize| {
        let shim = &real.boot.files[0].program;
        assert_eq!(shim.signatures.len(), 2);
        let mut boot = real.boot.clone();
        boot.files[0].program.signatures = vec![shim.signatures[signature].clone()];
        let input = Input {
            boot: &boot,
            ..input(&real, true)
        };
        predict(&input).map(|prediction| prediction.composites().len())
    };
    assert_eq!(only(0).unwrap(), 1);
    assert_eq!(
        only(1).unwrap_err().to_string(),
        "shim-16.1-deb12: is signed under Microsoft's UEFI CA of 2023, and db holds the one of 2011 alone: \
         it cannot boot under Secure Boot before the guest's db gets the other"
    );
}

#[test]
fn a_first_pass_through_fallback_is_another_boot_than_the_predicted_one() {
    let mut real = real_boot("fallback-first-boot-no-reset");
    assert_eq!(real.chain.len(), 4);
    real.boot.chains = vec![Chain::new(0, [3])];
    let prediction = prediction(&real, true).unwrap();
    for pcr in [4, 7] {
        assert_ne!(
            hex::encode(&prediction.branches[0].pcrs[&pcr]),
            real.pcrs[&pcr.to_string()],
            "PCR {pcr}"
        );
    }
}

#[test]
fn every_log_replays_to_the_values_that_the_guest_read() {
    let folders = fs::read_dir(data::path("firmware"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut count = 0;
    for folder in folders.filter(|path| path.is_dir()) {
        let real = real_boot(folder.file_name().unwrap().to_str().unwrap());
        let events = event_log::read(&real.log, Bank::Sha256).unwrap();
        let events = events.iter().filter(|event| !event.is_only_noted());
        let values = event_log::replay(
            events.map(|event| (event.pcr, event.digest.as_slice())),
            Bank::Sha256,
        );
        for (pcr, value) in &real.pcrs {
            // The running kernel extends PCR 10, which no firmware log has.
            if pcr != "10" && pcr != "23" {
                let zero = Bank::Sha256.zero();
                let replayed = values.get(&pcr.parse().unwrap()).unwrap_or(&zero);
                assert_eq!(
                    hex::encode(replayed),
                    *value,
                    "{}, PCR {pcr}",
                    folder.display()
                );
            }
        }
        count += 1;
    }
    assert_eq!(count, 16);
}

#[test]
fn the_recorded_shim_is_the_one_that_can_be_read_as_a_file() {
    let read = debian_shim();
    let record = record("shim-16.1-deb12");
    assert_eq!(hex::encode(read.image_digest()), record.authenticode_sha256);
    assert_eq!(read.signatures, program("shim-16.1-deb12").signatures);
    for name in [".sbat", ".sbatlevel", ".vendor_cert"] {
        let recorded = program("shim-16.1-deb12");
        // A record ends with the section in memory, a file with its padding.
        let recorded = recorded.section(name).unwrap();
        assert!(read.section(name).unwrap().starts_with(recorded), "{name}");
    }
}
