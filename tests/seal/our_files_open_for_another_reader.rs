//! Files of ours, opened with the private half of a software storage parent by a program that is not ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use base::secret::SystemEntropy;
use keyobject::secboot::{self, MAX_KEY_BYTES, PcrProfile};
use tpm::composite;

use crate::support::{command, data, exits, programs, scratch};
use crate::{branches, cases, file, json, key, parent, profile, sealed};

/// The judge's command for a file, which lies in `folder`.
fn opened(folder: &Path, sealed: &[u8], parent: &str, composites: &[Vec<u8>]) -> Command {
    let path = folder.join("sealed-key");
    fs::write(&path, sealed).unwrap();
    let mut python = command("python3");
    python
        .arg(format!(
            "{}/tests/seal/open_offline.py",
            env!("CARGO_MANIFEST_DIR")
        ))
        .arg(&path)
        .arg(data("sealed/parents-test-only.json"))
        .arg(parent)
        .args(composites.iter().map(hex::encode));
    python
}

/// The disk key, where everything fits.
#[track_caller]
fn disk_key(sealed: &[u8], parent: &str, composites: &[Vec<u8>]) -> Vec<u8> {
    let output = exits(&mut opened(scratch().path(), sealed, parent, composites), 0);
    hex::decode(String::from_utf8(output.stdout).unwrap().trim()).unwrap()
}

#[test]
fn the_judge_opens_files_of_the_other_writer_and_finds_what_is_wrong() {
    if !programs(&["python3"]) {
        return;
    }
    let case = json("rsa-1");
    let (_, composites) = branches(&case);
    let mut whole = file("rsa-1.sealed-key");
    assert_eq!(
        disk_key(&whole, "soft-rsa", &composites),
        crate::bytes(&case["input"]["disk_key"])
    );
    exits(
        &mut opened(scratch().path(), &whole, "soft-rsa-aes256", &composites),
        1,
    );
    exits(
        &mut opened(scratch().path(), &whole, "soft-rsa", &[vec![1; 32]]),
        1,
    );
    let last = whole.len() - 1;
    whole[last] ^= 1;
    exits(
        &mut opened(scratch().path(), &whole, "soft-rsa", &composites),
        1,
    );
}

#[test]
fn what_we_seal_for_each_parent_opens_and_every_field_follows() {
    if !programs(&["python3"]) {
        return;
    }
    for name in cases() {
        let case = json(&name);
        let owner = case["parent"].as_str().unwrap();
        let (pcrs, composites) = branches(&case);
        let key = key(16);
        let file = sealed(&parent(owner), &profile(&pcrs, &composites), &key);
        assert!(
            (131_000..133_100).contains(&file.len()) || composites.len() > 10,
            "{name}: {}",
            file.len()
        );
        assert_eq!(disk_key(&file, owner, &composites), key.expose(), "{name}");
    }
}

#[test]
fn a_key_has_1_to_28_bytes() {
    if !programs(&["python3"]) {
        return;
    }
    let any = PcrProfile::any_state().unwrap();
    let nothing = vec![composite([])];
    for len in [1, 28] {
        let key = key(len);
        let file = sealed(&parent("soft-ecc"), &any, &key);
        assert_eq!(disk_key(&file, "soft-ecc", &nothing), key.expose());
    }
    assert_eq!(MAX_KEY_BYTES, 28);
    for len in [0, 29] {
        let error = secboot::seal(
            &parent("soft-ecc"),
            &any,
            &key(len),
            &mut SystemEntropy::new(),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the disk key has {len} bytes; what can be sealed has 1 to 28, since a TPM imports at most 64 bytes and the policy key takes 36"
            )
        );
    }
}
