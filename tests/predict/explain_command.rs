//! `predict --explain LOG`, as an operator types it.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tpm::Bank;
use tpm::event_log;

use crate::command::{CONFIGURATION, image, laid_out, predict, refused, text};
use crate::data;
use crate::support::{command, exits, programs};

/// A folder with an ESP, a configuration, and `guest.log`: the log of a guest that boots the second of two
/// kernels, which `predict` wrote and `tpm2_eventlog` reads (`command.rs`).
fn folder() -> tempfile::TempDir {
    let (folder, _) = laid_out("flags-all");
    let mut command = predict(folder.path());
    command.args(["--esp", "esp", "--tcg-log", "guest.log", "--branch", "2"]);
    exits(command.args(CONFIGURATION), 0);
    folder
}

const ARGUMENTS: [&str; 6] = [
    "--esp",
    "esp",
    "--explain",
    "guest.log",
    CONFIGURATION[0],
    CONFIGURATION[1],
];

#[test]
fn a_log_that_is_as_predicted_exits_with_0_and_names_its_branch() {
    let folder = folder();
    let mut command = predict(folder.path());
    command.args(ARGUMENTS);
    let output = exits(&mut command, 0);
    assert_eq!(text(output.stderr), "");
    let said = text(output.stdout);
    let first = "guest.log: 15 events, beside branch 2 of 2, which fits best: kernel.efi-6.8.0-1018-azure\n\nPCR 4 is as predicted\n";
    assert!(said.starts_with(first), "{said}");
    assert!(said.contains("\nPCR 7 is as predicted\n"), "{said}");
    // Our own log has the epoch, as no guest's has.
    assert!(said.contains("\nPCR 12 is as predicted\n"), "{said}");
    assert!(
        said.contains("\nnote: firmware log, and is no difference: snap-bootstrap's epoch"),
        "{said}"
    );
}

#[test]
fn a_disk_image_is_explained_as_the_files_of_its_partition_are() {
    if !programs(&["mkfs.vfat", "mcopy", "sgdisk"]) {
        return;
    }
    let folder = folder();
    image(folder.path());
    let said = |boot_files: &[&str], configuration: &str, code: i32| {
        let mut command = predict(folder.path());
        command.args(boot_files).args(["--explain", "guest.log"]);
        command.args(["--ignore-dbx", "--uefi-config", configuration]);
        text(exits(&mut command, code).stdout)
    };
    fs::write(
        folder.path().join("other.json"),
        data::content("vectors/uefi/dbx-hash.json"),
    )
    .unwrap();
    for (configuration, code) in [("uefi-config.json", 0), ("other.json", 3)] {
        let expected = said(&["--esp", "esp"], configuration, code);
        assert_eq!(said(&["disk.img"], configuration, code), expected);
    }
}

#[test]
fn a_log_of_the_other_bank_is_as_predicted_in_that_bank_alone() {
    let folder = folder();
    let sha384 = ["--bank", "sha384"];
    let mut command = predict(folder.path());
    command.args(["--esp", "esp", "--tcg-log", "guest.log", "--branch", "1"]);
    exits(command.args(CONFIGURATION).args(sha384), 0);
    exits(predict(folder.path()).args(ARGUMENTS).args(sha384), 0);
    assert_eq!(
        refused(folder.path(), &ARGUMENTS, 1),
        "error: guest.log: the event log has no digests of the sha256 bank; it has those of sha384\n\
         hint: choose a bank that the log has: --bank sha256 or --bank sha384\n"
    );
}

#[test]
fn a_log_that_differs_exits_with_3_and_tells_where_and_why() {
    let folder = folder();
    fs::write(
        folder.path().join("uefi-config.json"),
        data::content("vectors/uefi/dbx-hash.json"),
    )
    .unwrap();
    let mut command = predict(folder.path());
    command
        .args(ARGUMENTS)
        .args(["--ignore-dbx", "--add-efi-secure-boot-profile"]);
    let output = exits(&mut command, 3);
    assert_eq!(
        text(output.stderr),
        "error: guest.log: the guest measured something else than predicted in PCR 7\n"
    );
    let said = text(output.stdout);
    assert!(said.contains("\nPCR 7 differs first at event "), "{said}");
    assert!(
        said.contains("\n       likely: the guest's dbx is not that of the configuration: "),
        "{said}"
    );
}

#[test]
fn a_log_of_a_real_boot_is_read_as_the_kernel_shows_it() {
    let (folder, _) = laid_out("debian-shim-own-kernel");
    fs::write(
        folder.path().join("guest.log"),
        data::content("firmware/shim-boot-entry/eventlog.bin"),
    )
    .unwrap();
    fs::write(
        folder.path().join("OVMF_VARS.fd"),
        data::content("firmware/shim-boot-entry/vars-before.fd.gz"),
    )
    .unwrap();
    let mut command = predict(folder.path());
    // The kernel is another one, and signed by nobody whom this store knows.
    command.args([
        "--chain",
        "esp/EFI/ubuntu/shimx64.efi,esp/EFI/ubuntu/kernel.efi-1",
    ]);
    command.args(["--ovmf-vars", "OVMF_VARS.fd", "--explain", "guest.log"]);
    command.args(["--add-efi-boot-manager-profile", "--no-verify-signatures"]);
    let output = exits(&mut command, 3);
    let pcrs: Value = data::json("firmware/shim-boot-entry/pcrs.json");
    let pcr = |number: &str| pcrs["sha256"][number].as_str().unwrap().to_owned();
    let expected = format!(
        "\
guest.log: 48 events, beside the prediction for kernel.efi-1

PCR 4 differs first at event 31: program \\EFI\\ubuntu\\grubx64.efi
    15 equal    3d6772b4f84ed47595d72a2c4c5ffd15f5bb72c7507fe26f2aaee2c69d5633ba Calling EFI Application from Boot Option
    20 equal    df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119 end of what firmware measures before it boots
    25 equal    80a66d53a945d2286fcadd780fae1c225aa732079cd67b5225dc78aaab4e2ff8 program shimx64.efi
    31 differs  da5b0fb0cc8d6cba9141a6e22590b51ea7edb22b501a990409ec624005aed861 measured: program \\EFI\\ubuntu\\grubx64.efi
                36264acb2ce7f46a33e6a44e98331eb74ca3732095b3f02499dcb480c32af689 predicted: program kernel.efi-1
       likely: another kernel than kernel.efi-1: the guest started \\EFI\\ubuntu\\grubx64.efi, of other content; an updated or rebuilt kernel, initial ramdisk or command line
  predicted    cc766af7ff90017a5e6ff3d2b025e2761b821f3dd3125a4bcf0dbf06b2423c4e
  by the log   {}

sha256 PCR 0  {}, by the log
",
        pcr("4"),
        pcr("0")
    );
    let said = text(output.stdout);
    assert!(said.starts_with(&expected), "{said}");
    assert!(
        said.contains(&format!("sha256 PCR 14 {}, by the log\n", pcr("14"))),
        "{said}"
    );
}

#[test]
fn the_document_has_the_explanation_and_follows_its_schema() {
    if !programs(&["jsonschema"]) {
        return;
    }
    let folder = folder();
    let document = |configuration: &str, code: i32| -> Value {
        let mut command = predict(folder.path());
        command.args([
            "--esp",
            "esp",
            "--explain",
            "guest.log",
            "--json",
            "--ignore-dbx",
        ]);
        command.args(["--uefi-config", configuration]);
        let output = exits(&mut command, code);
        let file = folder.path().join("document.json");
        fs::write(&file, &output.stdout).unwrap();
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas/predict-1.json");
        exits(command_to_judge(&file, &schema).as_mut(), 0);
        // The judge finds what is wrong.
        let wrong =
            text(output.stdout.clone()).replace("\"verdict\": \"equal\"", "\"verdict\": \"same\"");
        fs::write(&file, wrong).unwrap();
        exits(command_to_judge(&file, &schema).as_mut(), 1);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    fs::write(
        folder.path().join("other.json"),
        data::content("vectors/uefi/dbx-hash.json"),
    )
    .unwrap();
    let own = document("uefi-config.json", 0);
    let explanation = &own["explanation"];
    assert_eq!(
        (&explanation["branch"], &explanation["equal"]),
        (&Value::from(2), &Value::from(true))
    );
    let equal: Vec<_> = explanation["pcrs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pcr| pcr["equal"].as_bool())
        .collect();
    assert_eq!(equal, [Some(true); 3]);
    for pcr in ["4", "7", "12"] {
        assert_eq!(
            explanation["log_pcrs"][pcr],
            own["branches"][1]["pcrs"][pcr]
        );
    }
    let other = document("other.json", 3);
    assert_eq!(other["exit_status"], 3);
    let seven = &other["explanation"]["pcrs"][1];
    let at = usize::try_from(seven["first_difference"].as_u64().unwrap()).unwrap();
    let row = &seven["events"][at];
    assert_eq!(row["verdict"], "differs");
    assert_eq!(row["cause"]["name"], "other-database");
    assert_eq!(row["predicted"]["description"], "variable dbx: 124 bytes");
    assert_eq!(row["log_event"], 5);
}

fn command_to_judge(document: &Path, schema: &Path) -> Box<std::process::Command> {
    let mut validator = command("jsonschema");
    validator.arg("--instance").arg(document).arg(schema);
    Box::new(validator)
}

/// The real log, damaged, and what is said of it.
fn damaged(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let (folder, _) = laid_out("flags-all");
    let mut log = data::content("firmware/shim-boot-entry/eventlog.bin");
    change(&mut log);
    fs::write(folder.path().join("guest.log"), log).unwrap();
    refused(folder.path(), &ARGUMENTS, 1)
}

#[test]
fn logs_that_cannot_be_read_are_told_apart_with_the_place() {
    let hint = "hint: in the guest the log is /sys/kernel/security/tpm0/binary_bios_measurements; only root may read it\n";
    let no_log = format!(
        "error: guest.log: not an event log: the event at byte 0 is neither that of a crypto-agile log, Spec ID Event03, nor one of a log of TPM 1.2\n{hint}"
    );
    assert_eq!(
        damaged(Vec::clear),
        format!("error: guest.log: the event log is empty\n{hint}")
    );
    for len in [1, 32] {
        assert_eq!(damaged(|log| log.truncate(len)), no_log, "{len}");
    }
    for len in [33, 64] {
        assert_eq!(
            damaged(|log| log.truncate(len)),
            "error: guest.log: the event log ends within the event at byte 0\n",
            "{len}"
        );
    }
    assert_eq!(damaged(|log| log[32] = b's'), no_log);
    assert_eq!(damaged(|log| log[0] = 5), no_log);
    assert_eq!(damaged(|log| *log = b"PCR 0: 00\n".repeat(9)), no_log);
    assert_eq!(damaged(|log| *log = vec![0; 4096]), no_log);
    assert_eq!(damaged(|log| *log = vec![0xff; 4096]), no_log);
    assert_eq!(
        damaged(|log| log[56] = 17),
        "error: guest.log: the event log describes algorithms that cannot be, at byte 56 of its first event\n"
    );
    assert_eq!(
        damaged(|log| log[62] = 20),
        "error: guest.log: the event log describes algorithms that cannot be, at byte 60 of its first event\n"
    );
    assert_eq!(
        damaged(|log| log.truncate(log.len() - 1)),
        "error: guest.log: the event log ends within the event at byte 14299\n"
    );
    // The second event begins at byte 65: PCR, type, number of digests, algorithm.
    assert_eq!(
        damaged(|log| log[65] = 24),
        "error: guest.log: the event at byte 65 is for PCR 24, which no TPM has\n"
    );
    assert_eq!(
        damaged(|log| log[73] = 2),
        "error: guest.log: the event at byte 65 claims 2 digests, and the log announces 1 algorithms\n"
    );
    assert_eq!(
        damaged(|log| log[77] = 4),
        "error: guest.log: the event at byte 65 has a digest of the algorithm 0x0004, which the log does not announce\n"
    );
    assert_eq!(
        damaged(|log| log.splice(73..111, [0; 4]).for_each(drop)),
        "error: guest.log: the event at byte 65 has no digest of the sha256 bank\n"
    );
    assert_eq!(
        damaged(|log| log[60] = 0xd),
        "error: guest.log: the event log has no digests of the sha256 bank; it has those of sha512\n\
         hint: choose a bank that the log has: --bank sha256 or --bank sha384\n"
    );
}

/// Synthetic logs, as confidential guests have them: the index of a measurement register in place of the PCR, padded or
/// not, cut anywhere; and td-shim's, whose first event carries the index 0.
#[test]
fn a_log_of_confidential_computing_is_called_one() {
    let said = "error: guest.log: an event log of confidential computing (CCEL): its events went into the measurement registers of a confidential guest (RTMRs), and not into PCRs\n\
                hint: only PCRs are predicted: where the guest has a vTPM, too, its log is /sys/kernel/security/tpm0/binary_bios_measurements\n";
    for register in [1, 4] {
        assert_eq!(damaged(|log| log[0] = register), said);
    }
    for padding in [0, 0xff] {
        let change = |log: &mut Vec<u8>| {
            log[0] = 1;
            log.resize(65_536, padding);
        };
        assert_eq!(damaged(change), said);
    }
    for len in [33, 64, 65] {
        let change = |log: &mut Vec<u8>| {
            log[0] = 1;
            log.truncate(len);
        };
        assert_eq!(damaged(change), said, "{len}");
    }
    let td_shim = |log: &mut Vec<u8>| {
        log[28] += 7;
        log.splice(64..65, *b"\x07td-shim");
    };
    assert_eq!(damaged(td_shim), said);
}

/// The events of the real log as TPM 1.2 has them: PCR, type, one digest of SHA-1, data.
#[test]
fn a_log_of_tpm_1_2_is_called_one() {
    let said = "error: guest.log: an event log in the format of TPM 1.2, which has SHA-1 digests alone, and no other bank\n\
                hint: a guest with a TPM 2.0 has a log of several banks: /sys/kernel/security/tpm0/binary_bios_measurements\n";
    let events = event_log::read(
        &data::content("firmware/shim-boot-entry/eventlog.bin"),
        Bank::Sha256,
    );
    let mut log = Vec::new();
    let mut ends = Vec::new();
    for event in events.unwrap() {
        log.extend(event.pcr.to_le_bytes());
        log.extend(event.event_type.to_le_bytes());
        log.extend(&event.digest[..20]);
        log.extend(u32::try_from(event.data.len()).unwrap().to_le_bytes());
        log.extend(&event.data);
        ends.push(log.len());
    }
    assert_eq!(damaged(|old| old.clone_from(&log)), said);
    // One event alone is a log, the start of one is not; later ones may be cut.
    assert_eq!(damaged(|old| *old = log[..ends[0]].to_vec()), said);
    for cut in [ends[1] + 1, log.len() - 1] {
        assert_eq!(damaged(|old| *old = log[..cut].to_vec()), said);
    }
    for padding in [0, 0xff] {
        let padded = [&log[..], &[padding; 4096]].concat();
        assert_eq!(damaged(|old| *old = padded), said);
    }
    let noted = [
        &[0; 4][..],
        &[3, 0, 0, 0],
        &[0; 20],
        &[17, 0, 0, 0],
        b"StartupLocality\0\x03",
    ]
    .concat();
    assert_eq!(damaged(|old| *old = noted), said);
}

#[test]
fn a_log_that_is_not_there_or_much_too_long_is_refused() {
    let folder = folder();
    fs::remove_file(folder.path().join("guest.log")).unwrap();
    assert_eq!(
        refused(folder.path(), &ARGUMENTS, 1),
        "error: cannot read guest.log\n  because: No such file or directory (os error 2)\n"
    );
    let log = fs::File::create(folder.path().join("guest.log")).unwrap();
    log.set_len((16 << 20) + 1).unwrap();
    assert_eq!(
        refused(folder.path(), &ARGUMENTS, 1),
        "error: guest.log has more than 16 MiB, and is not read: a guest's event log has some ten KiB\n"
    );
}
