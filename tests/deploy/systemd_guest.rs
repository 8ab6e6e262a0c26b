//! An image that is deployed for a guest whose initrd systemd runs, and the software TPM of that guest.

use serde_json::Value;

use crate::data;
use crate::encrypted::{BootFile, Encrypted, ready};
use crate::support::container::Container;
use crate::support::systemd::Systemd;
use crate::support::tpm::{PROGRAMS, Tpm};
use crate::support::uki;
use crate::support::workshop::stdout;
use crate::support::{exits, programs, scratch};

pub const KEY_OBJECT: [&str; 2] = ["--key-object", "systemd-tpm2"];

/// A storage key of the data, and what `deploy` must make of it.
pub struct Srk {
    pub name: &'static str,
    pub is_persistent: bool,
    pub tpm: &'static str,
}

pub const SRKS: [Srk; 4] = [
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
    pub fn public(&self) -> Vec<u8> {
        let key: Value = data::json(&format!("systemd-tokens/{}.json", self.name));
        hex::decode(key["tpm2b_public_hex"].as_str().unwrap()).unwrap()
    }
}

/// A deployed image with the TPM that it is for.
pub struct Deployed {
    pub container: Container,
    /// Of every branch the events: PCR and digest.
    pub branches: Vec<Vec<(u32, String)>>,
    pub tpm: &'static str,
    pub folder: tempfile::TempDir,
    pub copies: std::cell::Cell<u32>,
}

impl Deployed {
    pub fn new(srk: &Srk, flags: &[&str]) -> Self {
        Self::of(Encrypted::new(), srk, flags)
    }

    pub fn of(encrypted: Encrypted, srk: &Srk, flags: &[&str]) -> Self {
        encrypted.workshop.write("srk.pub", &srk.public());
        let branches = if flags.contains(&"--no-pcr-policy") {
            vec![Vec::new()]
        } else {
            predicted(&encrypted, &flags[2..])
        };
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
    pub fn reset(&self) -> Tpm {
        self.copies.set(self.copies.get() + 1);
        let copy = self.folder.path().join(self.copies.get().to_string());
        Tpm::of_data(self.tpm, &copy)
    }

    /// The TPM in the state of a branch.
    pub fn booted(&self, branch: usize) -> Tpm {
        let tpm = self.reset();
        for (pcr, digest) in &self.branches[branch] {
            tpm.extend(*pcr, digest);
        }
        tpm
    }

    #[track_caller]
    pub fn assert_opens(&self, systemd: &Systemd, tpm: &Tpm) {
        let header = &self.container.header;
        systemd.enroll(header, tpm).unwrap();
        let opened = systemd.open(header, tpm, None);
        assert_eq!(opened.answer, "keyslot 1", "{}", opened.log);
    }

    /// Both readers refuse, and the log of the first one says why.
    #[track_caller]
    pub fn assert_refused(&self, systemd: &Systemd, tpm: &Tpm, why: &str) {
        let header = &self.container.header;
        let said = systemd.enroll(header, tpm).unwrap_err();
        assert!(said.contains(why), "{why:?} in: {said}");
        let opened = systemd.open(header, tpm, None);
        assert!(opened.answer.starts_with('E'), "{}", opened.answer);
    }
}

/// The events of each branch, as `predict --json` tells them.
pub fn predicted(encrypted: &Encrypted, flags: &[&str]) -> Vec<Vec<(u32, String)>> {
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

pub fn all_ready() -> Option<Systemd> {
    (ready() && programs(&PROGRAMS)).then(Systemd::find)?
}

pub const POLICY_DIFFERS: &str = "Operation not permitted";
pub const OTHER_PARENT: &str = "State not recoverable";

/// The two signed kernel images of the vectors.
pub fn two_kernels() -> Vec<BootFile> {
    let kernels = [("1009", "uki-2"), ("1018", "uki-1")];
    let kernel = |(version, name): (&str, &str)| {
        let bytes = data::content(&format!("vectors/pe/{name}.efi.gz"));
        (format!("kernel.efi-6.8.0-{version}-azure"), bytes)
    };
    kernels.map(kernel).into()
}

/// Numbers of the tokens in the order of the text, in which libcryptsetup tries them.
pub fn token_numbers(container: &Container) -> Vec<u32> {
    let tokens = container.metadata["tokens"].as_object().unwrap();
    tokens
        .keys()
        .map(|number| number.parse().unwrap())
        .collect()
}

/// Kernel images of a version of systemd-stub, without signatures.
pub fn unsigned(version: &str, count: usize) -> Vec<BootFile> {
    let magic = uki::magic(version);
    let kernel = |number: usize| {
        let content = format!("kernel {number}");
        let sections = [
            (".sdmagic", magic.as_slice(), 0),
            (".linux", content.as_bytes(), 0),
            (".cmdline", b"quiet", 0),
        ];
        (format!("kernel.efi-{number:03}"), uki::image(&sections))
    };
    (0..count).map(kernel).collect()
}

/// For kernels without signatures.
pub const UNSIGNED: [&str; 7] = [
    "--srk-pub",
    "srk.pub",
    "--uefi-config",
    "uefi-config.json",
    "--no-verify-signatures",
    "--add-efi-boot-manager-profile",
    "--add-ubuntu-kernel-profile",
];
