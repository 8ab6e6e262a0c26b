//! What a guest measures whose initrd systemd runs: `--key-object systemd-tpm2`.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command::{CONFIGURATION, laid_out, predict, refused};
use crate::support::systemd::Systemd;
use crate::support::uki::{self, Section};
use crate::support::{exits, programs, scratch};

/// PCR 12 of a guest with the separator: the program of systemd 262.1 left this in PCRs that were zero.
const SEPARATOR_IN_ZERO: &str = "3345a4e7857aa5ae65e97702ade84a3755fd6144724779536b5773128676c99c";
const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const SYSTEMD: [&str; 2] = ["--key-object", "systemd-tpm2"];

/// The prediction for one program that firmware starts, whoever signed it.
fn predicted(image: &[u8], flags: &[&str]) -> Value {
    let folder = scratch();
    configured(folder.path(), image);
    let mut command = predict(folder.path());
    command.args(["--json", "--chain", "uki.efi", "--no-verify-signatures"]);
    command
        .args(["--add-efi-boot-manager-profile"])
        .args(SYSTEMD);
    let output = exits(command.args(CONFIGURATION).args(flags), 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn configured(folder: &Path, image: &[u8]) {
    fs::write(folder.join("uki.efi"), image).unwrap();
    fs::write(
        folder.join("uefi-config.json"),
        crate::data::content("vectors/uefi/std.json"),
    )
    .unwrap();
}

/// What is said of a program for which PCR 11 cannot be predicted.
fn refusal(image: &[u8]) -> String {
    let folder = scratch();
    configured(folder.path(), image);
    let flags = [
        "--chain",
        "uki.efi",
        "--no-verify-signatures",
        "--bind-pcr11",
    ];
    let pcr4 = ["--add-efi-boot-manager-profile"];
    refused(
        folder.path(),
        &[&flags[..], &pcr4, &SYSTEMD, &CONFIGURATION].concat(),
        1,
    )
}

/// The values of a PCR over the branches.
fn values<'v>(document: &'v Value, pcr: &str) -> Vec<&'v str> {
    let branches = document["branches"].as_array().unwrap().iter();
    branches
        .map(|branch| branch["pcrs"][pcr].as_str().unwrap())
        .collect()
}

/// A unified kernel image of a version of systemd-stub with every section that some version measures. `.pcrsig` is never
/// measured.
fn sections(version: &str) -> Vec<(String, Vec<u8>)> {
    let names = [
        "sbat", "sdmagic", "pcrsig", "osrel", "hwids", "profile", "linux", "uname", "cmdline",
        "initrd", "pcrpkey", "dtb", "splash", "ucode",
    ];
    let content = |name: &str| match name {
        "sdmagic" => uki::magic(version),
        name => format!("the content of {name}\n")
            .repeat(name.len() * 40)
            .into_bytes(),
    };
    names
        .iter()
        .map(|name| ((*name).to_owned(), content(name)))
        .collect()
}

fn image_of(sections: &[(String, Vec<u8>)]) -> Vec<u8> {
    let named: Vec<_> = sections
        .iter()
        .map(|(name, content)| (format!(".{name}"), content))
        .collect();
    let all: Vec<Section<'_>> = named
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_slice(), 0))
        .collect();
    uki::image(&all)
}

#[test]
fn pcr_11_is_what_systemd_measure_calculates() {
    let Some(systemd) = Systemd::find() else {
        return;
    };
    let folder = scratch();
    // What a stub does not know it does not measure: the recorded boots of 252 and 257 show it for .uname and .sbat.
    let first = [
        "linux", "osrel", "cmdline", "initrd", "splash", "dtb", "pcrpkey",
    ];
    let by_254 = ["uname", "sbat"];
    let by_256 = ["ucode"];
    let by_257 = ["profile", "hwids"];
    let known: [(&str, Vec<&str>); 5] = [
        ("252.39-1~deb12u2", first.to_vec()),
        ("253.1", [&first[..], &by_254[..1]].concat()),
        ("254.26-1~bpo12+1", [&first[..], &by_254].concat()),
        ("256.7", [&first[..], &by_254, &by_256].concat()),
        (
            "257.13-1~deb13u1",
            [&first[..], &by_254, &by_256, &by_257].concat(),
        ),
    ];
    for (version, known) in known {
        let sections = sections(version);
        let mut files = Vec::new();
        for (name, content) in &sections {
            let file = folder.path().join(name);
            fs::write(&file, content).unwrap();
            if known.contains(&name.as_str()) {
                // systemd-measure 257.13 has the options --hwids and --dtbauto exchanged: seen with either alone.
                let option = if name == "hwids" { "dtbauto" } else { name };
                files.push((option, file));
            }
        }
        assert_eq!(files.len(), known.len(), "{version}");
        let files: Vec<_> = files
            .iter()
            .map(|(name, file)| (*name, file.as_path()))
            .collect();
        let document = predicted(
            &image_of(&sections),
            &["--bind-pcr11", "--os-separator", "no"],
        );
        assert_eq!(document["selection"], serde_json::json!([4, 11]));
        assert_eq!(
            values(&document, "11"),
            [systemd.measure(&files)],
            "{version}"
        );
    }
}

/// The size in memory counts, as the stub sees it, not the one in the file.
#[test]
fn a_section_is_measured_as_long_as_it_is_in_memory() {
    let Some(systemd) = Systemd::find() else {
        return;
    };
    let folder = scratch();
    let magic = uki::magic("252.39");
    let image = uki::image(&[
        (".sdmagic", &magic, 0),
        (".linux", b"kernel", 1000),
        (".cmdline", b"quiet", 0),
    ]);
    let mut kernel = b"kernel".to_vec();
    kernel.resize(1006, 0);
    let (linux, cmdline) = (folder.path().join("linux"), folder.path().join("cmdline"));
    fs::write(&linux, kernel).unwrap();
    fs::write(&cmdline, b"quiet").unwrap();
    let calculated = systemd.measure(&[("linux", &linux), ("cmdline", &cmdline)]);
    let document = predicted(&image, &["--bind-pcr11"]);
    assert_eq!(values(&document, "11"), [calculated]);

    let huge = uki::image(&[(".sdmagic", &magic, 0), (".linux", b"kernel", 17 << 20)]);
    assert_eq!(
        refusal(&huge),
        "error: uki.efi: the section .linux has 17825798 bytes; at most 16777222 are read\n"
    );
}

#[test]
fn what_decides_at_boot_is_not_predicted() {
    let magic = uki::magic("257.1");
    let with = |more: &[Section<'_>]| {
        let kernel = [(".sdmagic", magic.as_slice(), 0), (".linux", b"kernel", 0)];
        uki::image(&[&kernel[..], more].concat())
    };
    let chosen = |section: &str| {
        format!(
            "error: uki.efi: has a section {section} of which the stub chooses one while it boots, so PCR 11 cannot be predicted\n"
        )
    };
    let two = [(".profile", &b"ID=a"[..], 0), (".profile", b"ID=b", 0)];
    assert_eq!(refusal(&with(&two)), chosen(".profile"));
    assert_eq!(
        refusal(&with(&[(".cmdline", b"a", 0), (".cmdline", b"b", 0)])),
        chosen(".cmdline")
    );
    assert_eq!(refusal(&with(&[(".dtbauto", b"a", 0)])), chosen(".dtbauto"));
    assert_eq!(refusal(&with(&[(".efifw", b"a", 0)])), chosen(".efifw"));
    assert_eq!(
        refusal(&uki::image(&[(".linux", b"kernel", 0)])),
        "error: uki.efi: holds a kernel, but its .sdmagic names no version of systemd-stub: what that measures of it is not known\n"
    );
    assert_eq!(
        refusal(&uki::image(&[(".text", b"code", 0)])),
        "error: uki.efi: is no unified kernel image: nothing is measured into PCR 11 when it boots, so --bind-pcr11 would bind nothing\n"
    );
}

#[test]
fn pcr_12_and_15_are_zero_before_the_root_is_open() {
    if !programs(&["gzip"]) {
        return;
    }
    let (folder, _) = laid_out("uki-two");
    let mut command = predict(folder.path());
    command.args(["--json", "--esp", "esp", "--bind-pcr15"]);
    let output = exits(command.args(SYSTEMD).args(CONFIGURATION), 0);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["selection"], serde_json::json!([4, 7, 12, 15]));
    assert_eq!(values(&document, "12"), [ZERO; 2]);
    assert_eq!(values(&document, "15"), [ZERO; 2]);
}

/// Until 260 there is no separator; from 261 on there may be one, and it is predicted first.
#[test]
fn the_separator_is_predicted_where_it_may_come() {
    let image = |version: &str| image_of(&sections(version));
    let pcr_12 = |image: &[u8], flags: &[&str]| {
        let profile = ["--add-ubuntu-kernel-profile"];
        let document = predicted(image, &[&profile[..], flags].concat());
        values(&document, "12").join(" ")
    };
    let both = format!("{SEPARATOR_IN_ZERO} {ZERO}");
    for (version, expected) in [
        ("252.39", ZERO),
        ("257.13-1~deb13u1", ZERO),
        ("260", ZERO),
        ("261", &both),
        ("262.1-2", &both),
    ] {
        assert_eq!(pcr_12(&image(version), &[]), expected, "{version}");
        assert_eq!(pcr_12(&image(version), &["--os-separator=auto"]), expected);
    }
    // A kernel whose stub says nothing may be new; a program that holds none makes no boot in which systemd measures.
    let silent = uki::image(&[(".linux", b"kernel", 0)]);
    assert_eq!(pcr_12(&silent, &[]), both);
    assert_eq!(pcr_12(&uki::image(&[(".text", b"code", 0)]), &[]), ZERO);
    let old = image("257.13");
    assert_eq!(pcr_12(&old, &["--os-separator=no"]), ZERO);
    assert_eq!(pcr_12(&old, &["--os-separator=yes"]), SEPARATOR_IN_ZERO);
    assert_eq!(pcr_12(&old, &["--os-separator=both"]), both);

    // It goes into PCR 4 as well, and into neither 11 nor 15.
    let flags = ["--bind-pcr11", "--bind-pcr15", "--os-separator=both"];
    let document = predicted(&old, &flags);
    let branches = document["branches"].as_array().unwrap();
    assert_ne!(branches[0]["pcrs"]["4"], branches[1]["pcrs"]["4"]);
    for pcr in ["11", "15"] {
        assert_eq!(branches[0]["pcrs"][pcr], branches[1]["pcrs"][pcr]);
    }
    let last = branches[0]["events"].as_array().unwrap().last().unwrap();
    assert_eq!(last["description"], "systemd-pcrosseparator (initrd)");
    assert_eq!(last["event_type"], "");
}

/// One new kernel beside old ones is enough: its initrd may boot with them.
#[test]
fn one_new_stub_counts_for_all() {
    let folder = scratch();
    configured(folder.path(), &image_of(&sections("257.13")));
    fs::write(folder.path().join("new.efi"), image_of(&sections("261.1"))).unwrap();
    let mut command = predict(folder.path());
    command.args(["--json", "--chain", "uki.efi", "--chain", "new.efi"]);
    command.args(["--no-verify-signatures", "--add-efi-boot-manager-profile"]);
    let output = exits(command.args(SYSTEMD).args(CONFIGURATION), 0);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["branches"].as_array().unwrap().len(), 4);
}

#[test]
fn options_of_systemds_reader_need_it() {
    let folder = scratch();
    configured(folder.path(), b"");
    for option in [
        &["--bind-pcr11"][..],
        &["--bind-pcr15"],
        &["--os-separator", "yes"],
    ] {
        let arguments = [&["--chain", "uki.efi"], option, &CONFIGURATION].concat();
        let said = refused(folder.path(), &arguments, 2);
        let message = format!(
            "error: {} goes with --key-object systemd-tpm2 only",
            option[0]
        );
        assert!(said.starts_with(&message), "{said}");
    }
}

/// The warnings beside the one that nobody has signed the image, which is why it does not start.
#[track_caller]
fn warnings(image: &[u8], flags: &[&str]) -> Vec<String> {
    let document = predicted(image, flags);
    let warnings = document["warnings"].as_array().unwrap().iter();
    let texts = warnings.map(|warning| warning.as_str().unwrap().to_owned());
    let (unsigned, others): (Vec<_>, Vec<_>) =
        texts.partition(|text| text.starts_with("uki.efi: has no signature"));
    assert_eq!(unsigned.len(), 1, "{unsigned:?}");
    others
}

#[test]
fn what_will_bite_is_said() {
    let kernel = |version: &str| image_of(&sections(version));
    let off = "uki.efi: with Secure Boot off it takes a command line from outside, which whoever can write the disk chooses; of the PCRs that tell, 7 and 12, none is asked for";
    let old = |version: &str| {
        format!(
            "uki.efi: its systemd-stub is {version}; systemd opens these tokens from 255 on, and RHEL's from 9.4 on (252-27.el9)"
        )
    };
    for version in ["252.39-1~deb12u2", "254.26-1~bpo12+1", "252-18.el9_3"] {
        assert_eq!(
            warnings(&kernel(version), &[]),
            [old(version), off.to_owned()]
        );
    }
    for version in ["255", "257.13-1~deb13u1", "252-32.el9_4"] {
        assert_eq!(warnings(&kernel(version), &[]), [off], "{version}");
    }
    let magic = uki::magic("257.1");
    let bare = uki::image(&[(".sdmagic", &magic, 0), (".linux", b"kernel", 0)]);
    assert_eq!(
        warnings(&bare, &[]),
        [
            "uki.efi: it has no command line of its own, and PCR 12 is not asked for, which takes in the one that is handed to it: whoever can write the disk chooses it"
        ]
    );
    assert_eq!(
        warnings(&bare, &["--add-ubuntu-kernel-profile"]),
        [
            "uki.efi: it has no command line of its own: one that is handed to it goes into PCR 12, which is then not zero"
        ]
    );
    assert_eq!(
        warnings(&uki::image(&[(".text", b"code", 0)]), &["--bind-pcr15"]),
        [
            "uki.efi: is no unified kernel image: its boots measure no volume key, so PCR 15 stays zero and --bind-pcr15 closes nothing",
            "uki.efi: is no unified kernel image, nor any other program that is known: if it loads another one, that is measured into PCR 4 as well, and no PCR that is predicted covers an initrd and a command line"
        ]
    );
}

/// A kernel image that is named has its directory beside it as well.
#[test]
fn addons_beside_a_file_are_seen() {
    let folder = scratch();
    let extra = folder.path().join("uki.efi.extra.d");
    fs::create_dir(&extra).unwrap();
    fs::write(extra.join("x.addon.efi"), b"").unwrap();
    configured(folder.path(), &image_of(&sections("257.1")));
    let run = |profile: &str, code| {
        let mut command = predict(folder.path());
        command.args(["--chain", "uki.efi", "--no-verify-signatures", profile]);
        let output = exits(command.args(CONFIGURATION), code);
        crate::command::text(output.stderr)
    };
    let pcr_4 = run("--add-efi-boot-manager-profile", 0);
    let said = "uki.efi: its systemd-stub may load uki.efi.extra.d/x.addon.efi: addons are measured into PCR 4 and PCR 12";
    assert!(pcr_4.contains(said), "{pcr_4}");
    assert_eq!(
        run("--add-ubuntu-kernel-profile", 1)
            .lines()
            .next()
            .unwrap(),
        "error: PCR 12 would be another: systemd-stub measures what it finds in uki.efi.extra.d/x.addon.efi"
    );
}

/// Each of these is measured into PCR 12 by some version of the stub.
#[test]
fn files_that_the_stub_measures_are_refused() {
    if !programs(&["gzip"]) {
        return;
    }
    let extra = "EFI/ubuntu/kernel.efi-6.8.0-1018-azure.extra.d";
    let in_extra = format!("{extra}/x.confext.raw");
    for path in [
        "loader/addons/debug.addon.efi",
        "LOADER/Addons/DEBUG.ADDON.EFI",
        "loader/credentials/x.cred",
        &in_extra,
    ] {
        let (folder, _) = laid_out("uki-two");
        let esp = folder.path().join("esp");
        fs::create_dir_all(esp.join(extra)).unwrap();
        fs::create_dir_all(esp.join("loader/addons/a.addon.efi")).unwrap(); // a directory is none
        fs::write(esp.join("loader/addons/readme"), b"").unwrap();
        if path.starts_with("LOADER") {
            fs::remove_dir_all(esp.join("loader")).unwrap();
        }
        let run = |flags: &[&str], code| {
            let mut command = predict(folder.path());
            command
                .args(["--esp", "esp"])
                .args(CONFIGURATION)
                .args(flags);
            let output = exits(&mut command, code);
            crate::command::text(output.stderr)
        };
        run(&SYSTEMD, 0);
        run(&[], 0);
        let file = esp.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, b"").unwrap();
        // The stub runs before any reader.
        for reader in [&SYSTEMD[..], &[]] {
            assert_eq!(
                run(reader, 1),
                format!(
                    "error: esp: PCR 12 would be another: systemd-stub measures what it finds in {path}\n\
                     hint: remove them, or give --allow-extra-measurements where the guest's stub does not read them\n"
                )
            );
            let allowed = run(&[reader, &["--allow-extra-measurements"]].concat(), 0);
            assert!(
                allowed.contains("warning: PCR 12 would be another: "),
                "{allowed}"
            );
            // This stub, of 252, loads no addon.
            let pcr_4 = run(&[reader, &["--add-efi-boot-manager-profile"]].concat(), 0);
            assert!(!pcr_4.contains("addons"), "{pcr_4}");
        }
        // The reference looks for none.
        run(&["--compat", "reference"], 0);
    }
}
