//! Programs that are signed in every way that matters, before real firmware and real shim: what was measured for each is
//! what we predict, and what was refused we refuse.
//!
//! Each file of tests/data/signed is one boot of several programs (its README tells how they come about).

use std::collections::BTreeMap;
use std::fs;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use encrypt_cloud_image::efi::Program;
use encrypt_cloud_image::efi::config::{self, UefiConfig};
use encrypt_cloud_image::measure::{
    Boot, BootFile, Chain, Error, Input, Prediction, Profile, Reader, Rules, predict,
};
use encrypt_cloud_image::storage::MemoryStorage;
use encrypt_cloud_image::tpm::{Bank, event_log};
use serde::Deserialize;

use crate::data;

#[derive(Deserialize)]
struct Record {
    loader: String,
    configuration: serde_json::Value,
    cases: Vec<Case>,
    /// PCR and digest of each event of PCR 4 and 7.
    events: Vec<(u32, String)>,
    /// As the TPM told them.
    pcrs: BTreeMap<u32, String>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    program: String,
    accepted: bool,
    /// Digests of the authorities that were measured for it, also where it was refused then.
    digests: Vec<String>,
}

/// Programs that boot and are refused here, since nobody writes such: an entry of another revision, or in an entry of
/// another type that edk2 reads.
const STRICTER: [&str; 2] = ["good one of revision 1", "good one in a GUID entry"];

/// The type of an event that measures an authority.
const AUTHORITY: u32 = 0x8000_00e0;

fn records() -> Vec<(String, Record)> {
    let folder = fs::read_dir(data::path("signed")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".json.gz")).collect();
    names.sort();
    let record = |name: String| {
        let content = data::content(&format!("signed/{name}"));
        (name, serde_json::from_slice(&content).unwrap())
    };
    names.into_iter().map(record).collect()
}

impl Record {
    fn predicted(&self, case: &Case, rules: Rules) -> Result<Prediction, Error> {
        let configuration = self.configuration.to_string();
        let configuration = UefiConfig::from_json(configuration.as_bytes(), config::Rules::Ours);
        let file = |name: &str, content: Vec<u8>| BootFile {
            name: name.to_owned(),
            program: Program::read(&MemoryStorage::new(content), &[], false).unwrap(),
        };
        let program = file("program", BASE64_STANDARD.decode(&case.program).unwrap());
        let shim = || data::content("vectors/pe/shim-debian-16.1.efi.gz");
        let (files, chain) = match self.loader.as_str() {
            "firmware" => (vec![program], Chain::Direct(0)),
            _ => (
                vec![file("shim", shim()), program],
                Chain::Shim {
                    shim: 0,
                    kernel: Some(1),
                },
            ),
        };
        predict(&Input {
            configuration: &configuration.unwrap().config,
            boot: &Boot {
                files,
                chains: vec![chain],
                beside_shim: Vec::new(),
                addons: Vec::new(),
            },
            profile: Profile {
                boot_manager: true,
                secure_boot: true,
                ..Profile::default()
            },
            reader: Reader::default(),
            rules,
            bank: Bank::Sha256,
        })
    }

    /// What is wrong with the prediction for a program.
    fn fault(&self, case: &Case) -> Option<String> {
        let predicted = self.predicted(case, Rules::firmware());
        let (prediction, expected) = match predicted {
            Err(_) if !case.accepted || STRICTER.contains(&case.name.as_str()) => return None,
            Err(error) => return Some(error.to_string()),
            Ok(_) if !case.accepted => return Some("is predicted to boot".to_owned()),
            Ok(prediction) => (prediction, &case.digests),
        };
        // Before shim's, firmware measures the authority for shim itself, and shim its level.
        let others = if self.loader == "shim" { 2 } else { 0 };
        let events = prediction.branches[0].events.iter();
        let authorities: Vec<String> = events
            .filter(|event| event.kind.number() == AUTHORITY)
            .skip(others)
            .map(|event| hex::encode(&event.digest))
            .collect();
        (authorities != *expected).then(|| format!("{authorities:?}, measured {expected:?}"))
    }
}

#[test]
fn what_firmware_and_shim_measure_for_a_signed_program_is_predicted() {
    let mut wrong = Vec::new();
    let mut count = BTreeMap::new();
    for (name, record) in records() {
        for case in &record.cases {
            let fault = record.fault(case);
            wrong.extend(fault.map(|fault| format!("{name}: {}: {fault}", case.name)));
            *count
                .entry((record.loader.clone(), case.accepted))
                .or_insert(0) += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let count: Vec<_> = count.into_iter().collect();
    let of = |loader: &str, accepted: bool, number| ((loader.to_owned(), accepted), number);
    assert_eq!(
        count,
        [
            of("firmware", false, 21),
            of("firmware", true, 44),
            of("shim", false, 8),
            of("shim", true, 57),
        ]
    );
}

#[test]
fn every_record_is_whole_its_events_lead_to_the_values_of_the_tpm() {
    for (name, record) in records() {
        let events = record.events.iter();
        let events: Vec<_> = events
            .map(|(pcr, digest)| (*pcr, hex::decode(digest).unwrap()))
            .collect();
        let values = event_log::replay(
            events.iter().map(|(pcr, digest)| (*pcr, digest.as_slice())),
            Bank::Sha256,
        );
        let values: BTreeMap<u32, String> = values
            .into_iter()
            .map(|(pcr, value)| (pcr, hex::encode(value)))
            .collect();
        assert_eq!(values, record.pcrs, "{name}");
        for case in &record.cases {
            let measured = |digest| record.events.iter().any(|(_, event)| event == digest);
            assert!(case.digests.iter().all(measured), "{name}: {}", case.name);
        }
    }
}

#[test]
fn what_makes_a_table_of_signatures_unbootable_is_said() {
    let mut said = Vec::new();
    for (_, record) in records() {
        let alone = [
            "no certificates inside, alone",
            "bare PKCS#7 alone",
            "SHA-1 alone",
        ];
        for case in &record.cases {
            if alone.contains(&case.name.as_str()) && !case.accepted {
                let error = record.predicted(case, Rules::firmware()).unwrap_err();
                said.push(format!("{}: {}: {error}", record.loader, case.name));
            }
        }
    }
    said.sort();
    assert_eq!(
        said,
        [
            "firmware: bare PKCS#7 alone: program: its signature has no ContentInfo around it, or another header than firmware reads",
            "firmware: no certificates inside, alone: program: has a signature that firmware or shim refuses, or that cannot be judged here: a signature does not carry the certificate of its signer",
            "shim: SHA-1 alone: program: its signature is over a digest that is not SHA-256: shim refuses it",
            "shim: bare PKCS#7 alone: program: its signature has no ContentInfo around it: shim refuses it",
            "shim: no certificates inside, alone: program: has no signature that firmware or shim can read: a signature does not carry the certificate of its signer",
        ]
    );
}

#[test]
fn the_reference_reads_all_signatures_or_none() {
    let mut said = BTreeMap::new();
    for (_, record) in records()
        .into_iter()
        .filter(|(_, record)| record.loader == "firmware")
    {
        for case in &record.cases {
            if let Err(error) = record.predicted(case, Rules::reference()) {
                said.insert(case.name.clone(), error.to_string());
            }
        }
    }
    let noise = "program: has no signature that firmware or shim can read: a PKCS#7 structure is malformed or missing at byte 0 of its DER";
    assert_eq!(said["noise as PKCS#7 behind good"], noise);
    assert_eq!(
        said["SHA-1 before SHA-256"],
        "program: its signature is over a digest that is not SHA-256"
    );
}
