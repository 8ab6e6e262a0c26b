//! `encrypt-cloud-image predict` answers as the library does, for every way to name the boot files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::data::{self, Case, Cases};
use crate::support::{self, boot_programs, command, exits, files, programs, scratch};

/// The built program, run in `folder`.
pub fn predict(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encrypt-cloud-image"));
    command
        .current_dir(folder)
        .env("LC_ALL", "C")
        .arg("predict");
    command
}

pub fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Runs it with arguments that it refuses, and returns what it said.
#[track_caller]
pub fn refused(folder: &Path, arguments: &[&str], code: i32) -> String {
    let output = exits(predict(folder).args(arguments), code);
    assert!(output.stdout.is_empty(), "{}", text(output.stdout));
    text(output.stderr)
}

fn case(name: &str) -> Case {
    let cases: Cases = data::json("vectors/cases.json");
    let mut cases = cases.cases.into_iter();
    cases.find(|case| case.name == name).unwrap()
}

/// A folder with the files of a case: `esp` and `uefi-config.json`.
pub fn laid_out(name: &str) -> (tempfile::TempDir, Case) {
    let folder = scratch();
    let case = case(name);
    fs::create_dir(folder.path().join("esp")).unwrap();
    case.lay_out(&folder.path().join("esp"));
    let configuration = data::content(&format!("vectors/{}", case.uefi_config.clone().unwrap()));
    fs::write(folder.path().join("uefi-config.json"), configuration).unwrap();
    (folder, case)
}

pub const CONFIGURATION: [&str; 2] = ["--uefi-config", "uefi-config.json"];

/// The flags of a case.
fn flags(case: &Case) -> Vec<&'static str> {
    let all = [
        (case.flags.boot_manager, "--add-efi-boot-manager-profile"),
        (case.flags.secure_boot, "--add-efi-secure-boot-profile"),
        (case.flags.kernel, "--add-ubuntu-kernel-profile"),
    ];
    all.into_iter()
        .filter(|(is_set, _)| *is_set)
        .map(|(_, flag)| flag)
        .collect()
}

/// Composites and values that a document of `--json` has, in its order.
fn values(document: &Value) -> Vec<(String, Value)> {
    let branches = document["branches"].as_array().unwrap().iter();
    branches
        .map(|branch| {
            (
                branch["composite"].as_str().unwrap().to_owned(),
                branch["pcrs"].clone(),
            )
        })
        .collect()
}

#[test]
fn json_has_the_values_of_the_references_cases_each_branch_once() {
    for name in [
        "flags-boot-manager",
        "flags-boot-manager+secure-boot",
        "flags-all",
        "kernel-ten-order",
        "kernel-is-a-newer-shim",
    ] {
        let (folder, case) = laid_out(name);
        let mut command = predict(folder.path());
        command.args(["--esp", "esp", "--json"]).args(CONFIGURATION);
        // Some of these files have signatures that are no good for a boot.
        command.args(flags(&case)).args(["--compat", "reference"]);
        let output = exits(&mut command, 0);
        assert_eq!(text(output.stderr), "", "{name}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["version"], 1);
        assert_eq!(
            document["selection"],
            Value::from(case.expected.selection.clone())
        );
        let ours = values(&document);
        let composites: Vec<_> = ours.iter().map(|(composite, _)| composite).collect();
        assert_eq!(
            composites,
            case.expected.composites.iter().collect::<Vec<_>>(),
            "{name}"
        );
        for (composite, pcrs) in &ours {
            let mut expected = case.expected.branches.iter();
            let expected = expected
                .find(|branch| branch.composite == *composite)
                .unwrap();
            assert_eq!(*pcrs, serde_json::to_value(&expected.pcrs).unwrap());
        }
    }
}

#[test]
fn json_follows_its_schema() {
    if !programs(&["jsonschema"]) {
        return;
    }
    for (name, bank) in [
        ("flags-all", "sha256"),
        ("flags-all", "sha384"),
        ("flags-boot-manager", "sha256"),
    ] {
        let (folder, case) = laid_out(name);
        let mut command_line = predict(folder.path());
        command_line
            .args(["--esp", "esp", "--json", "--bank", bank])
            .args(["--compat", "reference"])
            .args(CONFIGURATION)
            .args(flags(&case));
        let output = exits(&mut command_line, 0);
        let document = folder.path().join("document.json");
        fs::write(&document, &output.stdout).unwrap();
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas/predict-1.json");
        let judge = |document: &Path| {
            let mut validator = command("jsonschema");
            validator.arg("--instance").arg(document).arg(&schema);
            validator
        };
        exits(&mut judge(&document), 0);
        // The judge finds what is wrong.
        let upper = text(output.stdout).replace("\"composite\": \"", "\"composite\": \"AB");
        fs::write(&document, upper).unwrap();
        exits(&mut judge(&document), 1);
    }
}

#[test]
fn an_event_log_replays_to_the_predicted_values_in_another_program() {
    if !programs(&["tpm2_eventlog"]) {
        return;
    }
    for bank in ["sha256", "sha384"] {
        let (folder, _) = laid_out("flags-all");
        let mut command_line = predict(folder.path());
        command_line
            .args([
                "--esp",
                "esp",
                "--json",
                "--tcg-log",
                "log",
                "--branch",
                "2",
            ])
            .args(["--compat", "reference", "--bank", bank])
            .args(CONFIGURATION);
        let output = exits(&mut command_line, 0);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let read = exits(command("tpm2_eventlog").arg(folder.path().join("log")), 0);
        let read = text(read.stdout);
        let (_, pcrs) = read.rsplit_once("pcrs:").unwrap();
        let (_, pcrs) = pcrs.split_once(&format!("{bank}:")).unwrap();
        for (pcr, value) in document["branches"][1]["pcrs"].as_object().unwrap() {
            let line = format!("{pcr:<2} : 0x{}", value.as_str().unwrap());
            assert!(pcrs.contains(&line), "{line} is not in {pcrs}");
        }
        assert!(read.contains("snap-bootstrap epoch 0"), "{read}");
    }
}

#[test]
fn several_branches_and_one_log_need_a_choice() {
    let (folder, _) = laid_out("flags-all");
    let mut arguments = vec!["--esp", "esp", "--tcg-log", "log", "--compat", "reference"];
    arguments.extend(CONFIGURATION);
    assert_eq!(
        refused(folder.path(), &arguments, 1),
        "error: --tcg-log writes one branch, and there are 2\nhint: choose one of them: --branch N, from 1 to 2\n"
    );
    for number in ["0", "3"] {
        let arguments = [arguments.as_slice(), &["--branch", number]].concat();
        assert_eq!(
            refused(folder.path(), &arguments, 1),
            format!("error: there is no branch {number}\n")
        );
    }
    assert!(!folder.path().join("log").exists());
}

/// The case's ESP as a FAT in a disk image.
pub fn image(folder: &Path) -> PathBuf {
    let esp = folder.join("esp.fat");
    fs::File::create(&esp).unwrap().set_len(40 << 20).unwrap();
    exits(command("mkfs.vfat").args(["-F", "32"]).arg(&esp), 0);
    exits(
        command("mcopy")
            .args(["-s", "-i"])
            .arg(&esp)
            .arg(folder.join("esp/EFI"))
            .arg("::"),
        0,
    );
    let image = folder.join("disk.img");
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    exits(
        command("sgdisk")
            .args(["--new=15:1M:+40M", "--typecode=15:EF00"])
            .arg("--new=1:48M:+8M")
            .arg(&image),
        0,
    );
    let (esp, len_bytes) = files::open(&esp);
    files::copy(&esp, 0..len_bytes, &files::open_to_write(&image), 1 << 20);
    image
}

#[test]
fn an_image_a_directory_and_named_files_give_the_same_answer() {
    if !programs(&["mkfs.vfat", "mcopy", "sgdisk", "qemu-img"]) {
        return;
    }
    let (folder, _) = laid_out("flags-all");
    let folder = folder.path();
    let raw = image(folder);
    let vhd = folder.join("disk.vhd");
    let mut convert = command("qemu-img");
    convert
        .args(["convert", "-O", "vpc", "-o", "subformat=fixed,force_size"])
        .args([&raw, &vhd]);
    exits(&mut convert, 0);
    let kernel =
        |name: &str| format!("esp/EFI/ubuntu/shimx64.efi,esp/EFI/ubuntu/kernel.efi-{name}");
    let (first, second) = (kernel("6.8.0-1009-azure"), kernel("6.8.0-1018-azure"));
    let answer = |boot_files: &[&str]| {
        let mut command_line = predict(folder);
        command_line.args(boot_files).args(CONFIGURATION);
        let output = exits(&mut command_line, 0);
        assert_eq!(text(output.stderr), "");
        text(output.stdout)
    };
    let expected = answer(&["--esp", "esp"]);
    assert!(
        expected.starts_with("branch 1 of 2: kernel.efi-6.8.0-1009-azure\n"),
        "{expected}"
    );
    assert_eq!(answer(&["disk.img"]), expected);
    assert_eq!(answer(&["disk.vhd"]), expected);
    assert_eq!(answer(&["--chain", &first, "--chain", &second]), expected);
}

#[test]
fn another_program_in_the_place_where_firmware_looks_first_is_told() {
    let (folder, _) = laid_out("flags-all");
    let removable = folder.path().join("esp/EFI/BOOT");
    fs::create_dir(&removable).unwrap();
    let said = |what: &str| {
        format!(
            "warning: EFI/BOOT/BOOTX64.EFI is {what} than EFI/ubuntu/shimx64.efi: a guest that starts it measures other values than these\n"
        )
    };
    let shim = folder.path().join("esp/EFI/ubuntu/shimx64.efi");
    let content = |name: &str| data::content(&format!("vectors/pe/{name}"));
    for (file, warning) in [
        (fs::read(shim).unwrap(), String::new()),
        (content("shim-15.8-vendor-db.efi"), said("another shim")),
        (
            content("kernel-db-a.efi"),
            said("a unified kernel image, another program"),
        ),
        (boot_programs::grub(), said("GRUB, another program")),
        (
            boot_programs::systemd_boot(),
            said("systemd-boot, another program"),
        ),
        (boot_programs::kernel(), said("a kernel, another program")),
        (boot_programs::unknown(), said("another program")),
        (b"no program".to_vec(), String::new()),
    ] {
        fs::write(removable.join("BOOTX64.EFI"), file).unwrap();
        for compat in [&[][..], &["--compat", "reference"]] {
            let mut command_line = predict(folder.path());
            command_line.args(["--esp", "esp"]).args(CONFIGURATION);
            let output = exits(command_line.args(compat), 0);
            assert_eq!(text(output.stderr), warning);
        }
    }
}

/// Where a unified kernel image lies under shim's name, it is what is predicted, and a shim in `EFI/BOOT` the other one.
#[test]
fn a_shim_beside_a_unified_kernel_image_in_its_place_is_told() {
    let (folder, _) = laid_out("flags-all");
    let esp = folder.path().join("esp/EFI");
    fs::create_dir(esp.join("BOOT")).unwrap();
    fs::rename(esp.join("ubuntu/shimx64.efi"), esp.join("BOOT/BOOTX64.EFI")).unwrap();
    let kernel = "ubuntu/kernel.efi-6.8.0-1009-azure";
    fs::copy(esp.join(kernel), esp.join("ubuntu/shimx64.efi")).unwrap();
    for compat in [&[][..], &["--compat", "reference"]] {
        let mut command_line = predict(folder.path());
        command_line.args([
            "--esp",
            "esp",
            "--no-verify-signatures",
            "--add-efi-boot-manager-profile",
        ]);
        let output = exits(
            command_line
                .args(["--uefi-config", "uefi-config.json"])
                .args(compat),
            0,
        );
        // Others are of what its signature and its command line leave open.
        let warnings = text(output.stderr);
        assert_eq!(
            warnings.lines().next(),
            Some(
                "warning: EFI/BOOT/BOOTX64.EFI is a shim, another program than EFI/ubuntu/shimx64.efi: a guest that starts it measures other values than these"
            )
        );
    }
}

/// Cases that ours refuses, what it says, and the flag that gives the reference's answer.
const REFUSED: [(&str, &str, &str); 5] = [
    (
        "pe-signature-broken",
        "kernel.efi-1: the signature of CN=Test Signer A,O=Example, or one in the chain of its certificates, does not verify: it cannot boot under Secure Boot",
        "--no-verify-signatures",
    ),
    (
        "pe-digest-mismatch",
        "kernel.efi-1: its content is not what CN=Test Signer A,O=Example signed (the digest differs): it cannot boot under Secure Boot",
        "--no-verify-signatures",
    ),
    (
        "dbx-hash-kernel",
        "kernel.efi-1: is forbidden by dbx: the digest 36264acb2ce7f46a33e6a44e98331eb74ca3732095b3f02499dcb480c32af689",
        "--ignore-dbx",
    ),
    (
        "kernel-without-sbat",
        "kernel.efi-1: has no section .sbat: shim 15.8 refuses it",
        "--ignore-sbat",
    ),
    (
        "kernel-none",
        "there is no kernel beside shim: EFI/ubuntu has neither kernel.efi-* nor grubx64.efi",
        "--allow-no-kernel",
    ),
];

#[test]
fn what_no_guest_would_start_is_refused_and_the_flag_that_lifts_it_named() {
    for (name, message, flag) in REFUSED {
        let (folder, case) = laid_out(name);
        let mut arguments = vec!["--esp", "esp"];
        arguments.extend(CONFIGURATION);
        arguments.extend(flags(&case));
        assert_eq!(
            refused(folder.path(), &arguments, 1),
            format!("error: esp: {message}\nhint: {flag} predicts the values all the same\n"),
            "{name}"
        );
        let mut lifted = predict(folder.path());
        lifted.args(&arguments).args([flag, "--json"]);
        let output = exits(&mut lifted, 0);
        let document = serde_json::from_slice(&output.stdout).unwrap();
        let composites: Vec<_> = values(&document).into_iter().map(|(own, _)| own).collect();
        assert_eq!(composites, case.expected.composites, "{name}");
    }
}

#[test]
fn a_signer_whom_nobody_trusts_leaves_pcr_4_alone_to_be_predicted() {
    let (folder, _) = laid_out("debian-shim-no-microsoft-ca");
    let mut arguments = vec!["--esp", "esp"];
    arguments.extend(CONFIGURATION);
    let message = "error: esp: shimx64.efi: is signed by CN=Microsoft Windows UEFI Driver Publisher,O=Microsoft Corporation,L=Redmond,ST=Washington,C=US \
                   and by CN=Microsoft UEFI CA 2023 signer,O=Microsoft Corporation,L=Redmond,ST=Washington,C=US, and nothing in db leads there: \
                   it cannot boot under Secure Boot\n\
                   hint: --no-verify-signatures predicts PCR 4 all the same, with --add-efi-boot-manager-profile alone\n";
    assert_eq!(refused(folder.path(), &arguments, 1), message);
    arguments.push("--no-verify-signatures");
    assert_eq!(refused(folder.path(), &arguments, 1), message);
    arguments.push("--add-efi-boot-manager-profile");
    exits(predict(folder.path()).args(&arguments), 0);
}

#[test]
fn a_shim_of_the_other_authority_of_microsoft_is_refused_with_the_way_out() {
    if !programs(&["sbattach"]) {
        return;
    }
    // Debian's shim has two signatures, the first under the CA of 2011.
    for (name, removed, signed, held) in [
        ("debian-shim-own-kernel", "1", 2023, 2011),
        ("debian-shim-2023-only", "2", 2011, 2023),
    ] {
        let (folder, _) = laid_out(name);
        let mut arguments = vec!["--esp", "esp"];
        arguments.extend(CONFIGURATION);
        exits(predict(folder.path()).args(&arguments), 0);
        let mut removal = command("sbattach");
        removal.args(["--remove", "--signum", removed]);
        removal.arg(folder.path().join("esp/EFI/ubuntu/shimx64.efi"));
        exits(&mut removal, 0);
        assert_eq!(
            refused(folder.path(), &arguments, 1),
            format!(
                "error: esp: shimx64.efi: is signed under Microsoft's UEFI CA of {signed}, and db holds the one of {held} alone: \
                 it cannot boot under Secure Boot before the guest's db gets the other\n\
                 hint: take a shim that is signed under both, or describe the guest after its db was updated\n"
            ),
            "{name}"
        );
    }
}

#[test]
fn wrong_usage_is_told_apart() {
    let (folder, _) = laid_out("flags-all");
    let firmware = "error: say what the guest's firmware holds: --uefi-config FILE, --ovmf-vars FILE, --az-disk-profile FILE or --efivars [DIR]\n";
    let said = refused(folder.path(), &["--esp", "esp"], 2);
    assert!(said.starts_with(firmware), "{said}");
    let said = refused(folder.path(), &CONFIGURATION, 2);
    assert!(
        said.starts_with("error: the following required arguments were not provided:\n"),
        "{said}"
    );
    let both = [
        "--esp",
        "esp",
        "disk.img",
        CONFIGURATION[0],
        CONFIGURATION[1],
    ];
    let said = refused(folder.path(), &both, 2);
    assert!(said.contains("cannot be used with"), "{said}");
    support::exits(predict(folder.path()).arg("--help"), 0);
}

/// What the operating system said stands below, once.
#[test]
fn a_boot_file_that_cannot_be_read_is_told_with_the_reason() {
    if !programs(&["strace"]) {
        return;
    }
    let (folder, case) = laid_out("flags-all");
    let shim = fs::canonicalize(folder.path().join("esp/EFI/ubuntu/shimx64.efi")).unwrap();
    let mut strace = command("strace");
    strace
        .args(["-qq", "-f", "-o", "/dev/null", "-P"])
        .arg(shim);
    strace.args(["-e", "trace=pread64", "-e", "inject=pread64:error=EIO"]);
    strace.arg(env!("CARGO_BIN_EXE_encrypt-cloud-image"));
    strace.args(["predict", "--esp", "esp"]);
    strace.args(CONFIGURATION).args(flags(&case));
    let output = exits(strace.current_dir(folder.path()), 1);
    assert_eq!(
        text(output.stderr),
        "error: esp: shimx64.efi: the file cannot be read\n  because: cannot read at offset 0\n  because: Input/output error (os error 5)\n"
    );
}
