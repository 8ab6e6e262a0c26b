//! A description of a kind that an option does not take is called by its name, with what to do; the commands
//! that are named lead to the same databases.

use std::fs;
use std::path::Path;

use operations::uefi_config::{Options, Source, load};

use crate::another_program_reads_and_writes_the_same_stores::virt_fw_vars;
use crate::{contents, created, refused, support};

const IN_GUEST: &str = "run create-uefi-config --efivars in the guest, or in one of the same kind";
const STORE: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";

/// What each option says about a file, but for the one that takes it.
fn said(folder: &Path, file: &str, taken_by: Option<&str>) -> Vec<(&'static str, String)> {
    let options = ["--ovmf-vars", "--az-disk-profile", "--in", "--efivars"];
    let others = options
        .into_iter()
        .filter(|option| Some(*option) != taken_by);
    others
        .map(|option| (option, refused(folder, &[option, file])))
        .collect()
}

/// Asserts that every option but the right one names the file so, with this hint.
#[track_caller]
fn named(folder: &Path, file: &str, name: &str, hint: &str, taken_by: Option<&str>) {
    for (option, message) in said(folder, file, taken_by) {
        assert_eq!(
            message,
            format!("error: {file} is {name}, which {option} does not take\nhint: {hint}\n")
        );
    }
}

#[test]
fn stores_of_other_programs_are_named_and_can_be_converted() {
    let scratch = support::scratch();
    let folder = scratch.path();
    let Some(mut write) = virt_fw_vars() else {
        return;
    };
    write.current_dir(folder).args(["-i", STORE]);
    support::run(write.args(["--output-json", "a.json", "--output-aws", "a.aws"]));
    let to_store = "virt-fw-vars -i /usr/share/OVMF/OVMF_VARS_4M.fd --set-json";
    named(
        folder,
        "a.json",
        "a variable store in JSON (of virt-fw-vars, QEMU's uefi-vars or python-uefivars)",
        &format!(
            "{IN_GUEST}; or make a store of it that --ovmf-vars takes: {to_store} a.json -o store.fd"
        ),
        None,
    );
    named(
        folder,
        "a.aws",
        "AWS's uefi-data",
        &format!(
            "{IN_GUEST}; or make a store of it that --ovmf-vars takes: virt-fw-vars -i a.aws --output-json store.json \
             && {to_store} store.json -o store.fd"
        ),
        None,
    );
    let text = fs::read_to_string(folder.join("a.aws")).unwrap();
    let answer = format!(
        "{{\"InstanceId\": \"i-0\", \"UefiData\": \"{}\"}}",
        text.trim()
    );
    fs::write(folder.join("answer.json"), answer).unwrap();
    named(
        folder,
        "answer.json",
        "an answer of AWS's command line, with uefi-data inside",
        &format!("{IN_GUEST}; or take the data out of it: jq -r .UefiData answer.json > uefi-data"),
        None,
    );

    // The commands of the hints.
    let run = |arguments: &[&str]| {
        let mut command = virt_fw_vars().unwrap();
        support::run(command.current_dir(folder).args(arguments));
    };
    let wanted = created(folder, &["--ovmf-vars", STORE]).0;
    run(&["-i", "a.aws", "--output-json", "store.json"]);
    for json in ["store.json", "a.json"] {
        let blank = "/usr/share/OVMF/OVMF_VARS_4M.fd";
        run(&["-i", blank, "--set-json", json, "-o", "store.fd"]);
        let converted = created(folder, &["--ovmf-vars", "store.fd"]).0;
        assert_eq!(contents(&converted), contents(&wanted));
    }
}

#[test]
fn what_another_option_takes_is_named_with_it() {
    let scratch = support::scratch();
    let folder = scratch.path();
    fs::copy(STORE, folder.join("vars.fd")).unwrap();
    let store = ["a variable store of edk2", "give it as --ovmf-vars vars.fd"];
    named(folder, "vars.fd", store[0], store[1], Some("--ovmf-vars"));
    let azure = support::data("vectors/uefi/az-replace.json");
    fs::copy(azure, folder.join("disk.json")).unwrap();
    named(
        folder,
        "disk.json",
        "Azure's description of a disk or an image version",
        "give it as --az-disk-profile disk.json",
        Some("--az-disk-profile"),
    );
    let config = support::data("vectors/uefi/std.json");
    fs::copy(config, folder.join("config.json")).unwrap();
    named(
        folder,
        "config.json",
        "a configuration as create-uefi-config writes it",
        "deploy and predict take it as --uefi-config config.json",
        None,
    );
    fs::write(folder.join("disk.qcow2"), b"QFI\xfb").unwrap();
    named(
        folder,
        "disk.qcow2",
        "a qcow2 image, as which a variable store of edk2 may be kept",
        "give it as --ovmf-vars disk.qcow2",
        Some("--ovmf-vars"),
    );
}

#[test]
fn what_deploy_and_predict_take_is_named_with_their_option() {
    let scratch = support::scratch();
    for (content, name) in [
        (
            &b"{\"version\":2,\"variables\":[]}"[..],
            "a variable store in JSON (of virt-fw-vars, QEMU's uefi-vars or python-uefivars)",
        ),
        (b"QU1aTlVFRkk=", "AWS's uefi-data"),
        (
            b"{\"type\":\"Microsoft.Compute/disks\",\"properties\":{}}",
            "Azure's description of a disk or an image version",
        ),
    ] {
        let path = scratch.path().join("config.json");
        fs::write(&path, content).unwrap();
        // An empty configuration would do with Secure Boot off.
        let options = Options {
            secure_boot_is_off: true,
            ..Options::default()
        };
        let error = load(&Source::Json(path.clone()), &options).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{} is {name}, which --uefi-config does not take",
                path.display()
            )
        );
    }
}

#[test]
fn the_nvram_of_vmware_is_named() {
    let scratch = support::scratch();
    let mut nvram = b"MRVN\x01\0\0\0".to_vec();
    nvram.resize(0x21f8, 0);
    nvram.extend(b"VMWNVRAM");
    nvram.resize(0x11000, 0xff);
    fs::write(scratch.path().join("guest.nvram"), nvram).unwrap();
    named(
        scratch.path(),
        "guest.nvram",
        "VMware's nvram",
        IN_GUEST,
        None,
    );
}

#[test]
fn stores_of_real_machines_are_named() {
    let Some(folder) = support::shared("real-machines/varstores") else {
        return;
    };
    for (file, name) in [
        ("secboot.aws", "AWS's uefi-data"),
        ("t02.aws", "AWS's uefi-data"),
        ("t02.json", "a variable store in JSON"),
    ] {
        let path = folder.join(file).display().to_string();
        let scratch = support::scratch();
        for (_, message) in said(scratch.path(), &path, None) {
            assert!(
                message.starts_with(&format!("error: {path} is {name}")),
                "{message}"
            );
        }
    }
}

#[test]
fn under_the_references_rules_a_file_is_what_it_is_given_as() {
    let scratch = support::scratch();
    let config = support::data("vectors/uefi/std.json");
    fs::copy(config, scratch.path().join("config.json")).unwrap();
    let arguments = ["--az-disk-profile", "config.json", "--compat", "reference"];
    assert_eq!(
        refused(scratch.path(), &arguments),
        "error: config.json: a resource of the type \"\"; Microsoft.Compute/disks and \
         Microsoft.Compute/galleries/images/versions are known\n"
    );
}
