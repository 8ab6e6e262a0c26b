//! A deployed image with a recovery key, and what it takes to seal it again.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::encrypted::{Encrypted, FLAGS, ROOT, SEALED_KEY, open_offline};
use crate::support::container::Container;
use crate::support::tpm::Tpm;
use crate::support::workshop::stdout;
use crate::support::{exits, files};

/// The key of its owner's.
pub const RECOVERY_KEY: [u8; 16] = *b"0123456789abcdef";

/// What opens the image, before the other options.
pub const UNLOCK: [&str; 2] = ["--unlock-with", "recovery.key"];

/// What was predicted of a branch.
pub struct Branch {
    pub composite: String,
    /// PCR and digest of every event.
    pub events: Vec<(u32, String)>,
}

/// Deploys `disk.img` with a recovery key in keyslot 1.
pub fn deployed(flags: &[&str]) -> Encrypted {
    deployed_of(Encrypted::new(), flags)
}

/// The same for another image.
pub fn deployed_of(encrypted: Encrypted, flags: &[&str]) -> Encrypted {
    encrypted.workshop.write("recovery.key", &RECOVERY_KEY);
    let recovery = ["--recovery-key-file", "recovery.key"];
    encrypted.deployed(&[flags, &recovery].concat())
}

/// `deploy --unlock-with recovery.key` with these options, on `disk.img`.
pub fn again(deployed: &Encrypted, flags: &[&str]) -> Command {
    let mut deploy = deployed.deploy(&UNLOCK);
    deploy.args(flags).arg("disk.img");
    deploy
}

#[track_caller]
pub fn sealed_again(deployed: &Encrypted, flags: &[&str]) -> Output {
    exits(&mut again(deployed, flags), 0)
}

/// What `predict --json` says of `disk.img`.
pub fn predicted(encrypted: &Encrypted, flags: &[&str]) -> Vec<Branch> {
    let mut predict = encrypted.workshop.command(encrypted.workshop.program());
    predict.args(["predict", "--json", "disk.img"]).args(flags);
    let document: Value = serde_json::from_str(&stdout(&exits(&mut predict, 0))).unwrap();
    let branches = document["branches"].as_array().unwrap().iter();
    branches
        .map(|branch| Branch {
            composite: branch["composite"].as_str().unwrap().to_owned(),
            events: branch["events"]
                .as_array()
                .unwrap()
                .iter()
                .map(|event| {
                    let pcr = u32::try_from(event["pcr"].as_u64().unwrap()).unwrap();
                    (pcr, event["digest"].as_str().unwrap().to_owned())
                })
                .collect(),
        })
        .collect()
}

/// The composites of the same.
pub fn composites(encrypted: &Encrypted, flags: &[&str]) -> Vec<String> {
    let branches = predicted(encrypted, flags).into_iter();
    branches.map(|branch| branch.composite).collect()
}

/// The composite of a policy that names no PCR: the digest of nothing.
pub fn any_state() -> [String; 1] {
    use sha2::Digest as _;
    [hex::encode(sha2::Sha256::digest(b""))]
}

/// A TPM in the state that a branch leads to.
pub fn boot(tpm: &Tpm, branch: &Branch) {
    for (pcr, digest) in &branch.events {
        tpm.extend(*pcr, digest);
    }
}

/// The key in the sealed-key file on the EFI system partition, by a program that is not ours.
pub fn sealed_key(encrypted: &Encrypted, parent: &str, composites: &[String]) -> Vec<u8> {
    open_offline(&encrypted.esp().files()[SEALED_KEY], parent, composites)
}

/// Keyslots that a key opens, as cryptsetup sees it.
pub fn opened_by(container: &Container, key: &[u8]) -> Vec<u32> {
    let keyslots = container.metadata["keyslots"].as_object().unwrap();
    let numbers = keyslots.keys().map(|number| number.parse().unwrap());
    let mut opened: Vec<u32> = numbers
        .filter(|number| container.test_key(*number, key) == 0)
        .collect();
    opened.sort_unstable();
    opened
}

/// Where the material of a keyslot lies in the image, and its length.
pub fn area(encrypted: &Encrypted, container: &Container, keyslot: &str) -> (u64, usize) {
    let area = &container.metadata["keyslots"][keyslot]["area"];
    let number = |member: &str| -> u64 { area[member].as_str().unwrap().parse().unwrap() };
    let start = encrypted.table().byte_range(ROOT).start;
    (
        start + number("offset"),
        usize::try_from(number("size")).unwrap(),
    )
}

/// True where no sector of a range is what it was.
pub fn is_overwritten(image: &Path, at: u64, before: &[u8]) -> bool {
    let after = files::read(image, at, before.len());
    let mut sectors = before.chunks(512).zip(after.chunks(512));
    sectors.all(|(before, after)| before != after)
}

/// The flags of a guest with another SRK.
pub fn for_another_guest() -> Vec<&'static str> {
    [&["--srk-pub", "other.pub"], &FLAGS[2..]].concat()
}
