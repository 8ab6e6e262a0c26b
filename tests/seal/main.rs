//! Sealing without a TPM, held against the files of another writer, another reader, and a TPM.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod a_tpm_gives_the_key_back_in_the_sealed_states_only;
mod files_of_another_writer_are_read_and_derived_again;
mod one_change_gets_the_readers_answer;
mod our_files_open_for_another_reader;
mod templates_make_the_same_key_again;
mod tokens_are_what_systemd_writes;
mod what_is_no_srk_is_refused;

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;

use base::secret::{SecretBytes, SystemEntropy};
use keyobject::secboot::PcrProfile;
use serde_json::Value;
use tpm::{Bank, Selection, SrkFile, StorageParent, composite};

/// A file of tests/data/sealed.
fn file(name: &str) -> Vec<u8> {
    fs::read(support::data(&format!("sealed/{name}"))).unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&file(&format!("{name}.json"))).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// Every case of another writer, by its name.
fn cases() -> Vec<String> {
    let index = json("index");
    let cases = index.as_array().unwrap().iter();
    cases
        .map(|case| case["name"].as_str().unwrap().to_owned())
        .collect()
}

/// One of the software storage parents.
fn parent(name: &str) -> StorageParent {
    match SrkFile::read(&file(&format!("{name}.pub"))).unwrap() {
        SrkFile::PublicArea(parent) => parent,
        SrkFile::KeyAlone(_) => panic!("{name} is a public area"),
    }
}

/// The PCRs and composites of a case's branches, in their order.
fn branches(case: &Value) -> (Vec<u8>, Vec<Vec<u8>>) {
    let branches = case["input"]["pcr_branches"].as_array().unwrap();
    let values = |branch: &Value| -> BTreeMap<u8, Vec<u8>> {
        let pcrs = branch.as_object().unwrap().iter();
        pcrs.map(|(pcr, value)| (pcr.parse().unwrap(), bytes(value)))
            .collect()
    };
    let pcrs = values(&branches[0]).into_keys().collect();
    let digest = |branch: &Value| composite(values(branch).values().map(Vec::as_slice));
    (pcrs, branches.iter().map(digest).collect())
}

/// The profile of these PCRs and composites.
fn profile(pcrs: &[u8], composites: &[Vec<u8>]) -> PcrProfile {
    if pcrs.is_empty() {
        return PcrProfile::any_state().unwrap();
    }
    let selection = Selection {
        bank: Bank::Sha256,
        pcrs: pcrs.iter().copied().collect(),
    };
    PcrProfile::new(selection, composites.iter().map(Vec::as_slice)).unwrap()
}

/// A file of ours with a fresh key.
fn sealed(parent: &StorageParent, profile: &PcrProfile, key: &SecretBytes) -> Vec<u8> {
    keyobject::secboot::seal(parent, profile, key, &mut SystemEntropy::new()).unwrap()
}

fn key(len_bytes: usize) -> SecretBytes {
    SecretBytes::random(&mut SystemEntropy::new(), len_bytes).unwrap()
}
