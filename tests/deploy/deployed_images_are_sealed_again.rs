//! `--unlock-with`: a deployed image gets a fresh unlock key, sealed for another guest or other states, without the
//! encrypted image that it was made from.

use std::fs;

use serde_json::{Value, json};

use crate::data;
use crate::encrypted::{
    Encrypted, FLAGS, ROOT, SEALED_KEY, TEMPLATE, WITHOUT_PCRS, disguises, find_key, ready,
    soft_srk, standard_srk,
};
use crate::resealed::{
    RECOVERY_KEY, UNLOCK, again, any_state, area, boot, composites, deployed, for_another_guest,
    is_overwritten, opened_by, predicted, sealed_again, sealed_key,
};
use crate::support::tpm::{PROGRAMS, Tpm};
use crate::support::trace::Trace;
use crate::support::workshop::{refused, state, stderr, stdout};
use crate::support::{exits, files, programs, scratch};
use crate::systemd_guest::two_kernels;

fn other_guest(deployed: &Encrypted) {
    let public = fs::read(soft_srk("soft-ecc")).unwrap();
    deployed.workshop.write("other.pub", &public);
}

/// The whole of it, with software TPMs: from one guest to another, and to another boot.
#[test]
fn the_new_guest_gets_the_new_key_in_the_new_state_alone() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    let folder = scratch();
    let folder = folder.path();
    let encrypted = Encrypted::new();
    encrypted.workshop.write("recovery.key", &RECOVERY_KEY);
    for (name, algorithm) in [("srk.pub", "rsa2048"), ("other.pub", "ecc")] {
        let tpm = Tpm::start(&folder.join(algorithm));
        let public = folder.join(name);
        tpm.make_srk(&["-G", algorithm], &public);
        encrypted.workshop.write(name, &fs::read(&public).unwrap());
        tpm.stop();
    }
    let recovery = ["--recovery-key-file", "recovery.key"];
    let old_key = encrypted.clear_key.clone();
    let deployed = encrypted.deployed(&[&FLAGS[..], &recovery].concat());
    let old_state = predicted(&deployed, &FLAGS[2..4]);
    let old_file = deployed
        .workshop
        .write("old", &deployed.esp().files()[SEALED_KEY]);

    deployed.boots(&two_kernels());
    sealed_again(&deployed, &for_another_guest());
    let new_state = predicted(&deployed, &FLAGS[2..4]);
    let new_file = deployed
        .workshop
        .write("new", &deployed.esp().files()[SEALED_KEY]);
    assert!(new_state.len() > 1, "one for each kernel");

    let copies = std::cell::Cell::new(0);
    let reset = |algorithm: &str| {
        copies.set(copies.get() + 1);
        let copy = folder.join(format!("copy{}", copies.get()));
        Tpm::start_copy(&folder.join(algorithm), &copy)
    };
    let mut new_key = Vec::new();
    for branch in &new_state {
        let tpm = reset("ecc");
        boot(&tpm, branch);
        new_key = tpm.unseal(&new_file).unwrap();
        assert_eq!(opened_by(&deployed.container(), &new_key), [0]);
    }
    assert_ne!(new_key, old_key);
    let refused = |algorithm: &str, branch, at: &str| {
        let tpm = reset(algorithm);
        boot(&tpm, branch);
        let said = tpm.unseal(&new_file).unwrap_err();
        assert!(said.contains(&format!("error: {at} failed")), "{said}");
    };
    for branch in &old_state {
        refused("ecc", branch, "tpm2_policyor");
    }
    refused("rsa2048", &new_state[0], "tpm2_import");
    // The old file gives what it always gave, and that opens nothing any more.
    let tpm = reset("rsa2048");
    boot(&tpm, &old_state[0]);
    assert_eq!(tpm.unseal(&old_file).unwrap(), old_key);
    assert_eq!(opened_by(&deployed.container(), &old_key), [0; 0]);
}

#[test]
fn one_keyslot_is_another_and_the_others_stay() {
    if !ready() {
        return;
    }
    let deployed = deployed(&FLAGS);
    other_guest(&deployed);
    let before = deployed.container();
    let (at, len) = area(&deployed, &before, "0");
    let old_material = files::read(&deployed.image, at, len);
    let kept = ["1", "10"].map(|number| {
        let (at, len) = area(&deployed, &before, number);
        (number, at, files::read(&deployed.image, at, len))
    });
    let output = sealed_again(&deployed, &for_another_guest());
    let text = stderr(&output);
    assert!(text.contains("unlocked: keyslot 1\n"), "{text}");
    assert!(text.contains("disk.img: sealed again, in "), "{text}");

    let after = deployed.container();
    let composites = composites(&deployed, &FLAGS[2..4]);
    let new_key = sealed_key(&deployed, "soft-ecc", &composites);
    assert_eq!(new_key.len(), 16);
    assert_eq!(opened_by(&after, &new_key), [0]);
    assert_eq!(opened_by(&after, &deployed.clear_key), [0; 0]);
    assert_eq!(opened_by(&after, &RECOVERY_KEY), [1]);
    for (number, at, material) in kept {
        let (was, is) = (&before.metadata, &after.metadata);
        assert_eq!(was["keyslots"][number], is["keyslots"][number]);
        assert_eq!(files::read(&deployed.image, at, material.len()), material);
    }
    assert_eq!(after.metadata["keyslots"].as_object().unwrap().len(), 3);
    assert_eq!(after.metadata["tokens"], before.metadata["tokens"]);
    assert_eq!(after.metadata["segments"], before.metadata["segments"]);
    assert!(is_overwritten(&deployed.image, at, &old_material));
    for key in [&deployed.clear_key, &new_key] {
        assert_eq!(find_key(&deployed.image, key), None);
    }

    let start = deployed.table().byte_range(ROOT).start;
    let copy = |at: u64| files::read(&deployed.image, start + at, 524_288);
    let (primary, secondary) = (copy(0), copy(524_288));
    assert_eq!(primary[4096..], secondary[4096..]);
    assert_eq!(primary[16..24], secondary[16..24]);
    deployed.esp().assert_clean();
}

/// Another SRK means another template; the standard one means none. A guest removes it at its first boot.
#[test]
fn the_template_is_written_again_unless_it_is_the_standard_one() {
    if !ready() {
        return;
    }
    let deployed = deployed(&FLAGS);
    other_guest(&deployed);
    let template = |deployed: &Encrypted| deployed.esp().files().get(TEMPLATE).cloned();
    let first = template(&deployed).unwrap();
    deployed.change_esp("mdel", &["::/tpm2-srk.tmpl"]);
    sealed_again(&deployed, &FLAGS);
    assert_eq!(template(&deployed).as_ref(), Some(&first));
    sealed_again(&deployed, &for_another_guest());
    let other = template(&deployed).unwrap();
    assert_ne!(other, first);
    deployed.workshop.write("srk.pub", &standard_srk());
    let output = sealed_again(
        &deployed,
        &[&FLAGS[..], &["--standard-srk-template"]].concat(),
    );
    assert_eq!(template(&deployed), None);
    assert!(stderr(&output).contains("tpm2-srk.tmpl of an earlier deploy is removed"));
    deployed.esp().assert_clean();
}

/// An image can be sealed again as often as anybody likes: nothing piles up.
#[test]
fn many_times_in_a_row() {
    if !ready() {
        return;
    }
    let deployed = deployed(&WITHOUT_PCRS);
    let shape = |deployed: &Encrypted| {
        let metadata = deployed.container().metadata;
        let keyslots = metadata["keyslots"].as_object().unwrap();
        let mut numbers: Vec<_> = keyslots.keys().cloned().collect();
        numbers.sort();
        (numbers, metadata["tokens"].clone())
    };
    let before = shape(&deployed);
    for _ in 0..3 {
        sealed_again(&deployed, &WITHOUT_PCRS);
        assert_eq!(shape(&deployed), before);
        let key = sealed_key(&deployed, "soft-rsa", &any_state());
        assert_eq!(opened_by(&deployed.container(), &key), [0]);
    }
    deployed.esp().assert_clean();
}

#[test]
fn a_copy_is_sealed_again_and_the_image_stays() {
    if !ready() {
        return;
    }
    let deployed = deployed(&FLAGS);
    let before = state(&deployed.image);
    let output = sealed_again(&deployed, &[&FLAGS[..], &["-o", "copy.img"]].concat());
    assert!(stderr(&output).contains("copy.img: sealed again, in "));
    assert_eq!(state(&deployed.image), before);
    let copy = deployed.workshop.path("copy.img");
    fs::rename(&copy, &deployed.image).unwrap();
    let composites = composites(&deployed, &FLAGS[2..4]);
    let key = sealed_key(&deployed, "soft-rsa", &composites);
    assert_ne!(key, deployed.clear_key);
    let container = deployed.container();
    assert_eq!(opened_by(&container, &key), [0]);
    assert_eq!(opened_by(&container, &deployed.clear_key), [0; 0]);
    assert_eq!(opened_by(&container, &RECOVERY_KEY), [1]);
}

#[test]
fn a_dry_run_shows_it_and_writes_nothing() {
    if !ready() {
        return;
    }
    let deployed = deployed(&FLAGS);
    let before = state(&deployed.image);
    let output = sealed_again(&deployed, &[&FLAGS[..], &["--dry-run"]].concat());
    let text = stdout(&output);
    for line in [
        "work        seals a deployed image again; keyslot 1 opens it and stays\n",
        "keyslot 0   the key that is sealed to the vTPM\n",
        "keyslot 1   the recovery key\n",
        "  LUKS2 header: a new keyslot, for the key that was sealed before: keyslot 0\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(state(&deployed.image), before);
}

#[test]
fn the_report_tells_which_keyslot_opened_it_and_which_is_gone() {
    if !ready() {
        return;
    }
    let deployed = deployed(&FLAGS);
    sealed_again(
        &deployed,
        &[&FLAGS[..], &["--report", "report.json"]].concat(),
    );
    let text = fs::read_to_string(deployed.workshop.path("report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        report["sealed_again"],
        json!({"unlocked_keyslot": 1, "replaced_keyslots": [0]})
    );
    let composites = composites(&deployed, &FLAGS[2..4]);
    let key = sealed_key(&deployed, "soft-rsa", &composites);
    for secret in [&key[..], &deployed.clear_key, &RECOVERY_KEY] {
        for disguise in disguises(secret) {
            assert_eq!(files::find_in(text.as_bytes(), &disguise), None);
        }
    }
    if programs(&["jsonschema"]) {
        let schema = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/docs/schemas/deploy-report-1.json"
        );
        let mut judge = crate::support::command("jsonschema");
        judge
            .arg("--instance")
            .arg(deployed.workshop.path("report.json"));
        exits(judge.arg(schema), 0);
    }
}

/// No buffer that is written holds a key, old or new; what the recovery key's file holds is read alone.
#[test]
fn what_is_written_holds_no_key() {
    if !ready() || !programs(&["strace"]) {
        return;
    }
    let deployed = deployed(&FLAGS);
    let options = [
        "-s",
        "20000000",
        "-xx",
        "-e",
        "trace=write,pwrite64,pwritev",
    ];
    let arguments = [&["deploy"], &UNLOCK[..], &FLAGS, &["disk.img"]].concat();
    let program = deployed.workshop.program();
    let (trace, output) = Trace::of(&deployed.workshop, &options, &program, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let composites = composites(&deployed, &FLAGS[2..4]);
    let new_key = sealed_key(&deployed, "soft-rsa", &composites);
    // strace shows each byte as \xNN.
    let shown = |text: &[u8]| -> String {
        let bytes = text.iter().map(|byte| format!("\\x{byte:02x}"));
        bytes.collect()
    };
    assert!(
        trace.wrote(&shown(b"cloudimg-rootfs-enc")),
        "the header is in the trace"
    );
    assert!(
        trace.wrote(&shown(b"eci-reseal")),
        "the token was there meanwhile"
    );
    for key in [&new_key[..], &deployed.clear_key, &RECOVERY_KEY] {
        for disguise in disguises(key) {
            assert!(!trace.wrote(&shown(&disguise)));
        }
    }
    assert_eq!(files::find(&deployed.image, b"eci-reseal"), None);
}

/// With a recovery key besides, for an image that had none.
#[test]
fn a_recovery_key_can_be_added() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    encrypted.workshop.write("passphrase", b"of the owner");
    let key = encrypted.workshop.write("key", &encrypted.clear_key);
    let container = encrypted.container();
    let mut add = crate::support::command("cryptsetup");
    add.args([
        "-q",
        "luksAddKey",
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
    ]);
    add.arg("--key-file").arg(key).arg(&container.header);
    exits(add.arg(encrypted.workshop.path("passphrase")), 0);
    encrypted.put_back(&container);
    let deployed = encrypted.deployed(&FLAGS);
    let mut deploy = deployed.deploy(&["--unlock-with", "passphrase"]);
    deploy.args(FLAGS).args(["--recovery-key-out", "new.key"]);
    exits(deploy.arg("disk.img"), 0);
    let recovery = fs::read(deployed.workshop.path("new.key")).unwrap();
    let container = deployed.container();
    let token = json!({"type": "ubuntu-fde-recovery", "keyslots": ["3"], "ubuntu_fde_name": "default-recovery"});
    let tokens = container.metadata["tokens"].as_object().unwrap();
    assert_eq!(tokens.values().collect::<Vec<_>>(), [&token]);
    assert_eq!(opened_by(&container, &recovery), [3]);
    assert_eq!(opened_by(&container, b"of the owner"), [1]);
    let composites = composites(&deployed, &FLAGS[2..4]);
    let new_key = sealed_key(&deployed, "soft-rsa", &composites);
    assert_eq!(opened_by(&container, &new_key), [0]);
}

/// A configuration that the image was not sealed for, as a cloud changes one.
#[test]
fn another_configuration_is_sealed_to() {
    if !ready() {
        return;
    }
    let deployed = deployed(&FLAGS);
    deployed.boots(&two_kernels());
    let before = deployed.clear_key.clone();
    sealed_again(&deployed, &FLAGS);
    let new = composites(&deployed, &FLAGS[2..4]);
    let key = sealed_key(&deployed, "soft-rsa", &new);
    assert_ne!(key, before);
    assert_eq!(opened_by(&deployed.container(), &key), [0]);
    let expected = data::content("vectors/uefi/std.json");
    assert_eq!(
        fs::read(deployed.workshop.path("uefi-config.json")).unwrap(),
        expected
    );
}

#[test]
fn what_cannot_be_sealed_again_is_refused_and_stays() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    encrypted.workshop.write("recovery.key", &RECOVERY_KEY);
    let before = files::digest(&encrypted.image);
    assert_eq!(
        refused(&mut again(&encrypted, &FLAGS)),
        "error: disk.img: --unlock-with: the image is not deployed yet: partition 1 holds its clear key\n\
         hint: leave --unlock-with out: the clear key opens it\n"
    );
    assert_eq!(files::digest(&encrypted.image), before);

    let deployed = deployed(&FLAGS);
    let before = files::digest(&deployed.image);
    let systemd = [&FLAGS[..], &["--key-object", "systemd-tpm2"]].concat();
    assert_eq!(
        refused(&mut again(&deployed, &systemd)),
        "error: disk.img: --unlock-with: the image is deployed with --key-object secboot, which stays\n\
         hint: give --key-object secboot\n"
    );
    // The key that is replaced is nobody's to keep.
    deployed.workshop.write("old.key", &deployed.clear_key);
    let mut deploy = deployed.deploy(&["--unlock-with", "old.key"]);
    assert_eq!(
        refused(deploy.args(FLAGS).arg("disk.img")),
        "error: --unlock-with: the key in old.key opens keyslot 0, which is the one to be replaced\n\
         hint: give a key that stays: a recovery key, or a passphrase of another keyslot\n"
    );
    let report = ["--report", "recovery.key"];
    assert_eq!(
        refused(&mut again(&deployed, &[&FLAGS[..], &report].concat())),
        "error: --report and --unlock-with name one file: recovery.key\n"
    );
    assert_eq!(files::digest(&deployed.image), before);
}
