//! `--uefi-config` several times: the guest unlocks under each of them, and under no other. So nobody is locked out when
//! Microsoft's certificate of 2011 in a guest's db makes room for that of 2023.

use std::fs;

use serde_json::Value;

use crate::data;
use crate::encrypted::{Encrypted, FLAGS, SEALED_KEY, ready};
use crate::resealed::{RECOVERY_KEY, again, boot, opened_by, predicted};
use crate::support::tpm::{PROGRAMS, Tpm};
use crate::support::workshop::{refused, stderr, stdout};
use crate::support::{exits, programs, scratch};
use crate::systemd_guest::{KEY_OBJECT, SRKS, all_ready, unsigned};

/// The guest's db before, meanwhile and afterwards.
const STATES: [(&str, &str); 3] = [
    ("2011.json", "microsoft-and-a"),
    ("both.json", "ms2023-2011"),
    ("2023.json", "ms2023"),
];
const TWO: [&str; 4] = ["--uefi-config", "2011.json", "--uefi-config", "2023.json"];

/// An image with Debian's shim, which both authorities have signed, and the guest's configurations.
fn image() -> Encrypted {
    let encrypted = Encrypted::new();
    let kernel = data::content("vectors/pe/kernel-db-a.efi");
    let shim = data::content("vectors/pe/shim-debian-16.1.efi.gz");
    encrypted.boots_by(&shim, &[("kernel.efi-1".to_owned(), kernel)]);
    for (name, configuration) in STATES {
        let content = data::content(&format!("vectors/uefi/{configuration}.json"));
        encrypted.workshop.write(name, &content);
    }
    encrypted
}

fn flags(configurations: &[&'static str]) -> Vec<&'static str> {
    [&FLAGS[..2], configurations, &FLAGS[4..]].concat()
}

#[test]
fn a_guest_unlocks_before_and_after_the_rollover_and_in_no_other_state() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    let folder = scratch();
    let folder = folder.path();
    let tpm = Tpm::start(&folder.join("tpm"));
    tpm.make_srk(&["-G", "ecc"], &folder.join("srk.pub"));
    tpm.stop();
    let encrypted = image();
    let public = fs::read(folder.join("srk.pub")).unwrap();
    encrypted.workshop.write("srk.pub", &public);
    let key = encrypted.clear_key.clone();
    let output = exits(encrypted.deploy(&flags(&TWO)).arg("disk.img"), 0);
    let text = stderr(&output);
    assert!(
        text.contains(
            "sealed to: PCR 4, 7, 12, as they are after a boot of kernel.efi-1, under 2011.json or 2023.json\n"
        ),
        "{text}"
    );
    let file = encrypted
        .workshop
        .write("sealed", &encrypted.esp().files()[SEALED_KEY]);
    for (name, _) in STATES {
        let branches = predicted(&encrypted, &["--uefi-config", name]);
        let tpm = Tpm::start_copy(&folder.join("tpm"), &folder.join(name));
        boot(&tpm, &branches[0]);
        match tpm.unseal(&file) {
            Ok(unsealed) => assert!(unsealed == key && name != "both.json", "{name}"),
            Err(said) => {
                assert!(said.contains("error: tpm2_policyor failed"), "{said}");
                assert_eq!(name, "both.json");
            }
        }
    }
}

/// A deployed image gets the state to come while it is in the old one.
#[test]
fn a_deployed_image_is_sealed_to_both() {
    if !ready() {
        return;
    }
    let encrypted = image();
    encrypted.workshop.write("recovery.key", &RECOVERY_KEY);
    let recovery = [
        "--recovery-key-file",
        "recovery.key",
        "--report",
        "report.json",
    ];
    let deployed = encrypted.deployed(&[&flags(&TWO[..2])[..], &recovery].concat());
    let configurations = |deployed: &Encrypted| {
        let report = fs::read(deployed.workshop.path("report.json")).unwrap();
        let report: Value = serde_json::from_slice(&report).unwrap();
        let branches = report["policy"]["branches"].as_array().unwrap().iter();
        branches
            .map(|branch| branch["configurations"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(configurations(&deployed), [Value::Null]);
    let more = ["--report", "report.json"];
    exits(
        &mut again(&deployed, &[&flags(&TWO)[..], &more].concat()),
        0,
    );
    assert_eq!(
        configurations(&deployed),
        [
            serde_json::json!(["2011.json"]),
            serde_json::json!(["2023.json"])
        ]
    );
    let all = [&FLAGS[..2], &TWO, &FLAGS[4..]].concat();
    let composites: Vec<String> = predicted(&deployed, &all[2..])
        .into_iter()
        .map(|branch| branch.composite)
        .collect();
    let key = crate::resealed::sealed_key(&deployed, "soft-rsa", &composites);
    assert_eq!(opened_by(&deployed.container(), &key), [0]);
}

#[test]
fn a_dry_run_names_the_configurations_of_each_branch() {
    if !ready() {
        return;
    }
    let encrypted = image();
    let mut deploy = encrypted.deploy(&flags(&TWO));
    let table = stdout(&exits(deploy.args(["--dry-run", "disk.img"]), 0));
    for line in [
        "\nbranch 1: kernel.efi-1, under 2011.json\n",
        "\nbranch 2: kernel.efi-1, under 2023.json\n",
    ] {
        assert!(table.contains(line), "{table}");
    }
}

/// A token for each, and no more of them than a header takes.
#[test]
fn tokens_for_each_configuration_fit_or_are_refused() {
    let Some(systemd) = all_ready() else { return };
    let of_kernels = |count| {
        let encrypted = Encrypted::new();
        encrypted.boots(&unsigned("257.13", count));
        encrypted.workshop.write("srk.pub", &SRKS[1].public());
        let other = data::content("vectors/uefi/std-omits.json");
        encrypted.workshop.write("other.json", &other);
        encrypted
    };
    let flags = [
        &KEY_OBJECT[..],
        &["--srk-pub", "srk.pub", "--no-verify-signatures"],
        &[
            "--uefi-config",
            "uefi-config.json",
            "--uefi-config",
            "other.json",
        ],
        &[
            "--add-efi-boot-manager-profile",
            "--add-ubuntu-kernel-profile",
        ],
    ]
    .concat();
    let encrypted = of_kernels(2);
    let branches = predicted(&encrypted, &[&KEY_OBJECT[..], &flags[4..]].concat());
    assert_eq!(branches.len(), 4);
    let deployed = encrypted.deployed(&flags);
    let container = deployed.container();
    assert_eq!(container.metadata["tokens"].as_object().unwrap().len(), 4);
    for branch in [&branches[0], &branches[3]] {
        let folder = scratch();
        let tpm = Tpm::of_data(SRKS[1].tpm, &folder.path().join("tpm"));
        boot(&tpm, branch);
        assert_eq!(
            systemd.open(&container.header, &tpm, None).answer,
            "keyslot 1"
        );
    }
    assert_eq!(
        refused(of_kernels(17).deploy(&flags).arg("disk.img")),
        "error: disk.img: 34 tokens are needed, one for each way to boot 17 kernels under 2 configurations, and the LUKS2 header takes 32\n\
         hint: remove kernels from the EFI system partition; or give fewer configurations\n"
    );
}
