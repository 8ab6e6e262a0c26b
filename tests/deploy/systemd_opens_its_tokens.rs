//! Tokens of `deploy --key-object systemd-tpm2` are opened by systemd's own readers, on the TPM and in the state that
//! they were sealed for alone.
//!
//! The readers are those of Debian 13 (`support::systemd`); the TPMs are software TPMs whose storage keys are known
//! (tests/data/systemd-tokens). Nothing is mounted, mapped or booted. Every refusal stands beside a success of the same
//! kind, since to libcryptsetup "no token opens" and "no plugin is there" are the same.

use crate::encrypted::{Encrypted, FLAGS, WITHOUT_PCRS};
use crate::support::systemd::Systemd;
use crate::support::tpm::{SRK_HANDLE, Tpm};
use crate::support::{run, scratch};
use crate::systemd_guest::{
    Deployed, KEY_OBJECT, OTHER_PARENT, POLICY_DIFFERS, SRKS, all_ready, predicted,
};

#[test]
fn every_kind_of_srk_in_the_predicted_state_alone() {
    let Some(systemd) = all_ready() else { return };
    for srk in SRKS {
        let deployed = Deployed::new(&srk, &FLAGS);
        let token = &deployed.container.metadata["tokens"]["0"];
        assert_eq!(token["type"], "systemd-tpm2");
        assert_eq!(token.get("tpm2_srk").is_some(), srk.is_persistent);
        deployed.assert_opens(&systemd, &deployed.booted(0));
        deployed.assert_refused(&systemd, &deployed.reset(), POLICY_DIFFERS);
        for pcr in [4, 7, 12] {
            let tpm = deployed.booted(0);
            tpm.extend(pcr, &hex::encode([9; 32]));
            deployed.assert_refused(&systemd, &tpm, POLICY_DIFFERS);
        }
    }
}

/// The reference page says so: until 254 systemd loads what it should import. Shown where this machine has such a one.
#[test]
fn systemd_before_255_refuses_what_a_newer_one_opens() {
    let Some(systemd) = all_ready() else { return };
    for srk in &SRKS {
        let deployed = Deployed::new(srk, &FLAGS);
        let tpm = deployed.booted(0);
        let header = &deployed.container.header;
        let Some(opened) = Systemd::open_by_this_machine(header, &tpm) else {
            return;
        };
        let is_old = ["systemd-v252 ", "systemd-v253 ", "systemd-v254 "];
        if !is_old.iter().any(|version| opened.log.contains(version)) {
            return;
        }
        assert_eq!(opened.answer, "ENOTRECOVERABLE", "{}", opened.log);
        let why = "tpm:parameter(1):integrity check failed";
        assert!(opened.log.contains(why), "{}", opened.log);
        deployed.assert_opens(&systemd, &tpm);
    }
}

#[test]
fn other_sets_of_pcrs_below_every_kind_of_srk() {
    let Some(systemd) = all_ready() else { return };
    let only_pcr_7 = [&FLAGS[..4], &["--add-efi-secure-boot-profile"]].concat();
    let with_pcr_15 = [&FLAGS[..], &["--bind-pcr15"]].concat();
    for srk in SRKS {
        for (flags, pcrs) in [(&only_pcr_7, &[7][..]), (&with_pcr_15, &[4, 7, 12, 15])] {
            let deployed = Deployed::new(&srk, flags);
            let token = &deployed.container.metadata["tokens"]["0"];
            assert_eq!(token["tpm2-pcrs"], serde_json::json!(pcrs));
            let tpm = deployed.booted(0);
            tpm.extend(9, &hex::encode([9; 32])); // in no set
            deployed.assert_opens(&systemd, &tpm);
            tpm.extend(pcrs[pcrs.len() - 1], &hex::encode([9; 32]));
            deployed.assert_refused(&systemd, &tpm, POLICY_DIFFERS);
        }
    }
}

#[test]
fn another_tpm_in_the_same_state_is_refused() {
    let Some(systemd) = all_ready() else { return };
    for srk in SRKS {
        let deployed = Deployed::new(&srk, &FLAGS);
        deployed.assert_opens(&systemd, &deployed.booted(0));
        let other = Tpm::start(&deployed.folder.path().join("other"));
        if srk.is_persistent {
            let attributes =
                "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";
            let kind = if srk.name == "srk-ecc" { "ecc" } else { "rsa" };
            let public = deployed.folder.path().join("other.pub");
            other.make_srk(&["-C", "o", "-G", kind, "-a", attributes], &public);
        }
        for (pcr, digest) in &deployed.branches[0] {
            other.extend(*pcr, digest);
        }
        deployed.assert_refused(&systemd, &other, OTHER_PARENT);
    }
}

#[test]
fn a_persistent_srk_that_is_evicted_is_missed() {
    let Some(systemd) = all_ready() else { return };
    for srk in SRKS {
        let deployed = Deployed::new(&srk, &FLAGS);
        let tpm = deployed.booted(0);
        deployed.assert_opens(&systemd, &tpm);
        run(tpm
            .tool("tpm2_evictcontrol")
            .args(["-C", "o", "-c", SRK_HANDLE]));
        if srk.is_persistent {
            deployed.assert_refused(&systemd, &tpm, OTHER_PARENT);
        } else {
            deployed.assert_opens(&systemd, &tpm);
        }
    }
}

#[test]
fn without_pcrs_the_tpm_opens_in_any_state_and_no_other_does() {
    let Some(systemd) = all_ready() else { return };
    for srk in &SRKS {
        let deployed = Deployed::new(srk, &WITHOUT_PCRS);
        let token = deployed.container.metadata["tokens"]["0"]
            .as_object()
            .unwrap();
        assert_eq!(token["tpm2-pcrs"], serde_json::json!([]));
        assert!(!token.contains_key("tpm2-pcr-bank"));
        let tpm = deployed.reset();
        deployed.assert_opens(&systemd, &tpm);
        tpm.extend(7, &hex::encode([9; 32]));
        deployed.assert_opens(&systemd, &tpm);
        let other = Tpm::start(&deployed.folder.path().join("other"));
        deployed.assert_refused(&systemd, &other, OTHER_PARENT);
    }
}

/// Guesses at some other object of the TPM lead to a lockout. Ours is not subject to that, but a parent without noDA is:
/// systemd's standard SRK has it, a key of the legacy template has not.
#[test]
fn a_tpm_in_lockout_opens_below_a_parent_with_no_da() {
    let Some(systemd) = all_ready() else { return };
    for srk in [&SRKS[0], &SRKS[1]] {
        let deployed = Deployed::new(srk, &FLAGS);
        let tpm = deployed.booted(0);
        deployed.assert_opens(&systemd, &tpm);
        lock_out(&tpm, deployed.folder.path());
        if srk.is_persistent {
            deployed.assert_opens(&systemd, &tpm);
        } else {
            deployed.assert_refused(&systemd, &tpm, "in DA lockout mode");
        }
        run(tpm.tool("tpm2_dictionarylockout").arg("--clear-lockout"));
        deployed.assert_opens(&systemd, &tpm);
    }
}

/// Guesses until the TPM does not even look at the right authorisation value.
fn lock_out(tpm: &Tpm, folder: &std::path::Path) {
    let at = |name: &str| folder.join(name);
    std::fs::write(at("data"), "data").unwrap();
    run(tpm.tool("tpm2_createprimary").arg("-c").arg(at("primary")));
    let mut create = tpm.tool("tpm2_create");
    create
        .arg("-C")
        .arg(at("primary"))
        .arg("-i")
        .arg(at("data"));
    create.args([
        "-p",
        "right",
        "-a",
        "fixedtpm|fixedparent|userwithauth",
        "-c",
    ]);
    run(create.arg(at("guarded")));
    let unseal = |auth: &str| {
        tpm.flush_objects();
        let mut unseal = tpm.tool("tpm2_unseal");
        let unseal = unseal.args(["-p", auth, "-c"]).arg(at("guarded"));
        let output = unseal.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    assert!(unseal("right").0);
    for _ in 0..3 {
        assert!(!unseal("wrong").0);
    }
    let (is_open, said) = unseal("right");
    assert!(!is_open && said.contains("0x921"), "{said}");
    tpm.flush_objects();
}

#[test]
fn every_handle_of_a_persistent_srk_will_do() {
    let Some(systemd) = all_ready() else { return };
    let flags = ["--srk-mode", "persistent", "--srk-handle", "0x81000005"];
    let encrypted = Encrypted::new();
    encrypted.workshop.write("srk.pub", &SRKS[1].public());
    let branches = predicted(&encrypted, &FLAGS[2..]);
    let encrypted = encrypted.deployed(&[&KEY_OBJECT[..], &FLAGS, &flags].concat());
    let deployed = Deployed {
        container: encrypted.container(),
        branches,
        tpm: SRKS[1].tpm,
        folder: scratch(),
        copies: 0.into(),
    };
    let tpm = deployed.booted(0);
    deployed.assert_refused(&systemd, &tpm, OTHER_PARENT); // nothing lies there
    let context = deployed.folder.path().join("context");
    run(tpm
        .tool("tpm2_createprimary")
        .args(["-G", "ecc", "-c"])
        .arg(&context));
    run(tpm
        .tool("tpm2_evictcontrol")
        .arg("-c")
        .arg(&context)
        .arg("0x81000005"));
    tpm.flush_objects();
    deployed.assert_opens(&systemd, &tpm);
}
