//! A key is sealed to what a guest has when it asks for the key, or not at all: what is behind GRUB and its like is
//! refused in words, for both key objects, and the image stays as it was.

use firmware::config::Rules;
use firmware::{Database, UefiConfig};

use crate::data;
use crate::encrypted::{Encrypted, FLAGS, ready};
use crate::support::boot_programs::{
    Signer, for_arm, grub, kernel, systemd_boot, unified, unified_without_command_line, unknown,
};
use crate::support::workshop::{refused, stderr, stdout};
use crate::support::{exits, files, programs};
use crate::systemd_guest::KEY_OBJECT;

/// No signature is looked at; with PCR 7 somebody must be named.
const UNSIGNED: [&str; 5] = [
    "--srk-pub",
    "srk.pub",
    "--uefi-config",
    "uefi-config.json",
    "--no-verify-signatures",
];
const PCR_4: &str = "--add-efi-boot-manager-profile";
const PCR_7: &str = "--add-efi-secure-boot-profile";
const PCR_12: &str = "--add-ubuntu-kernel-profile";
const ALLOWED: &str = "--allow-uncovered-initrd";

const GRUB: &str = "grubx64.efi: is GRUB: the kernel that it loads is measured into PCR 4 as well, and into PCR 7 where another has signed it; no PCR that is predicted covers that kernel's initrd and command line";
const SYSTEMD_BOOT: &str = "grubx64.efi: is systemd-boot: what it loads is measured into PCR 4 as well, and into PCR 7 where another has signed it, which is not predicted";
const SECOND_SHIM: &str = "grubx64.efi: is a second shim: what it loads is measured into PCR 4 and PCR 7 as well, which is not predicted";
const UNKNOWN: &str = "grubx64.efi: is no unified kernel image, nor any other program that is known: if it loads another one, that is measured into PCR 4 as well, and no PCR that is predicted covers an initrd and a command line";
const KERNEL: &str = "grubx64.efi: is a kernel alone, no unified kernel image: no PCR that is predicted covers its initrd and its command line";
const CHOOSES: &str = "; whoever can write the disk chooses them, and gets the key";

const REPLACE: &str = "put a unified kernel image in its place";
const REPLACE_OR_7: &str = "put a unified kernel image in its place; or seal to PCR 7 without PCR 4, and give --allow-uncovered-initrd";
const COVERS: &str = "a unified kernel image in its place has both in it; --allow-uncovered-initrd seals all the same";

const OPEN_COMMAND_LINE: &str = "warning: grubx64.efi: it has no command line of its own, and PCR 12 is not asked for, which takes in the one that is handed to it: whoever can write the disk chooses it\n";
const SECURE_BOOT_OFF: &str = "warning: grubx64.efi: with Secure Boot off it takes a command line from outside, which whoever can write the disk chooses; of the PCRs that tell, 7 and 12, none is asked for\n";

fn locked(pcrs: &str) -> String {
    format!("; a key that is sealed to {pcrs} would stay locked")
}

/// An encrypted image whose shim loads this program.
fn booting(program: Vec<u8>) -> Encrypted {
    let encrypted = Encrypted::new();
    encrypted.boots(&[("grubx64.efi".to_owned(), program)]);
    encrypted
}

/// Both key objects refuse in the same words, and write nothing.
#[track_caller]
fn assert_refused(encrypted: &Encrypted, flags: &[&str], message: &str, hint: &str) {
    let before = files::digest(&encrypted.image);
    for key_object in [&[][..], &KEY_OBJECT] {
        let flags = [&UNSIGNED[..], flags, key_object].concat();
        assert_eq!(
            refused(encrypted.deploy(&flags).arg("disk.img")),
            format!("error: disk.img: {message}\nhint: {hint}\n")
        );
    }
    assert_eq!(files::digest(&encrypted.image), before);
}

#[test]
fn pcr_4_is_refused_where_more_is_loaded_than_is_predicted() {
    if !ready() {
        return;
    }
    let second_shim = data::content("vectors/pe/shim-by-a.efi");
    for (program, said, hint, reach) in [
        (grub(), GRUB, REPLACE_OR_7, false),
        (unknown(), UNKNOWN, REPLACE_OR_7, false),
        (systemd_boot(), SYSTEMD_BOOT, REPLACE, true),
        (second_shim, SECOND_SHIM, REPLACE, true),
    ] {
        let encrypted = booting(program);
        let message = |pcrs: &str| format!("{said}{}", locked(pcrs));
        for allowed in [&[][..], &[ALLOWED]] {
            let pcr_4 = [&[PCR_4][..], allowed].concat();
            assert_refused(&encrypted, &pcr_4, &message("PCR 4"), hint);
        }
        if reach {
            // What it loads decides PCR 12 as well: nothing is left that could be sealed to.
            let both = message("PCR 4 or PCR 12");
            assert_refused(&encrypted, &[PCR_4, PCR_12, ALLOWED], &both, hint);
            assert_refused(&encrypted, &[PCR_12, ALLOWED], &message("PCR 12"), hint);
        } else {
            assert_refused(
                &encrypted,
                &[PCR_4, PCR_12, ALLOWED],
                &message("PCR 4"),
                hint,
            );
        }
    }
}

#[test]
fn an_initrd_that_nothing_covers_needs_an_option() {
    if !ready() {
        return;
    }
    for (program, said) in [(grub(), GRUB), (unknown(), UNKNOWN), (kernel(), KERNEL)] {
        let encrypted = booting(program);
        let message = format!("{said}{CHOOSES}");
        assert_refused(&encrypted, &[PCR_12], &message, COVERS);
        let flags = [&UNSIGNED[..], &[PCR_12, ALLOWED]].concat();
        let output = exits(encrypted.deploy(&flags).arg("disk.img"), 0);
        let warning = format!("warning: {said}\n");
        assert!(stderr(&output).contains(&warning), "{}", stderr(&output));
    }
    // Of a kernel alone all values are right.
    let encrypted = booting(kernel());
    let message = format!("{KERNEL}{CHOOSES}");
    assert_refused(&encrypted, &[PCR_4, PCR_12], &message, COVERS);
    let flags = [&UNSIGNED[..], &[PCR_4, PCR_12, ALLOWED]].concat();
    exits(encrypted.deploy(&flags).arg("disk.img"), 0);
}

/// What is predicted and shown is sealed to, where that is allowed: PCR 7 alone, for both key objects.
#[test]
fn pcr_7_alone_is_sealed_to_behind_grub_where_that_is_allowed() {
    if !ready() || !programs(&["sbsign", "openssl"]) {
        return;
    }
    let signer = Signer::new();
    for key_object in [&[][..], &KEY_OBJECT] {
        let encrypted = booting(signer.signed(&grub()));
        encrypted.trusts(&signer.certificate());
        let verified = [&FLAGS[..4], key_object].concat();
        let pcr_7 = [&verified[..], &[PCR_7]].concat();
        let before = files::digest(&encrypted.image);
        assert_eq!(
            refused(encrypted.deploy(&pcr_7).arg("disk.img")),
            format!("error: disk.img: {GRUB}{CHOOSES}\nhint: {COVERS}\n")
        );
        let with_4 = [&pcr_7[..], &[PCR_4, ALLOWED]].concat();
        assert_eq!(
            refused(encrypted.deploy(&with_4).arg("disk.img")),
            format!(
                "error: disk.img: {GRUB}{}\nhint: {REPLACE_OR_7}\n",
                locked("PCR 4")
            )
        );
        assert_eq!(files::digest(&encrypted.image), before);
        let allowed = [&pcr_7[..], &[ALLOWED]].concat();
        let output = exits(encrypted.deploy(&allowed).arg("disk.img"), 0);
        let warning = format!("warning: {GRUB}\n");
        assert!(stderr(&output).contains(&warning), "{}", stderr(&output));
    }
}

/// GRUB beside a unified kernel image is a way to boot as well.
#[test]
fn one_such_way_to_boot_is_enough() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    encrypted.boots(&[
        ("kernel.efi-1".to_owned(), unified("257.1")),
        ("grubx64.efi".to_owned(), grub()),
    ]);
    let message = format!("{GRUB}{}", locked("PCR 4"));
    assert_refused(&encrypted, &[PCR_4], &message, REPLACE_OR_7);
}

/// `predict` shows what the reference shows, and says what is missing; a sealed value is never one of these.
#[test]
fn predict_shows_the_values_and_warns() {
    if !ready() {
        return;
    }
    for (program, said, kind, pcrs) in [
        (grub(), GRUB, "grub", &[4, 11][..]),
        (
            systemd_boot(),
            SYSTEMD_BOOT,
            "systemd-boot",
            &[4, 7, 11, 12],
        ),
        (unknown(), UNKNOWN, "unknown", &[4, 11]),
        (kernel(), KERNEL, "kernel", &[11]),
    ] {
        let encrypted = booting(program);
        for compat in [&[][..], &["--compat", "reference"]] {
            let mut predict = encrypted.workshop.command(encrypted.workshop.program());
            predict.args(["predict", "disk.img", PCR_4]).args(compat);
            let output = exits(predict.args(&UNSIGNED[2..]), 0);
            let warning = format!("warning: {said}\n");
            assert!(stderr(&output).contains(&warning), "{}", stderr(&output));
            assert!(stdout(&output).contains("sha256 PCR 4"));
        }
        let mut predict = encrypted.workshop.command(encrypted.workshop.program());
        predict.args(["predict", "--json", "disk.img", PCR_4]);
        let document: serde_json::Value =
            serde_json::from_slice(&exits(predict.args(&UNSIGNED[2..]), 0).stdout).unwrap();
        let gap = &document["branches"][0]["gap"];
        assert_eq!(
            *gap,
            serde_json::json!({"kind": kind, "pcrs": pcrs, "reason": said})
        );
    }
}

/// A guest that stops behind shim asks for no key.
#[test]
fn a_shim_without_a_kernel_is_predicted_and_never_sealed_to() {
    if !ready() {
        return;
    }
    let encrypted = booting(Vec::new());
    encrypted.change_esp("mdel", &["::/EFI/ubuntu/grubx64.efi"]);
    let said = "shimx64.efi: is a shim, and loads no kernel: no guest that asks for a key has these values";
    let flags = ["--allow-no-kernel", PCR_4, PCR_12];
    assert_refused(
        &encrypted,
        &flags,
        &format!("{said}{}", locked("PCR 4 or PCR 12")),
        "put a unified kernel image beside it first",
    );
    // PCR 11 of such a boot is zero, and would open in every other boot without a unified kernel image.
    let sections = [&UNSIGNED[..], &flags, &KEY_OBJECT, &["--bind-pcr11"]].concat();
    assert_eq!(
        refused(encrypted.deploy(&sections).arg("disk.img")),
        "error: disk.img: shimx64.efi: is no unified kernel image: nothing is measured into PCR 11 when it boots, so --bind-pcr11 would bind nothing\n"
    );
}

/// Firmware starts it by itself, so its sections are in PCR 11, with an option or without; what lies beside is never loaded.
#[test]
fn a_unified_kernel_image_under_the_name_of_shim_is_sealed_to_as_itself() {
    if !ready() {
        return;
    }
    for allowed in [&[][..], &["--allow-no-kernel"]] {
        let encrypted = booting(grub());
        encrypted.change_esp("mdel", &["::/EFI/ubuntu/shimx64.efi"]);
        let kernel = encrypted.workshop.write("uki.efi", &unified("257.1"));
        encrypted.change_esp(
            "mcopy",
            &[kernel.to_str().unwrap(), "::/EFI/ubuntu/shimx64.efi"],
        );
        let more = [PCR_4, "--bind-pcr11", "--report", "report.json"];
        let flags = [&UNSIGNED[..], &more, &KEY_OBJECT, allowed].concat();
        exits(encrypted.deploy(&flags).arg("disk.img"), 0);
        let predicted = |place: &[&str]| {
            let mut predict = encrypted.workshop.command(encrypted.workshop.program());
            predict.arg("predict").args(place).args(["--json", PCR_4]);
            predict.args(["--bind-pcr11"]).args(KEY_OBJECT);
            let output = exits(predict.args(&UNSIGNED[2..]), 0);
            let document: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
            let [branch] = &document["branches"].as_array().unwrap()[..] else {
                panic!("{document}")
            };
            branch["pcrs"].clone()
        };
        let values = predicted(&["--chain", "uki.efi"]);
        assert_ne!(values["11"], "0".repeat(64));
        let report = std::fs::read(encrypted.workshop.path("report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["policy"]["branches"][0]["pcrs"], values);
    }
}

/// Addons change PCR 4 as well as 12, for every reader; a stub that says that it is too old for them reads none.
#[test]
fn addons_beside_a_kernel_are_refused_until_they_are_predicted() {
    if !ready() {
        return;
    }
    let own = "EFI/ubuntu/grubx64.efi.extra.d";
    for (folders, path) in [
        (
            &["loader", "loader/addons"][..],
            "loader/addons/x.addon.efi",
        ),
        (&[own], "EFI/ubuntu/grubx64.efi.extra.d/y.addon.efi"),
        (&[own], "EFI/ubuntu/grubx64.efi.extra.d/Z.ADDON.EFI"),
    ] {
        for (version, reads) in [("257.1", true), ("254~rc1", true), ("253.9", false)] {
            let encrypted = booting(unified(version));
            for folder in folders {
                encrypted.change_esp("mmd", &[&format!("::/{folder}")]);
            }
            let addon = encrypted.workshop.write("addon", &unknown());
            let to = format!("::/{path}");
            encrypted.change_esp("mcopy", &[addon.to_str().unwrap(), &to]);
            if !reads {
                let flags = [&UNSIGNED[..], &[PCR_4]].concat();
                exits(encrypted.deploy(&flags).arg("disk.img"), 0);
                continue;
            }
            let said = format!(
                "grubx64.efi: its systemd-stub may load {path}: addons are measured into PCR 4 and PCR 12, and into PCR 7 where another has signed them, which is not predicted"
            );
            let hint = "remove them from the EFI system partition";
            let message = format!("{said}{}", locked("PCR 4"));
            assert_refused(&encrypted, &[PCR_4], &message, hint);
            let message = format!("{said}{}", locked("PCR 4 or PCR 12"));
            let flags = [PCR_4, PCR_12, "--allow-extra-measurements"];
            assert_refused(&encrypted, &flags, &message, hint);
        }
    }
}

/// systemd-stub takes a command line from outside where its image has none, or Secure Boot is off. Of the PCRs, 12 tells the
/// first, 7 or 12 the second (boots of systemd 252 and 257; systemd-stub(7)).
#[test]
fn a_command_line_that_nothing_covers_is_said() {
    if !ready() || !programs(&["openssl", "sbsign"]) {
        return;
    }
    let signer = Signer::new();
    let (bare, whole) = (unified_without_command_line, || unified("257.1"));
    for (program, flags, said) in [
        (bare(), &[PCR_4][..], Some(OPEN_COMMAND_LINE)),
        (bare(), &[PCR_4, PCR_7], Some(OPEN_COMMAND_LINE)),
        (bare(), &[PCR_4, PCR_7, PCR_12], None),
        (whole(), &[PCR_4], Some(SECURE_BOOT_OFF)),
        (whole(), &[PCR_4, PCR_12], None),
        (whole(), &[PCR_4, PCR_7], None),
    ] {
        let encrypted = booting(signer.signed(&program));
        encrypted.trusts(&signer.certificate());
        let flags = [&FLAGS[..4], flags].concat();
        let output = exits(encrypted.deploy(&flags).arg("disk.img"), 0);
        let warnings = stderr(&output);
        let about: Vec<_> = warnings
            .split_inclusive('\n')
            .filter(|line| line.contains("command line"))
            .collect();
        assert_eq!(about, said.into_iter().collect::<Vec<_>>(), "{flags:?}");
    }
}

#[test]
fn a_program_for_another_processor_is_refused() {
    if !ready() {
        return;
    }
    let encrypted = booting(for_arm(unified("257.1")));
    let flags = [&UNSIGNED[..], &[PCR_4]].concat();
    assert_eq!(
        refused(encrypted.deploy(&flags).arg("disk.img")),
        "error: disk.img: grubx64.efi: is a program for 64-bit Arm, and shimx64.efi one for x86-64: it cannot boot\n"
    );
}

/// With Secure Boot off firmware measures the kernel inside as well: a message about that one says so.
#[test]
fn a_kernel_inside_that_is_no_program_is_told_from_the_image_around_it() {
    if !ready() {
        return;
    }
    let encrypted = booting(unified("257.1"));
    let flags = [&FLAGS[..4], &["--secure-boot", "off", PCR_4]].concat();
    assert_eq!(
        refused(encrypted.deploy(&flags).arg("disk.img")),
        "error: disk.img: grubx64.efi: the kernel inside of it, its section .linux: 6 bytes are too few for a PE program, whose headers take 96\n"
    );
}

/// No guest has Secure Boot on without a platform key: nothing is sealed to such a state, and no answer promises one.
#[test]
fn a_guest_without_a_platform_key_is_refused() {
    if !ready() {
        return;
    }
    let encrypted = booting(unified("257.1"));
    let flags = [&UNSIGNED[..], &[PCR_4]].concat();
    exits(
        encrypted
            .deploy(&[&flags[..], &["-o", "deployed.img"]].concat())
            .arg("disk.img"),
        0,
    );
    let path = encrypted.workshop.path("uefi-config.json");
    let text = std::fs::read(&path).unwrap();
    let mut configuration = UefiConfig::from_json(&text, Rules::Ours).unwrap().config;
    configuration.set(Database::Pk, Some(Vec::new()));
    std::fs::write(path, configuration.to_json()).unwrap();
    let what = "error: uefi-config.json: PK is empty, and without a platform key Secure Boot is off\n\
                hint: describe the guest again with create-uefi-config, where it has a PK; --secure-boot off is for a guest without one\n";
    let before = files::digest(&encrypted.image);
    assert_eq!(refused(encrypted.deploy(&flags).arg("disk.img")), what);
    assert_eq!(files::digest(&encrypted.image), before);
    let mut inspect = encrypted.workshop.command(encrypted.workshop.program());
    inspect.args(["inspect", "deployed.img", "--against"]);
    assert_eq!(refused(inspect.args(&UNSIGNED[2..])), what);
}

/// Who seals gets no option that lifts a check for a hint: it would seal to what no guest reaches.
#[test]
fn a_program_that_does_not_start_is_refused_with_what_helps() {
    if !ready() || !programs(&["openssl", "sbsign"]) {
        return;
    }
    let signer = Signer::new();
    let unsigned = unified("257.1");
    let without_sbat = crate::support::uki::image(&[
        (".sdmagic", &crate::support::uki::magic("257.1"), 0),
        (".linux", b"kernel", 0),
        (".cmdline", b"quiet", 0),
    ]);
    let mut changed = signer.signed(&unsigned);
    let end = changed
        .windows(6)
        .position(|bytes| bytes == b"initrd")
        .unwrap();
    changed[end] ^= 0x20;
    for (program, problem, remedy, option) in [
        (
            unsigned.clone(),
            "has no signature and its digest is not in db and in shim's own certificates: it cannot boot under Secure Boot",
            "sign it with a key that the guest's db leads to, or describe a guest that trusts the one who signed it",
            "--no-verify-signatures",
        ),
        (
            changed,
            "its content is not what CN=Signer (test only) signed (the digest differs): it cannot boot under Secure Boot",
            "put the file there as it was published, or sign it anew",
            "--no-verify-signatures",
        ),
        (
            signer.signed(&without_sbat),
            "has no section .sbat: shim 15.8 refuses it",
            "put a release there whose section .sbat shim takes",
            "--ignore-sbat",
        ),
        (
            signer.signed(&unsigned),
            "is forbidden by dbx: dbx entry of 00000000-0000-0000-0000-000000000007, CN=Signer (test only)",
            "put a newer release there, which is not forbidden",
            "--ignore-dbx",
        ),
    ] {
        let encrypted = booting(program);
        encrypted.trusts(&signer.certificate());
        if option == "--ignore-dbx" {
            encrypted.lists(Database::Dbx, &signer.certificate());
        }
        let flags = [&FLAGS[..4], &[PCR_4]].concat();
        assert_eq!(
            refused(encrypted.deploy(&flags).arg("disk.img")),
            format!("error: disk.img: grubx64.efi: {problem}\nhint: {remedy}\n")
        );
        let warning = format!(
            "warning: grubx64.efi: {problem}; {option} predicts it all the same, and no guest with Secure Boot on asks for a key then\n"
        );
        let output = exits(
            encrypted
                .deploy(&[&flags[..], &[option]].concat())
                .arg("disk.img"),
            0,
        );
        assert!(stderr(&output).contains(&warning), "{}", stderr(&output));
        let mut inspect = encrypted.workshop.command(encrypted.workshop.program());
        inspect
            .args(["inspect", "disk.img", "--against", option])
            .args(&FLAGS[2..4]);
        let output = exits(&mut inspect, 3);
        assert!(stderr(&output).contains(&warning), "{}", stderr(&output));
        let told = stdout(&output);
        let why = &warning["warning: ".len()..];
        assert!(told.contains(&format!("cannot be told: {why}")), "{told}");
    }
}
