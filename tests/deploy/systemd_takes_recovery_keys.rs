//! A recovery key of an image with tokens is what is typed at systemd's prompt: its passphrase, and its token, are
//! systemd's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::encrypted::{Encrypted, WITHOUT_PCRS, find_key};
use crate::support::workshop::{stderr, stdout};
use crate::support::{exits, files};
use crate::systemd_guest::{KEY_OBJECT, all_ready};

const DIGITS: &str = "00256-00770-01284-01798-02312-02826-03340-03854";
/// The letters of systemd's keys, at the same places on most keyboards.
const LETTERS: &str = "cbdefghijklnrtuv";

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [&KEY_OBJECT[..], &WITHOUT_PCRS, more].concat()
}

#[track_caller]
fn assert_recovers(deployed: &Encrypted, typed: &str) {
    let systemd = all_ready().unwrap();
    let container = deployed.container();
    assert_eq!(container.test_key(2, typed.as_bytes()), 0);
    assert!(systemd.takes_typed(&container.header, typed));
    let other = typed.replacen(
        &typed[..1],
        if typed.starts_with('c') { "b" } else { "c" },
        1,
    );
    assert!(!systemd.takes_typed(&container.header, &other));
    assert_eq!(
        container.metadata["tokens"]["1"],
        json!({"type": "systemd-recovery", "keyslots": ["2"]})
    );
    let keyslot = &container.metadata["keyslots"]["2"];
    assert_eq!(keyslot["kdf"]["type"], "pbkdf2");
    assert_eq!(keyslot["kdf"]["hash"], "sha512");
    assert_eq!(keyslot["kdf"]["iterations"], 1000);
    assert_eq!(
        keyslot["af"],
        json!({"type": "luks1", "stripes": 4000, "hash": "sha512"})
    );
    let kinds = [(1, "tpm2"), (2, "recovery"), (10, "password")];
    let kinds = kinds.map(|(number, kind)| (number, kind.to_owned()));
    assert_eq!(systemd.keyslots(&container.header), kinds);
}

#[test]
fn a_key_that_is_given_is_typed_as_its_printed_digits() {
    if all_ready().is_none() {
        return;
    }
    let key: Vec<u8> = (0..16).collect();
    for flags in [
        &["--recovery-key-file", "recovery.key"],
        &["--recovery-key-text", DIGITS],
    ] {
        let encrypted = Encrypted::new();
        encrypted.workshop.write("recovery.key", &key);
        let deployed = encrypted.deployed(&with(flags));
        assert_recovers(&deployed, DIGITS);
        // Its bytes, which Ubuntu's initramfs would make of them, open nothing here.
        assert_eq!(deployed.container().test_key(2, &key), 2);
    }
}

#[test]
fn a_new_key_has_systemds_own_form() {
    if all_ready().is_none() {
        return;
    }
    let mut seen = Vec::new();
    for print in [true, false] {
        let encrypted = Encrypted::new();
        let mut flags = with(&["--recovery-key-out", "new.key"]);
        flags.extend(print.then_some("--print"));
        let output = exits(encrypted.deploy(&flags).arg("disk.img"), 0);
        let file = encrypted.workshop.path("new.key");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let key = fs::read_to_string(&file).unwrap();
        let groups: Vec<_> = key.split('-').collect();
        assert_eq!(groups.len(), 8);
        for group in groups {
            assert_eq!(group.len(), 8);
            assert!(
                group.chars().all(|letter| LETTERS.contains(letter)),
                "{key}"
            );
        }
        assert_recovers(&encrypted, &key);
        let printed = stdout(&output);
        assert_eq!(
            printed,
            if print {
                format!("{key}\n")
            } else {
                String::new()
            }
        );
        assert!(!stderr(&output).contains(&key[..17]));
        assert_eq!(find_key(&encrypted.image, key.as_bytes()), None);
        assert_eq!(files::find(&encrypted.image, &key.as_bytes()[..17]), None);
        seen.push(key);
    }
    assert_ne!(seen[0], seen[1]);
}
