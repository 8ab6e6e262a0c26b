//! One hash covers all PCRs of a policy. Where other states are known, those that differ are named; where none is, that
//! it cannot be told.

use serde_json::{Value, json};

use crate::data;
use crate::encrypted::{BootFile, Encrypted, FLAGS, ready};
use crate::support::workshop::{refused, stderr, stdout};
use crate::systemd_guest::{KEY_OBJECT, UNSIGNED, two_kernels, unsigned};
use crate::{inspect, judged, told, ways};

const NOW: [&str; 2] = ["--uefi-config", "uefi-config.json"];

/// Two kernels, sealed; the report, and the boot files in a directory of their own with the first kernel exchanged.
fn sealed(flags: &[&str]) -> Encrypted {
    let image = Encrypted::new();
    image.boots(&two_kernels());
    let image = image.deployed(&[&FLAGS[..], flags, &["--report", "report.json"]].concat());
    let other = data::content("vectors/uefi/dbx-hash.json");
    image.workshop.write("updated.json", &other);
    esp(&image, "esp", &[two_kernels()[1].clone(), new_kernel()]);
    image
}

fn new_kernel() -> BootFile {
    let bytes = data::content("vectors/pe/kernel-vendor-1.efi");
    ("kernel.efi-6.8.0-1031-azure".to_owned(), bytes)
}

/// A directory with the files of an EFI system partition.
fn esp(image: &Encrypted, name: &str, kernels: &[BootFile]) {
    let folder = image.workshop.path(name).join("EFI/ubuntu");
    std::fs::create_dir_all(&folder).unwrap();
    let shim = data::content("vectors/pe/shim-std.efi");
    std::fs::write(folder.join("shimx64.efi"), shim).unwrap();
    for (name, bytes) in kernels {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

fn blamed(way: &Value) -> (&Value, &Value) {
    (&way["blamed_pcrs"], &way["would_unlock_as_in"])
}

#[test]
fn an_update_of_the_firmware_by_the_report_or_by_the_configuration_before() {
    if !ready() {
        return;
    }
    for flags in [&[][..], &KEY_OBJECT] {
        let image = sealed(flags);
        let updated = ["--uefi-config", "updated.json"];
        for way in ways(&judged(&image, &updated)) {
            assert_eq!(way["unlocks"], false);
            assert_eq!(blamed(&way), (&Value::Null, &Value::Null));
            let reason = "other values of PCRs; one hash covers all, so which cannot be told";
            assert_eq!(way["reason"], reason);
        }
        let output = inspect(&image, &[&["--against"], &updated[..]].concat())
            .output()
            .unwrap();
        let text = stdout(&output);
        assert!(
            text.contains(": does not unlock; which of PCR 4, 7, 12 is to blame cannot be told, since one hash covers all: try --report or --earlier-uefi-config\n"),
            "{text}"
        );
        assert!(
            stderr(&output)
                .ends_with("error: disk.img: none of 2 ways to boot is known to unlock it\n")
        );

        let with_report = [&updated[..], &["--report", "report.json"]].concat();
        let kernels = ["6.8.0-1009-azure", "6.8.0-1018-azure"];
        for way in ways(&judged(&image, &with_report)) {
            // Their authorities differ, so each is like its own branch.
            let kernel = way["kernels"][0].as_str().unwrap();
            let place = kernels.iter().position(|version| kernel.ends_with(version));
            let number = place.unwrap() + 1;
            let like = json!([format!("branch {number} of report.json ({kernel})")]);
            assert_eq!(blamed(&way), (&json!([7]), &like));
        }
        let with_earlier = [&updated[..], &["--earlier-uefi-config", "uefi-config.json"]].concat();
        for way in ways(&judged(&image, &with_earlier)) {
            assert_eq!(blamed(&way), (&json!([7]), &json!(["uefi-config.json"])));
        }
    }
}

#[test]
fn a_new_kernel_by_those_in_the_image() {
    if !ready() {
        return;
    }
    for flags in [&[][..], &KEY_OBJECT] {
        let image = sealed(flags);
        let arguments = [&NOW[..], &["--esp", "esp"]].concat();
        let document = judged(&image, &arguments);
        let ways: Vec<_> = ways(&document)
            .into_iter()
            .filter(|way| way["os_separator"] == false)
            .collect();
        assert_eq!(ways.len(), 2);
        assert_eq!(ways[0]["kernels"], json!(["kernel.efi-6.8.0-1018-azure"]));
        assert_eq!(ways[0]["unlocks"], true);
        assert_eq!(ways[1]["kernels"], json!(["kernel.efi-6.8.0-1031-azure"]));
        assert_eq!(ways[1]["unlocks"], false);
        let like = json!(["the boot files that are in the image"]);
        assert_eq!(blamed(&ways[1]), (&json!([4]), &like));
        // The image itself still boots.
        assert_eq!(judged(&image, &NOW)["against"]["unlocks"], true);
    }
}

#[test]
fn two_at_once() {
    if !ready() {
        return;
    }
    let image = sealed(&[]);
    let arguments = [
        "--uefi-config",
        "updated.json",
        "--esp",
        "esp",
        "--report",
        "report.json",
    ];
    let ways = ways(&judged(&image, &arguments));
    assert_eq!(blamed(&ways[0]).0, &json!([7]));
    assert_eq!(blamed(&ways[1]).0, &json!([4, 7]));
}

#[test]
fn the_separator_of_a_new_systemd() {
    if !ready() {
        return;
    }
    let image = Encrypted::new();
    image.boots(&unsigned("257.13", 1));
    let image = image.deployed(&[&KEY_OBJECT, &UNSIGNED[..]].concat());
    let arguments = [&NOW[..], &["--no-verify-signatures"]].concat();
    let told = ways(&judged(&image, &arguments));
    assert_eq!(told[0]["unlocks"], Value::Null);
    let why = told[0]["reason"].as_str().unwrap();
    assert!(why.starts_with("kernel.efi-000: has no signature"), "{why}");
    let with = [&arguments[..], &["--os-separator", "yes"]].concat();
    let ways = ways(&judged(&image, &with));
    let like = json!(["a boot without systemd-pcrosseparator"]);
    assert_eq!(blamed(&ways[0]), (&json!([4, 12]), &like));
}

#[test]
fn a_policy_of_one_pcr_leaves_no_doubt() {
    if !ready() {
        return;
    }
    let image = Encrypted::new();
    image.boots(&two_kernels());
    let flags = [&FLAGS[..4], &["--add-efi-secure-boot-profile"]].concat();
    let image = image.deployed(&flags);
    image
        .workshop
        .write("updated.json", &data::content("vectors/uefi/dbx-hash.json"));
    for way in ways(&judged(&image, &["--uefi-config", "updated.json"])) {
        assert_eq!(blamed(&way), (&json!([7]), &json!([])));
    }
}

#[test]
fn what_does_not_start_keeps_the_others_from_nothing() {
    if !ready() {
        return;
    }
    let image = sealed(&[]);
    let unsigned = data::content("vectors/pe/kernel-unsigned.efi");
    let kernels = [
        two_kernels()[1].clone(),
        ("grubx64.efi".to_owned(), unsigned),
    ];
    esp(&image, "mixed", &kernels);
    let document = judged(&image, &[&NOW[..], &["--esp", "mixed"]].concat());
    let ways = ways(&document);
    assert_eq!(ways[0]["unlocks"], true);
    assert_eq!(ways[1]["unlocks"], false);
    let reason = ways[1]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("does not start: grubx64.efi: has no signature"),
        "{reason}"
    );
    assert_eq!(ways[1]["pcrs"], json!({}));
}

#[test]
fn a_report_of_another_deploy_or_none_is_told() {
    if !ready() {
        return;
    }
    let image = sealed(&[]);
    let other = Encrypted::new().deployed(&[&FLAGS[..], &["--report", "report.json"]].concat());
    let report = std::fs::read(other.workshop.path("report.json")).unwrap();
    image.workshop.write("other.json", &report);
    let document = judged(&image, &[&NOW[..], &["--report", "other.json"]].concat());
    assert_eq!(
        document["warnings"],
        json!([
            "--report: none of the states in other.json opens this image: it is the report of another deploy"
        ])
    );
    let without = Encrypted::new().deployed(
        &[
            &crate::encrypted::WITHOUT_PCRS[..],
            &["--report", "report.json"],
        ]
        .concat(),
    );
    assert_eq!(
        told(
            &without,
            &[&["--against"], &NOW[..], &["--report", "report.json"]].concat()
        )["against"]["unlocks"],
        true
    );
    let arguments = |name: &'static str| [&["--against"], &NOW[..], &["--report", name]].concat();
    for (name, content, message) in [
        ("text", &b"no report"[..], "it is no JSON"),
        (
            "list",
            b"[]",
            "it is no report of deploy of version 1 with a policy",
        ),
        (
            "null",
            br#"{"version":1,"luks2":{},"policy":null}"#,
            "it is no report of deploy of version 1 with a policy",
        ),
        (
            "long",
            br#"{"version":1,"luks2":{},"policy":{"branches":[{"kernels":[],"pcrs":{"4":"00"}}]}}"#,
            "it is no report of deploy of version 1 with a policy",
        ),
        (
            "completed",
            br#"{"version":1,"luks2":{},"completed_interrupted_deploy":true}"#,
            "it is of a run that completed another one, and sealed nothing; give the report of the first",
        ),
    ] {
        image.workshop.write(name, content);
        assert_eq!(
            refused(&mut inspect(&image, &arguments(name))),
            format!("error: --report: {name}: {message}\n")
        );
    }
    let long = image.workshop.write("huge", b"");
    let long = std::fs::OpenOptions::new().write(true).open(long).unwrap();
    long.set_len((64 << 20) + 1).unwrap();
    assert_eq!(
        refused(&mut inspect(&image, &arguments("huge"))),
        "error: --report: huge: it has more than 64 MiB, and is not read\n"
    );
    assert_eq!(
        refused(&mut inspect(&image, &arguments("none"))),
        "error: --report: cannot read none\n  because: No such file or directory (os error 2)\n"
    );
}

#[test]
fn firmware_without_the_question_is_wrong_usage() {
    if !ready() {
        return;
    }
    let image = Encrypted::plain();
    for (arguments, message) in [
        (&NOW[..], "error: --uefi-config goes with --against\n"),
        (
            &["--against"],
            "error: the following required arguments were not provided:\n",
        ),
        (
            &["--esp", "esp"],
            "error: the following required arguments were not provided:\n",
        ),
    ] {
        let output = crate::support::exits(&mut inspect(&image, arguments), 2);
        let said = stderr(&output);
        assert!(said.starts_with(message), "{said}");
    }
}
