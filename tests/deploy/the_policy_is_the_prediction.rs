//! What `predict` prints is what `deploy` seals to, and a choice that leaves something open is said.

use serde_json::Value;

use crate::encrypted::{Encrypted, FLAGS, SEALED_KEY, WITHOUT_PCRS, open_offline, ready};
use crate::support::exits;
use crate::support::workshop::{stderr, stdout};

/// The composites that `predict --json` prints for `disk.img`.
pub fn predicted(encrypted: &Encrypted, profiles: &[&str]) -> Vec<String> {
    let mut predict = encrypted.workshop.command(encrypted.workshop.program());
    predict
        .args([
            "predict",
            "--json",
            "disk.img",
            "--uefi-config",
            "uefi-config.json",
        ])
        .args(profiles);
    let document: Value = serde_json::from_str(&stdout(&exits(&mut predict, 0))).unwrap();
    let branches = document["branches"].as_array().unwrap().iter();
    branches
        .map(|branch| branch["composite"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_sealed_key_opens_in_the_predicted_states() {
    if !ready() {
        return;
    }
    let all = &FLAGS[4..];
    for profiles in [all, &all[..1], &all[1..2], &all[2..], &all[..2]] {
        let encrypted = Encrypted::new();
        let composites = predicted(&encrypted, profiles);
        assert!(!composites.is_empty());
        let key = encrypted.clear_key.clone();
        let flags = [&FLAGS[..4], profiles].concat();
        let deployed = encrypted.deployed(&flags);
        let files = deployed.esp().files();
        assert_eq!(
            open_offline(&files[SEALED_KEY], "soft-rsa", &composites),
            key,
            "{profiles:?}"
        );
    }
}

#[test]
fn what_a_choice_of_pcrs_leaves_open_is_said() {
    if !ready() {
        return;
    }
    let warnings = |flags: &[&str]| {
        let encrypted = Encrypted::new();
        let output = exits(encrypted.deploy(flags).arg("disk.img"), 0);
        let text = stderr(&output);
        let warnings = text.lines().filter(|line| line.starts_with("warning: "));
        warnings.map(str::to_owned).collect::<Vec<_>>()
    };
    let with = |profiles: &[&'static str]| [&FLAGS[..4], profiles].concat();
    assert_eq!(warnings(&FLAGS), [""; 0]);
    assert_eq!(
        warnings(&with(&["--add-efi-secure-boot-profile"])),
        [
            "warning: PCR 7 alone: every program that an authority in db has signed can ask for the key; --add-efi-boot-manager-profile allows the boot files of this image only, --add-ubuntu-kernel-profile the time before the root is mounted"
        ]
    );
    let found = warnings(&with(&["--add-ubuntu-kernel-profile"]));
    assert_eq!(
        found.last().map(String::as_str),
        Some(
            "warning: PCR 12 alone: every program that boots on the guest can ask for the key, with Secure Boot on or off; add --add-efi-boot-manager-profile and --add-efi-secure-boot-profile"
        ),
        "{found:?}"
    );
    assert_eq!(
        warnings(&WITHOUT_PCRS),
        [
            "warning: --no-pcr-policy: whatever runs on the guest's vTPM gets the key, in every state; --add-efi-boot-manager-profile, --add-efi-secure-boot-profile and --add-ubuntu-kernel-profile bind it to what boots"
        ]
    );
}

/// Ubuntu's reader closes PCR 12 when the root is open; systemd's closes 11 and 15.
#[test]
fn what_systemds_reader_leaves_open_is_said() {
    if !ready() {
        return;
    }
    let warnings = |profiles: &[&'static str]| {
        let encrypted = Encrypted::new();
        let flags = [&FLAGS[..4], &["--key-object", "systemd-tpm2"], profiles].concat();
        let output = exits(encrypted.deploy(&flags).arg("disk.img"), 0);
        let text = stderr(&output);
        let warnings = text.lines().filter(|line| line.starts_with("warning: "));
        warnings.map(str::to_owned).collect::<Vec<_>>()
    };
    let open = "warning: nothing closes when the root is open: another root, which somebody put on the disk, can ask for the key as well; --bind-pcr11 ends that, --bind-pcr15 in part (docs/security.md)";
    let alone = "warning: PCR 7 alone: every program that an authority in db has signed can ask for the key; --add-efi-boot-manager-profile allows the boot files of this image only";
    assert_eq!(warnings(&FLAGS[4..]), [open]);
    assert_eq!(warnings(&["--add-efi-secure-boot-profile"]), [alone, open]);
    let closed = [&FLAGS[4..], &["--bind-pcr15"]].concat();
    assert_eq!(warnings(&closed), [""; 0]);
}

#[test]
fn pcrs_must_be_chosen_or_refused_by_name() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let wrong = |flags: &[&str]| stderr(&exits(encrypted.deploy(flags).arg("disk.img"), 2));
    let text = wrong(&FLAGS[..4]);
    assert!(
        text.contains("--add-efi-boot-manager-profile") && text.contains("--no-pcr-policy"),
        "{text}"
    );
    let text = wrong(&[&FLAGS[..], &["--no-pcr-policy"]].concat());
    assert!(text.contains("cannot be used with"), "{text}");
    let text = wrong(&["--srk-pub", "srk.pub", "--add-efi-secure-boot-profile"]);
    assert!(
        text.contains("say what the guest's firmware holds")
            && text.contains("Usage: encrypt-cloud-image deploy "),
        "{text}"
    );
    // PCR 12 alone is an error for the reference.
    let flags = ["--add-ubuntu-kernel-profile", "--compat", "reference"];
    let output = exits(
        encrypted
            .deploy(&[&FLAGS[..4], &flags].concat())
            .arg("disk.img"),
        1,
    );
    assert_eq!(
        stderr(&output),
        "error: no PCR is asked for: choose PCR 4, PCR 7 or both\n"
    );
}
