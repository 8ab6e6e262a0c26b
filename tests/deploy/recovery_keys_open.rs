//! Recovery keys: given as a file or as digits, or made here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::encrypted::{Encrypted, WITHOUT_PCRS, ready};
use crate::support::container::Container;
use crate::support::workshop::{refused, stderr, stdout};
use crate::support::{exits, files};

const DIGITS: &str = "00256-00770-01284-01798-02312-02826-03340-03854";

/// The recovery keyslot is 1, and a token of its own names it.
#[track_caller]
fn assert_recovers(container: &Container, key: &[u8]) {
    assert_eq!(container.test_key(1, key), 0);
    assert_eq!(
        container.metadata["tokens"],
        json!({"0": {"type": "ubuntu-fde-recovery", "keyslots": ["1"], "ubuntu_fde_name": "default-recovery"}})
    );
    let keyslot = &container.metadata["keyslots"]["1"];
    assert_eq!(keyslot["kdf"]["type"], "pbkdf2");
    assert_eq!(keyslot["kdf"]["iterations"], 1000);
    assert_eq!(keyslot["af"]["stripes"], 4000);
    assert_eq!(keyslot["area"]["encryption"], "aes-xts-plain64");
    assert!(keyslot.get("priority").is_none());
    assert!(container.dump().contains("ubuntu-fde-recovery"));
}

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [&WITHOUT_PCRS[..], more].concat()
}

#[test]
fn a_key_in_a_file_opens_the_disk() {
    if !ready() {
        return;
    }
    let key: Vec<u8> = (0..16).collect();
    let encrypted = Encrypted::new();
    encrypted.workshop.write("recovery.key", &key);
    let deployed = encrypted.deployed(&with(&["--recovery-key-file", "recovery.key"]));
    assert_recovers(&deployed.container(), &key);
}

#[test]
fn a_key_as_digits_opens_the_disk() {
    if !ready() {
        return;
    }
    let key: Vec<u8> = (0..16).collect();
    let deployed = Encrypted::new().deployed(&with(&["--recovery-key-text", DIGITS]));
    assert_recovers(&deployed.container(), &key);
}

#[test]
fn a_new_key_goes_to_its_file_and_to_standard_output_where_asked() {
    if !ready() {
        return;
    }
    for print in [true, false] {
        let encrypted = Encrypted::new();
        let mut flags = with(&["--recovery-key-out", "new.key"]);
        if print {
            flags.push("--print");
        }
        let output = exits(encrypted.deploy(&flags).arg("disk.img"), 0);
        let file = encrypted.workshop.path("new.key");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let key = fs::read(&file).unwrap();
        assert_recovers(&encrypted.container(), &key);
        assert!(!stderr(&output).contains(&hex::encode(&key)));
        if print {
            let mut text = encrypted
                .workshop
                .command(env!("CARGO_BIN_EXE_print-recovery-key"));
            let text = if crate::support::workshop::is_root() {
                let mut text = crate::support::command(env!("CARGO_BIN_EXE_print-recovery-key"));
                stdout(&exits(text.arg(&file), 0))
            } else {
                stdout(&exits(text.arg(&file), 0))
            };
            assert_eq!(stdout(&output), text);
        } else {
            assert_eq!(stdout(&output), "");
        }
    }
}

/// Nobody would see the digits, and the exit status would not tell.
#[test]
fn a_closed_standard_output_is_refused_before_there_is_a_key() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let before = files::digest(&encrypted.image);
    let flags = with(&["--recovery-key-out", "new.key", "--print"]);
    let deploy = |redirected: &str| {
        let mut shell = encrypted.workshop.command("sh");
        shell.args(["-c", &format!("exec \"$@\" {redirected}"), "sh"]);
        shell
            .arg(encrypted.workshop.program())
            .arg("deploy")
            .args(&flags);
        shell.arg("disk.img");
        shell
    };
    let said = stderr(&exits(&mut deploy(">&-"), 1));
    assert_eq!(said, "error: --print: standard output is closed\n");
    assert_eq!(files::digest(&encrypted.image), before);
    assert!(!encrypted.workshop.path("new.key").exists());
    exits(&mut deploy(">/dev/null"), 0);
}

/// systemd's prompt takes what is typed as the passphrase; the old keyslot 0 and its area are gone then.
#[test]
fn a_key_for_systemd_opens_by_what_is_typed() {
    if !ready() {
        return;
    }
    let for_systemd =
        |more: &[&'static str]| with(&[&["--key-object=systemd-tpm2"], more].concat());
    let encrypted = Encrypted::new();
    let flags = for_systemd(&["--recovery-key-out", "new.key", "--print"]);
    let output = exits(encrypted.deploy(&flags).arg("disk.img"), 0);
    let letters = stdout(&output).trim_end().to_owned();
    assert_eq!(letters.len(), 71);
    let given = Encrypted::new().deployed(&for_systemd(&["--recovery-key-text", DIGITS]));
    for (container, typed) in [
        (encrypted.container(), letters.as_str()),
        (given.container(), DIGITS),
    ] {
        let tokens = container.metadata["tokens"].as_object().unwrap();
        let token = tokens
            .values()
            .find(|token| token["type"] == "systemd-recovery");
        let keyslot = token.unwrap()["keyslots"][0].as_str().unwrap();
        assert_eq!(
            container.test_key(keyslot.parse().unwrap(), typed.as_bytes()),
            0
        );
    }
}

#[test]
fn what_is_no_recovery_key_is_refused_before_anything_is_written() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let before = files::digest(&encrypted.image);
    encrypted.workshop.write("short.key", &[1; 15]);
    encrypted.workshop.write("line.key", b"0123456789abcdef\n");
    encrypted.workshop.write("there.key", &[1; 16]);
    let refuse = |more: &[&'static str]| refused(encrypted.deploy(&with(more)).arg("disk.img"));
    assert_eq!(
        refuse(&["--recovery-key-file", "short.key"]),
        "error: short.key: a recovery key has 16 bytes, this one has 15\n"
    );
    assert_eq!(
        refuse(&["--recovery-key-file", "line.key"]),
        "error: line.key: a recovery key has 16 bytes, this one has 17 and ends in a newline: a key file holds the raw bytes alone\n"
    );
    assert_eq!(
        refuse(&["--recovery-key-file", "none.key"]),
        "error: cannot read the recovery key from none.key\n  because: No such file or directory (os error 2)\n"
    );
    assert_eq!(
        refuse(&["--recovery-key-text", "00256-00770"]),
        "error: --recovery-key-text: a recovery key is typed as eight groups of five digits, each up to 65535, with - between them or nothing\n"
    );
    assert_eq!(
        refuse(&["--recovery-key-out", "there.key"]),
        "error: --recovery-key-out: there.key exists already\nhint: --recovery-key-file takes a key that is there already\n"
    );
    assert_eq!(
        refuse(&["--recovery-key-out", "none/new.key"]),
        "error: --recovery-key-out: cannot write none/new.key\n  because: No such file or directory (os error 2)\n"
    );
    assert_eq!(files::digest(&encrypted.image), before);
    assert_eq!(
        fs::read(encrypted.workshop.path("there.key")).unwrap(),
        [1; 16]
    );
    let deployed = encrypted.deployed(&with(&["--recovery-key-file", "there.key"]));
    assert_recovers(&deployed.container(), &[1; 16]);
    deployed.esp().assert_clean();
}

#[test]
fn a_container_with_a_recovery_key_gets_no_second_one() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let container = encrypted.container();
    let token = encrypted.workshop.write(
        "token.json",
        br#"{"type":"ubuntu-fde-recovery","keyslots":["10"],"ubuntu_fde_name":"default-recovery"}"#,
    );
    exits(
        crate::support::command("cryptsetup")
            .args(["token", "import", "--json-file"])
            .arg(token)
            .arg(&container.header),
        0,
    );
    let start = encrypted.table().byte_range(crate::encrypted::ROOT).start;
    let header = files::read(&container.header, 0, 1 << 20);
    files::write(&encrypted.image, start, &header);
    assert_eq!(
        refused(
            encrypted
                .deploy(&with(&["--recovery-key-text", DIGITS]))
                .arg("disk.img")
        ),
        "error: disk.img: the container has a recovery key named \"default-recovery\" already\n\
         hint: that key goes on opening the disk: leave out --recovery-key-file, --recovery-key-text and --recovery-key-out\n"
    );
    encrypted.deployed(&WITHOUT_PCRS);
}
