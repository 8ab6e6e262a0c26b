//! `--az-disk-profile`: the variables are those whose events the reference predicts.

use std::fs;

use firmware::{Database, UefiConfig};
use sha2::{Digest as _, Sha256};

use crate::{created, refused, support};

/// The digest of the event by which firmware measures a variable (`UEFI_VARIABLE_DATA`, TCG PC Client Platform
/// Firmware Profile, section 10.2.6).
fn event_digest(config: &UefiConfig, database: Database) -> String {
    let name: Vec<u8> = database
        .name()
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let content = config.content(database);
    let mut digest = Sha256::new();
    digest.update(database.vendor().to_bytes_le());
    digest.update((name.len() as u64 / 2).to_le_bytes());
    digest.update((content.len() as u64).to_le_bytes());
    digest.update(&name);
    digest.update(content);
    hex::encode(digest.finalize())
}

#[test]
fn two_descriptions_lead_to_the_events_that_the_reference_predicts() {
    let folder = support::data("vectors/uefi");
    let out = support::scratch();
    let config = |name: &str, more: &[&str]| {
        let profile = folder.join(name);
        let profile = ["--az-disk-profile", profile.to_str().unwrap()];
        created(out.path(), &[&profile[..], more].concat()).0
    };
    let digests = |name, more| {
        let config = config(name, more);
        Database::ALL.map(|database| event_digest(&config, database))
    };
    assert_eq!(
        digests("az-replace.json", &[]),
        [
            "53eb6f93c4ee5d762dadb8a176a167fc0379ecad5eaaf7e1ffe1d32e57ff2cc4",
            "376979e0c6b5d135658888953d63bca1f6765e40b1dca87be404a4667ee508ab",
            "d53bcd3900026805e53a26827f5228c73f1d160d83d661e4a52b8d4ad8247512",
            "872e98a3b1c131a0c41c64e4fcbd24d29731b6b258afa7b818bd683a4fb98c0d",
        ]
    );
    // Its PK is empty.
    assert_eq!(
        digests("az-mixed.json", &["--compat", "reference"]),
        [
            "dea7b80ab53a3daaa24d5cc46c64e1fa9ffd03739f90aadbd8c0867c4a5b4890",
            "e670e121fcebd473b8bc41bb801301fc1d9afa33904f06f7149b74f12c47a68f",
            "0284d52ec861a5ba0c51abf855545934bed2d99fb490f198792d3a52b6bcf35e",
            "295bf024821e272bdc5883b6cfab254eee2998b8d17070be289fe254d6de104c",
        ]
    );
}

#[test]
fn what_the_reference_refuses_is_refused() {
    let scratch = support::scratch();
    for (name, expected) in [
        (
            "az-append.json",
            "the settings build upon signatures of the service (signatureMode Append), whose bytes are not known here",
        ),
        (
            "az-wrongtype.json",
            "a resource of the type \"Microsoft.Compute/images\"; Microsoft.Compute/disks and Microsoft.Compute/galleries/images/versions are known",
        ),
        (
            "az-unknown.json",
            "a list in db has the type \"sha384\"; x509 and sha256 are known",
        ),
    ] {
        fs::copy(
            support::data("vectors/uefi").join(name),
            scratch.path().join(name),
        )
        .unwrap();
        for more in [&[][..], &["--compat", "reference"]] {
            let said = refused(
                scratch.path(),
                &[&["--az-disk-profile", name], more].concat(),
            );
            assert!(
                said.starts_with(&format!("error: {name}: {expected}\n")),
                "{said}"
            );
        }
    }
}

#[test]
fn a_description_without_settings_is_an_empty_configuration_for_the_reference_alone() {
    let scratch = support::scratch();
    fs::copy(
        support::data("vectors/uefi/az-nosig.json"),
        scratch.path().join("p.json"),
    )
    .unwrap();
    assert_eq!(
        refused(scratch.path(), &["--az-disk-profile", "p.json"]),
        "error: p.json: no properties.uefiSettings: this describes no guest with UEFI settings of its own\n"
    );
    let (config, ..) = created(
        scratch.path(),
        &["--az-disk-profile", "p.json", "--compat", "reference"],
    );
    assert!(config.is_empty());
}
