//! Programs that are signed in every way that matters, before real firmware and real shim: what was measured for each is
//! what we predict, and what was refused we refuse.
//!
//! Each file of tests/data/signed is one boot of several programs (its README tells how they come about).

use std::collections::BTreeMap;
use std::fs;

use base::storage::MemoryStorage;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use firmware::config::{self, UefiConfig};
use firmware::pe::Digests;
use firmware::{Hash, Program};
use measure::{Boot, BootFile, Chain, Error, Input, Prediction, Profile, Reader, Rules, predict};
use serde::Deserialize;
use tpm::{Bank, event_log};
use uuid::uuid;

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
        let program = MemoryStorage::new(BASE64_STANDARD.decode(&case.program).unwrap());
        self.predicted_for(Program::read(&program, &[], false).unwrap(), rules)
    }

    fn predicted_for(&self, program: Program, rules: Rules) -> Result<Prediction, Error> {
        let configuration = self.configuration.to_string();
        let configuration = UefiConfig::from_json(configuration.as_bytes(), config::Rules::Ours);
        let file = |name: &str, program: Program| BootFile {
            folder: Vec::new(),
            name: name.to_owned(),
            program,
        };
        let program = file("program", program);
        let shim = || {
            let shim = MemoryStorage::new(data::content("vectors/pe/shim-debian-16.1.efi.gz"));
            Program::read(&shim, &[], false).unwrap()
        };
        let (files, chain) = match self.loader.as_str() {
            "firmware" => (vec![program], Chain::new(0, [])),
            _ => (vec![file("shim", shim()), program], Chain::new(0, [1])),
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

    /// Where the first list of a type begins in a database, which is walked here by its size fields alone.
    fn offset(&self, database: &str, kind: &str) -> usize {
        let content = self.configuration[database].as_str().unwrap();
        let content = BASE64_STANDARD.decode(content).unwrap();
        let guid = match kind {
            "SHA-224" => uuid!("0b6e5233-a65c-44c9-9407-d9ab83bfc8bd"),
            "RSA-2048" => uuid!("3c5766e8-269c-4e34-aa14-ed776e85b3b6"),
            "external management" => uuid!("452e8ced-dfff-4b8c-ae01-5118862e682c"),
            "X.509 SHA-256" => uuid!("3bd2a492-96c0-4079-b420-fcf98ef103ed"),
            other => other.parse().unwrap(),
        };
        let mut offset = 0;
        while !content[offset..].starts_with(&guid.to_bytes_le()) {
            let size = content[offset + 16..offset + 20].try_into().unwrap();
            offset += usize::try_from(u32::from_le_bytes(size)).unwrap();
        }
        offset
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
            of("firmware", false, 34),
            of("firmware", true, 62),
            of("shim", false, 20),
            of("shim", true, 76),
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
fn a_digest_that_forbids_a_program_is_named_with_its_hash_function() {
    let by = |loader: &str, name: &str| {
        let file = format!("{loader}-digests.json.gz");
        let (_, record) = records()
            .into_iter()
            .find(|(name, _)| *name == file)
            .unwrap();
        let case = record.cases.iter().find(|case| case.name == name).unwrap();
        let error = record.predicted(case, Rules::firmware()).unwrap_err();
        let program = MemoryStorage::new(BASE64_STANDARD.decode(&case.program).unwrap());
        let digest = move |hash| {
            let program = Program::read(&program, &[hash], false).unwrap();
            hex::encode(program.digest(hash).unwrap())
        };
        let lenient = Rules {
            obey_dbx: false,
            ..Rules::firmware()
        };
        assert!(record.predicted(case, lenient).is_ok(), "{name}");
        (error.to_string(), digest)
    };
    let forbidden = "program: is forbidden by dbx: the digest";
    let (error, digest) = by("firmware", "good, SHA-256 in dbx");
    assert_eq!(error, format!("{forbidden} {}", digest(Hash::Sha256)));
    let (error, digest) = by("firmware", "good, then by SHA-384, SHA-384 in dbx");
    let expected = format!("{forbidden} by SHA-384 {}", digest(Hash::Sha384));
    assert_eq!(error, expected);
    let (error, digest) = by("shim", "good, SHA-1 in dbx");
    assert_eq!(
        error,
        format!("{forbidden} by SHA-1 {}", digest(Hash::Sha1))
    );
}

#[test]
fn a_list_that_nobody_looks_at_is_named_in_a_warning() {
    let (_, record) = records()
        .into_iter()
        .find(|(name, _)| name == "firmware-lists.json.gz")
        .unwrap();
    let mut cases = record.cases.iter();
    let case = cases.find(|case| case.name == "lists of other types in db and dbx");
    let prediction = record.predicted(case.unwrap(), Rules::firmware()).unwrap();
    let said: Vec<_> = prediction
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    for (database, kind) in [
        ("db", "SHA-224"),
        ("db", "RSA-2048"),
        ("db", "external management"),
        ("db", "07070707-0707-0707-0707-070707070707"),
        ("db", "X.509 SHA-256"),
        ("dbx", "SHA-224"),
        ("dbx", "RSA-2048"),
        ("dbx", "external management"),
        ("dbx", "07070707-0707-0707-0707-070707070707"),
    ] {
        let offset = record.offset(database, kind);
        let wanted = format!(
            "{database}: the list at offset {offset} is of the type {kind}; edk2's firmware and shim pass over it, and so does this prediction"
        );
        assert!(said.contains(&wanted), "{wanted}\n{said:#?}");
    }
    // Digests of certificates count in dbx.
    let of_digests = said.iter().filter(|said| said.starts_with("dbx: the list"));
    assert!(
        of_digests.clone().all(|said| !said.contains("X.509")),
        "{said:#?}"
    );
}

/// As booted: firmware's library does not read a certificate with such a number, shim's does.
#[test]
fn a_number_that_is_not_in_its_shortest_form_is_said() {
    let (_, record) = records()
        .into_iter()
        .find(|(name, _)| name == "firmware-lists.json.gz")
        .unwrap();
    let case = |name: &str| record.cases.iter().find(|case| case.name == name).unwrap();
    let of_ca = case("a serial number with a zero before it");
    let prediction = record.predicted(of_ca, Rules::firmware()).unwrap();
    let said: Vec<_> = prediction
        .warnings
        .iter()
        .map(ToString::to_string)
        .filter(|said| said.contains("shortest form"))
        .collect();
    assert_eq!(said.len(), 1, "{said:#?}");
    let (entry, rest) = said[0].split_once(" has a ").unwrap();
    assert!(entry.starts_with("db: entry "), "{entry}");
    assert_eq!(
        rest,
        "version or serial number that is not in its shortest form: shim takes its certificate, firmware passes over it"
    );
    let of_leaf = case("a leaf's serial number with a zero before it");
    let error = record.predicted(of_leaf, Rules::firmware()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "program: its signature has a number that is not in its shortest form: firmware does not read it"
    );
}

/// Firmware might read what cannot be read here, and measure it.
#[test]
fn a_certificate_that_cannot_be_read_is_never_passed_over() {
    let named = |wanted: &str| {
        records()
            .into_iter()
            .find(|(name, _)| name == wanted)
            .unwrap()
            .1
    };
    // In front of shim it is firmware that would read it, for shim.
    for (loader, file) in [("firmware", "program"), ("shim", "shim")] {
        let mut record = named(&format!("{loader}-chains.json.gz"));
        let db = record.configuration["db"].as_str().unwrap();
        let mut db = BASE64_STANDARD.decode(db).unwrap();
        // The first certificate's start of validity, which is no time then.
        let at = db
            .windows(2)
            .position(|bytes| bytes == b"\x17\x0d")
            .unwrap();
        db[at] = 0x16;
        record.configuration["db"] = BASE64_STANDARD.encode(&db).into();
        let (accepted, refused): (Vec<_>, Vec<_>) = record
            .cases
            .iter()
            .filter(|case| case.accepted)
            .map(|case| record.predicted(case, Rules::firmware()))
            .partition(Result::is_ok);
        assert!(accepted.is_empty(), "{loader}: {}", accepted.len());
        let owner = uuid::Uuid::from_slice_le(&db[28..44]).unwrap();
        for error in refused {
            assert_eq!(
                error.unwrap_err().to_string(),
                format!(
                    "{file}: the entry of {owner} at byte 28 of db, dbx or a list of shim's is built as a certificate and cannot be read here (a time of a validity is malformed or missing at byte {} of its DER): whether it leads to the program cannot be said",
                    at - 44
                )
            );
        }
        // Where nobody looks at signatures it is only said.
        let unverified = Rules {
            verify_signatures: false,
            ..Rules::firmware()
        };
        let mut predictions = record
            .cases
            .iter()
            .filter_map(|case| record.predicted(case, unverified).ok());
        let prediction = predictions.next().expect("one boots by names alone");
        let said: Vec<_> = prediction
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect();
        let wanted = format!(
            "db: entry 1 is built as a certificate and cannot be read here (a time of a validity is malformed or missing at byte {} of its DER): firmware or shim may take it",
            at - 44
        );
        assert!(said.contains(&wanted), "{said:#?}");
    }
}

/// Without shim nobody asks for it.
#[test]
fn a_program_read_without_a_digest_that_may_decide_is_refused() {
    let (_, record) = records()
        .into_iter()
        .find(|(name, _)| name == "shim-digests.json.gz")
        .unwrap();
    let case = &record.cases[0];
    let whole = MemoryStorage::new(BASE64_STANDARD.decode(&case.program).unwrap());
    let whole = Program::read(&whole, &[], false).unwrap();
    let digests = vec![Digests {
        hash: Hash::Sha256,
        measured: whole.image_digest().to_vec(),
        without_tail: whole.image_digest().to_vec(),
    }];
    let program = Program::new(digests, Vec::new(), Vec::new()).unwrap();
    let error = record
        .predicted_for(program, Rules::firmware())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "program: was read without the digest that this prediction needs"
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
