//! Tokens of `deploy --key-object systemd-tpm2` are opened by systemd's own readers, on the TPM and in the state that
//! they were sealed for alone.
//!
//! The readers are those of Debian 13 (`support::systemd`); the TPMs are software TPMs whose storage keys are known
//! (tests/data/systemd-tokens). Nothing is mounted, mapped or booted. Every refusal stands beside a success of the same
//! kind, since to libcryptsetup "no token opens" and "no plugin is there" are the same.

use serde_json::Value;

use crate::data;
use crate::encrypted::{Encrypted, FLAGS, ready};
use crate::support::container::Container;
use crate::support::systemd::Systemd;
use crate::support::tpm::{PROGRAMS, SRK_HANDLE, Tpm};
use crate::support::workshop::stdout;
use crate::support::{exits, programs, run, scratch};

const KEY_OBJECT: [&str; 2] = ["--key-object", "systemd-tpm2"];

/// A storage key of the data, and what `deploy` must make of it.
struct Srk {
    name: &'static str,
    is_persistent: bool,
    tpm: &'static str,
}

const SRKS: [Srk; 4] = [
    Srk {
        name: "srk-ecc",
        is_persistent: true,
        tpm: "systemd-tokens/swtpm-ecc",
    },
    Srk {
        name: "legacy-ecc",
        is_persistent: false,
        tpm: "systemd-tokens/swtpm-ecc",
    },
    Srk {
        name: "srk-rsa",
        is_persistent: true,
        tpm: "systemd-tokens/swtpm-rsa",
    },
    Srk {
        name: "legacy-rsa",
        is_persistent: false,
        tpm: "systemd-tokens/swtpm-rsa",
    },
];

impl Srk {
    fn public(&self) -> Vec<u8> {
        let key: Value = data::json(&format!("systemd-tokens/{}.json", self.name));
        hex::decode(key["tpm2b_public_hex"].as_str().unwrap()).unwrap()
    }
}

/// A deployed image with the TPM that it is for.
struct Deployed {
    container: Container,
    /// Of every branch the events: PCR and digest.
    branches: Vec<Vec<(u32, String)>>,
    tpm: &'static str,
    folder: tempfile::TempDir,
    copies: std::cell::Cell<u32>,
}

impl Deployed {
    fn new(srk: &Srk, flags: &[&str]) -> Self {
        let encrypted = Encrypted::new();
        encrypted.workshop.write("srk.pub", &srk.public());
        let branches = predicted(&encrypted, &flags[2..]);
        let encrypted = encrypted.deployed(&[&KEY_OBJECT, flags].concat());
        Self {
            container: encrypted.container(),
            branches,
            tpm: srk.tpm,
            folder: scratch(),
            copies: 0.into(),
        }
    }

    /// The TPM after a reset, once more.
    fn reset(&self) -> Tpm {
        self.copies.set(self.copies.get() + 1);
        let copy = self.folder.path().join(self.copies.get().to_string());
        Tpm::of_data(self.tpm, &copy)
    }

    /// The TPM in the state of a branch.
    fn booted(&self, branch: usize) -> Tpm {
        let tpm = self.reset();
        for (pcr, digest) in &self.branches[branch] {
            tpm.extend(*pcr, digest);
        }
        tpm
    }

    #[track_caller]
    fn assert_opens(&self, systemd: &Systemd, tpm: &Tpm) {
        let header = &self.container.header;
        systemd.enroll(header, tpm).unwrap();
        let opened = systemd.open(header, tpm, None);
        assert_eq!(opened.answer, "keyslot 1", "{}", opened.log);
    }

    /// Both readers refuse, and the log of the first one says why.
    #[track_caller]
    fn assert_refused(&self, systemd: &Systemd, tpm: &Tpm, why: &str) {
        let header = &self.container.header;
        let said = systemd.enroll(header, tpm).unwrap_err();
        assert!(said.contains(why), "{why:?} in: {said}");
        let opened = systemd.open(header, tpm, None);
        assert!(opened.answer.starts_with('E'), "{}", opened.answer);
    }
}

/// The events of each branch, as `predict --json` tells them.
fn predicted(encrypted: &Encrypted, flags: &[&str]) -> Vec<Vec<(u32, String)>> {
    let mut predict = encrypted.workshop.command(encrypted.workshop.program());
    predict.args(["predict", "--json", "disk.img"]);
    predict.args(KEY_OBJECT).args(flags);
    let document: Value = serde_json::from_str(&stdout(&exits(&mut predict, 0))).unwrap();
    let events = |branch: &Value| {
        let events = branch["events"].as_array().unwrap().iter();
        let event = |event: &Value| {
            let pcr = u32::try_from(event["pcr"].as_u64().unwrap()).unwrap();
            (pcr, event["digest"].as_str().unwrap().to_owned())
        };
        events.map(event).collect()
    };
    let branches = document["branches"].as_array().unwrap();
    branches.iter().map(events).collect()
}

fn all_ready() -> Option<Systemd> {
    (ready() && programs(&PROGRAMS)).then(Systemd::find)?
}

const POLICY_DIFFERS: &str = "Operation not permitted";
const OTHER_PARENT: &str = "State not recoverable";

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
