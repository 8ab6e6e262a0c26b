//! Boots of real programs: shim, GRUB, systemd-boot, unified kernel images with and without addons. What is predicted whole
//! is what the guest's TPM had; where it is not, the PCRs that are left out are named, and all others are right.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::command::predict;
use crate::support::{command, exits, programs, scratch, shared};

#[derive(Deserialize)]
struct Boots {
    cases: Vec<Boot>,
}

#[derive(Deserialize)]
struct Boot {
    name: String,
    esp: BTreeMap<String, String>,
    pcrs_sha256: BTreeMap<String, String>,
}

/// Case, the programs that are predicted, and what kind of gap they leave.
const CHAINS: [(&str, &str, Option<&str>); 10] = [
    ("c1", "EFI/BOOT/BOOTX64.EFI", None),
    (
        "c4",
        "EFI/redhat/shimx64.efi,EFI/Linux/ffffffffffffffffffffffffffffffff-5.14.0-570.el9.x86_64.efi",
        None,
    ),
    (
        "c3",
        "EFI/BOOT/BOOTX64.EFI,EFI/BOOT/grubx64.efi",
        Some("systemd-boot"),
    ),
    (
        "c3",
        "EFI/BOOT/BOOTX64.EFI,EFI/BOOT/grubx64.efi,EFI/Linux/vmlinuz-uki-6.1.efi",
        None,
    ),
    (
        "c7",
        "EFI/BOOT/BOOTX64.EFI,EFI/BOOT/grubx64.efi,boot/vmlinuz",
        Some("kernel"),
    ),
    ("c8", "EFI/BOOT/BOOTX64.EFI,k/linux", Some("kernel")),
    ("c5", "EFI/BOOT/BOOTX64.EFI", Some("addons")),
    (
        "c7",
        "EFI/BOOT/BOOTX64.EFI,EFI/BOOT/grubx64.efi",
        Some("grub"),
    ),
    ("c8", "EFI/BOOT/BOOTX64.EFI", Some("systemd-boot")),
    // GRUB's part was another one here: what it loads is a kernel alone.
    ("c7", "EFI/BOOT/BOOTX64.EFI,boot/vmlinuz", Some("kernel")),
];

fn lay_out(boots: &Path, boot: &Boot, folder: &Path) {
    for (path, file) in &boot.esp {
        let from = boots.join(file);
        let bytes = if from.extension().is_some_and(|end| end == "gz") {
            exits(command("gzip").arg("-dc").arg(from), 0).stdout
        } else {
            fs::read(from).unwrap()
        };
        let to = folder.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
}

/// The one branch of a chain, or of what is found where none is named.
fn branch(folder: &Path, chain: Option<&str>) -> Value {
    let mut command = predict(folder);
    command.args(["--json", "--key-object", "systemd-tpm2"]);
    match chain {
        Some(chain) => command.args(["--chain", chain]),
        None => command.args(["--esp", "."]),
    };
    command.args(["--uefi-config", "uefi-config.json"]);
    command.args(["--allow-extra-measurements", "--os-separator", "no"]);
    if chain.is_some_and(|chain| chain.ends_with("BOOTX64.EFI,boot/vmlinuz")) {
        command.arg("--ignore-sbat"); // Debian 12's kernels have none, so this shim starts them by way of GRUB alone
    }
    let output = exits(&mut command, 0);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [branch] = &document["branches"].as_array().unwrap()[..] else {
        panic!("{document}")
    };
    branch.clone()
}

#[test]
fn what_is_not_left_out_is_what_the_guest_had() {
    let Some(boots) = shared("vectors/chains") else {
        return;
    };
    if !programs(&["gzip"]) {
        return;
    }
    let cases: Boots =
        serde_json::from_slice(&fs::read(boots.join("cases.json")).unwrap()).unwrap();
    for (name, chain, gap) in CHAINS {
        let boot = cases.cases.iter().find(|boot| boot.name == name).unwrap();
        let folder = scratch();
        lay_out(&boots, boot, folder.path());
        let configuration = folder.path().join("uefi-config.json");
        fs::copy(boots.join("uefi-config.json"), configuration).unwrap();
        let branch = branch(folder.path(), Some(chain));
        assert_eq!(branch["gap"]["kind"].as_str(), gap, "{name} {chain}");
        if gap == Some("kernel") {
            continue; // nobody booted it so
        }
        let left_out = branch["gap"]["pcrs"].as_array().cloned();
        let left_out = left_out.unwrap_or_default();
        for pcr in [4, 7, 12] {
            let predicted = branch["pcrs"][pcr.to_string()].as_str().unwrap();
            let guest = &boot.pcrs_sha256[&pcr.to_string()];
            if !left_out.contains(&pcr.into()) {
                assert_eq!(predicted, guest, "{name} {chain}: PCR {pcr}");
            }
            if pcr == 4 {
                // That it is left out is no whim: sealed to it, the key would stay locked.
                assert_eq!(predicted == guest, gap.is_none(), "{name} {chain}");
            }
        }
    }
}

/// Case, and what kind of gap is left of the way that is found. The last one has the image's signer in a list that is not in
/// the firmware's description.
const FOUND: [(&str, Option<&str>); 6] = [
    ("c1", None),
    ("c3", None),
    ("c4", None),
    ("c5", Some("addons")),
    ("c7", Some("grub")),
    ("c8", Some("kernel")),
];

/// The same with nothing named but the partition.
#[test]
fn the_way_that_the_guest_booted_is_found() {
    let Some(boots) = shared("vectors/chains") else {
        return;
    };
    if !programs(&["gzip"]) {
        return;
    }
    let cases: Boots =
        serde_json::from_slice(&fs::read(boots.join("cases.json")).unwrap()).unwrap();
    for (name, gap) in FOUND {
        let boot = cases.cases.iter().find(|boot| boot.name == name).unwrap();
        let folder = scratch();
        lay_out(&boots, boot, folder.path());
        let configuration = folder.path().join("uefi-config.json");
        fs::copy(boots.join("uefi-config.json"), configuration).unwrap();
        let branch = branch(folder.path(), None);
        assert_eq!(branch["gap"]["kind"].as_str(), gap, "{name}");
        let left_out = branch["gap"]["pcrs"].as_array().cloned();
        let left_out = left_out.unwrap_or_default();
        for pcr in [4, 7, 12] {
            if !left_out.contains(&pcr.into()) {
                let pcr = pcr.to_string();
                assert_eq!(
                    branch["pcrs"][&pcr].as_str().unwrap(),
                    boot.pcrs_sha256[&pcr],
                    "{name}: PCR {pcr}"
                );
            }
        }
    }
}
