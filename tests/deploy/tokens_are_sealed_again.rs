//! `--unlock-with` on an image with tokens: one header update replaces them and their keyslot, and systemd's reader opens
//! the image on the new TPM in the new state alone.

use serde_json::Value;

use crate::encrypted::{Encrypted, FLAGS, WITHOUT_PCRS, find_key};
use crate::resealed::{RECOVERY_KEY, again, area, deployed_of, is_overwritten, sealed_again};
use crate::support::container::Container;
use crate::support::systemd::Systemd;
use crate::support::tpm::Tpm;
use crate::support::workshop::{refused, stderr};
use crate::support::{command, exits, files, run, scratch};
use crate::systemd_guest::{KEY_OBJECT, SRKS, Srk, all_ready, predicted, two_kernels};

/// The printed form of the recovery key, which is its passphrase there.
const DIGITS: &str = "12592-13106-13620-14134-14648-25185-25699-26213";

fn flags(policy: &[&'static str]) -> Vec<&'static str> {
    [&KEY_OBJECT[..], policy].concat()
}

fn deployed(srk: &Srk, policy: &[&'static str]) -> Encrypted {
    let encrypted = Encrypted::new();
    encrypted.workshop.write("srk.pub", &srk.public());
    deployed_of(encrypted, &flags(policy))
}

/// Answer of systemd's reader on a TPM of the data in a state.
fn opened(systemd: &Systemd, container: &Container, srk: &Srk, events: &[(u32, String)]) -> String {
    let folder = scratch();
    let tpm = Tpm::of_data(srk.tpm, &folder.path().join("tpm"));
    for (pcr, digest) in events {
        tpm.extend(*pcr, digest);
    }
    systemd.open(&container.header, &tpm, None).answer
}

fn tokens(container: &Container) -> Vec<(String, String)> {
    let tokens = container.metadata["tokens"].as_object().unwrap().iter();
    let kind = |token: &Value| token["type"].as_str().unwrap().to_owned();
    tokens
        .map(|(number, token)| (number.clone(), kind(token)))
        .collect()
}

#[test]
fn the_new_guest_gets_the_key_in_the_new_state_alone() {
    let Some(systemd) = all_ready() else { return };
    let [old_guest, new_guest] = [&SRKS[1], &SRKS[3]];
    let deployed = deployed(old_guest, &FLAGS);
    let old_state = predicted(&deployed, &FLAGS[2..4]);
    let before = deployed.container();
    assert_eq!(
        opened(&systemd, &before, old_guest, &old_state[0]),
        "keyslot 1"
    );
    let (at, len) = area(&deployed, &before, "1");
    let material = files::read(&deployed.image, at, len);

    deployed.workshop.write("srk.pub", &new_guest.public());
    deployed.boots(&two_kernels());
    sealed_again(&deployed, &flags(&FLAGS));
    let new_state = predicted(&deployed, &FLAGS[2..4]);
    let after = deployed.container();
    for branch in &new_state {
        assert_eq!(opened(&systemd, &after, new_guest, branch), "keyslot 0");
    }
    for (guest, state) in [(new_guest, &old_state[0]), (old_guest, &new_state[0])] {
        let answer = opened(&systemd, &after, guest, state);
        assert!(answer.starts_with('E'), "{answer}");
    }
    assert!(is_overwritten(&deployed.image, at, &material));
    let keyslots = &after.metadata["keyslots"];
    assert!(keyslots.get("1").is_none(), "{keyslots}");
    assert_eq!(keyslots["2"], before.metadata["keyslots"]["2"]);
    assert_eq!(keyslots["10"], before.metadata["keyslots"]["10"]);
    assert_eq!(after.test_key(2, DIGITS.as_bytes()), 0);
    // Numbers ascend, and so do the places in the text.
    let ours: Vec<String> = tokens(&after)
        .into_iter()
        .filter(|(_, kind)| kind == "systemd-tpm2")
        .map(|(number, _)| number)
        .collect();
    assert_eq!(ours.len(), new_state.len());
    assert!(
        ours.is_sorted_by_key(|number| number.parse::<u32>().unwrap()),
        "{ours:?}"
    );
    assert_eq!(tokens(&after).len(), new_state.len() + 1);
}

/// The key that a token sealed is known to the old guest: with it cryptsetup opens nothing any more.
#[test]
fn the_key_of_before_opens_nothing() {
    let Some(systemd) = all_ready() else { return };
    let srk = &SRKS[1];
    let deployed = deployed(srk, &WITHOUT_PCRS);
    let before = deployed.container();
    assert_eq!(opened(&systemd, &before, srk, &[]), "keyslot 1");
    // The old header, put back over the new keyslots, opens nothing: their material is gone.
    let old_header = files::read(&before.header, 0, 1 << 20);
    sealed_again(&deployed, &flags(&WITHOUT_PCRS));
    assert_eq!(
        opened(&systemd, &deployed.container(), srk, &[]),
        "keyslot 0"
    );
    let start = deployed.table().byte_range(crate::encrypted::ROOT).start;
    files::write(&deployed.image, start, &old_header);
    let answer = opened(&systemd, &deployed.container(), srk, &[]);
    assert!(answer.starts_with('E'), "{answer}");
}

/// systemd's own program adds recovery keys and TPM tokens; the latter go with the old guest.
#[test]
fn many_times_in_a_row_and_with_tokens_of_systemds_own() {
    let Some(systemd) = all_ready() else { return };
    let srk = &SRKS[1];
    let deployed = deployed(srk, &WITHOUT_PCRS);
    for _ in 0..3 {
        sealed_again(&deployed, &flags(&WITHOUT_PCRS));
        let container = deployed.container();
        let answer = opened(&systemd, &container, srk, &[]);
        assert!(answer.starts_with("keyslot "), "{answer}");
        assert_eq!(tokens(&container).len(), 2);
        assert_eq!(container.metadata["keyslots"].as_object().unwrap().len(), 3);
    }
    // A token of another TPM's, with a keyslot of its own.
    let container = deployed.container();
    let key = deployed.workshop.write("key", DIGITS.as_bytes());
    let passphrase = deployed.workshop.write("passphrase", b"of another TPM");
    let mut add = command("cryptsetup");
    add.args(["-q", "luksAddKey", "--key-slot", "7", "--pbkdf", "pbkdf2"]);
    add.args(["--pbkdf-force-iterations", "1000", "--key-file"])
        .arg(key);
    exits(add.arg(&container.header).arg(passphrase), 0);
    let token = container.metadata["tokens"].as_object().unwrap().values();
    let mut token = token
        .clone()
        .find(|token| token["type"] == "systemd-tpm2")
        .unwrap()
        .clone();
    token["keyslots"] = serde_json::json!(["7"]);
    let json = deployed
        .workshop
        .write("token.json", token.to_string().as_bytes());
    run(command("cryptsetup")
        .args(["token", "import", "--token-id", "9", "--json-file"])
        .arg(json)
        .arg(&container.header));
    deployed.put_back(&container);
    let output = sealed_again(
        &deployed,
        &[&flags(&WITHOUT_PCRS)[..], &["--dry-run"]].concat(),
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("was sealed before: keyslot "), "{text}");
    sealed_again(&deployed, &flags(&WITHOUT_PCRS));
    let container = deployed.container();
    assert_eq!(tokens(&container).len(), 2);
    assert_ne!(container.test_key(7, b"of another TPM"), 0);
    assert!(opened(&systemd, &container, srk, &[]).starts_with("keyslot "));
}

#[test]
fn the_kind_of_key_object_stays() {
    if all_ready().is_none() {
        return;
    }
    let deployed = deployed(&SRKS[1], &WITHOUT_PCRS);
    let before = files::digest(&deployed.image);
    assert_eq!(
        refused(&mut again(&deployed, &WITHOUT_PCRS)),
        "error: disk.img: --unlock-with: the image is deployed with --key-object systemd-tpm2, which stays\n\
         hint: give --key-object systemd-tpm2\n"
    );
    let output = exits(deployed.deploy(&flags(&WITHOUT_PCRS)).arg("disk.img"), 1);
    assert!(stderr(&output).contains("hint: --unlock-with FILE seals it again"));
    assert_eq!(files::digest(&deployed.image), before);
    for secret in [&deployed.clear_key[..], &RECOVERY_KEY] {
        assert_eq!(find_key(&deployed.image, secret), None);
    }
}
