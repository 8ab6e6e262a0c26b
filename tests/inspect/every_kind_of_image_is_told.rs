//! Plain, encrypted and deployed images, of either key object, raw and VHD: what is told is what sgdisk, cryptsetup and
//! the report of the deploy say.

use std::path::Path;

use serde_json::{Value, json};

use crate::encrypted::{
    Encrypted, FLAGS, ROOT, SEALED_KEY, TEMPLATE, WITHOUT_PCRS, find_key, ready, standard_srk,
};
use crate::support::workshop::{stderr, stdout};
use crate::support::{command, exits, files, programs, run, scratch};
use crate::systemd_guest::{SRKS, two_kernels};
use crate::{inspect, told};

fn sha256(bytes: &[u8]) -> String {
    let folder = scratch();
    let file = folder.path().join("file");
    std::fs::write(&file, bytes).unwrap();
    let text = run(command("sha256sum").arg(file));
    text.split(' ').next().unwrap().to_owned()
}

/// The numbers of the objects of a kind, as cryptsetup dumps them.
fn numbers(container: &Value, kind: &str) -> Vec<u64> {
    let members = container[kind].as_object().unwrap().keys();
    let mut numbers: Vec<u64> = members.map(|number| number.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// Numbers and a member of each, in the order of the numbers.
fn pairs<'v>(list: &'v Value, member: &str) -> Vec<(u64, &'v str)> {
    let list = list.as_array().unwrap().iter();
    let mut pairs: Vec<_> = list
        .map(|one| {
            (
                one["number"].as_u64().unwrap(),
                one[member].as_str().unwrap(),
            )
        })
        .collect();
    pairs.sort_unstable();
    pairs
}

/// What holds for every image: partitions as sgdisk tells them, the container as cryptsetup does.
#[track_caller]
fn assert_is_of(document: &Value, image: &Encrypted) {
    assert_eq!(document["version"], 1);
    assert_eq!(document["image"]["path"], "disk.img");
    let len = std::fs::metadata(&image.image).unwrap().len();
    assert_eq!(document["image"]["size_bytes"], len);
    let shown = run(command("sgdisk").arg("-p").arg(&image.image));
    let guid = document["disk"]["guid"].as_str().unwrap().to_uppercase();
    assert!(shown.contains(&guid), "{shown}");
    for partition in document["disk"]["partitions"].as_array().unwrap() {
        let number = partition["number"].to_string();
        let shown = run(command("sgdisk").args(["-i", &number]).arg(&image.image));
        for (member, name) in [
            ("type_guid", "Partition GUID code: "),
            ("unique_guid", "Partition unique GUID: "),
        ] {
            let guid = partition[member].as_str().unwrap().to_uppercase();
            assert!(shown.contains(&format!("{name}{guid}")), "{shown}");
        }
        for (member, name) in [
            ("first_lba", "First sector: "),
            ("last_lba", "Last sector: "),
        ] {
            assert!(
                shown.contains(&format!("{name}{} ", partition[member])),
                "{shown}"
            );
        }
    }
    let luks2 = &document["luks2"];
    if luks2.is_null() {
        return;
    }
    let container = image.container();
    for (member, kind) in [("keyslots", "keyslots"), ("tokens", "tokens")] {
        let told: Vec<u64> = pairs(&luks2[member], "role")
            .iter()
            .map(|(number, _)| *number)
            .collect();
        assert_eq!(told, numbers(&container.metadata, kind));
    }
    for token in luks2["tokens"].as_array().unwrap() {
        let own = &container.metadata["tokens"][token["number"].to_string()];
        assert_eq!(token["type"], own["type"]);
    }
    let dump = container.dump();
    for (member, name) in [("uuid", "UUID:"), ("sequence_id", "Epoch:")] {
        let line = dump.lines().find(|line| line.starts_with(name)).unwrap();
        let value = &luks2[member];
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(line.split_whitespace().last(), Some(value.as_str()));
    }
    let start = image.table().byte_range(ROOT).start;
    let copies = files::read(&image.image, start, 1 << 20);
    assert_eq!(luks2["header_sha256"], sha256(&copies));
    // No key is in it.
    let text = document.to_string();
    let file = image.workshop.write("told", text.as_bytes());
    assert_eq!(find_key(&file, &image.clear_key), None);
}

#[test]
fn a_plain_image() {
    if !ready() {
        return;
    }
    let image = Encrypted::plain();
    let document = told(&image, &[]);
    assert_is_of(&document, &image);
    assert_eq!(document["state"], "plain");
    assert_eq!(document["clear_key"], false);
    for member in [
        "key_object",
        "luks2",
        "sealed_key",
        "srk_template",
        "against",
    ] {
        assert_eq!(document[member], Value::Null, "{member}");
    }
    assert_eq!(document["warnings"], json!([]));
    let contents = document["disk"]["partitions"].as_array().unwrap().iter();
    let contents: Vec<_> = contents
        .map(|partition| partition["content"].as_str().unwrap())
        .collect();
    assert_eq!(
        contents,
        ["an ext2, ext3 or ext4 filesystem", "a FAT filesystem"]
    );
    let text = stdout(&exits(&mut inspect(&image, &[]), 0));
    assert!(
        text.contains("\nstate         plain: the root is not encrypted\n"),
        "{text}"
    );
}

#[test]
fn an_encrypted_image_is_warned_about() {
    if !ready() {
        return;
    }
    for image in [Encrypted::new(), Encrypted::generic()] {
        let document = told(&image, &[]);
        assert_is_of(&document, &image);
        assert_eq!(document["state"], "encrypted");
        assert_eq!(document["clear_key"], true);
        let warning = "the LUKS2 header holds the clear key: who can read this file can read the disk; deploy removes it";
        assert_eq!(document["warnings"], json!([warning]));
        assert_eq!(
            pairs(&document["luks2"]["tokens"], "role"),
            [(0, "clear-key")]
        );
        let output = exits(&mut inspect(&image, &[]), 0);
        assert_eq!(stderr(&output), format!("warning: {warning}\n"));
    }
    let keyslots = told(&Encrypted::new(), &[])["luks2"]["keyslots"].clone();
    assert_eq!(
        pairs(&keyslots, "role"),
        [(0, "clear-key"), (10, "growpart")]
    );
}

#[test]
fn an_image_with_a_sealed_key_file() {
    if !ready() {
        return;
    }
    let image = Encrypted::new();
    image.boots(&two_kernels());
    let flags = [
        &FLAGS[..],
        &["--recovery-key-out", "new.key", "--report", "report.json"],
    ]
    .concat();
    let image = image.deployed(&flags);
    let document = told(&image, &[]);
    assert_is_of(&document, &image);
    assert_eq!(document["state"], "deployed");
    assert_eq!(document["key_object"], "secboot");
    assert_eq!(document["clear_key"], false);
    assert_eq!(document["warnings"], json!([]));
    let keyslots = &document["luks2"]["keyslots"];
    assert_eq!(
        pairs(keyslots, "role"),
        [(0, "sealed"), (1, "recovery"), (10, "growpart")]
    );
    let report = std::fs::read(image.workshop.path("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    for member in [
        "header_sha256",
        "uuid",
        "label",
        "cipher",
        "segment_offset_bytes",
    ] {
        assert_eq!(
            document["luks2"][member], report["luks2"][member],
            "{member}"
        );
    }
    let key = &document["sealed_key"];
    let on_esp = image.esp().files();
    assert_eq!(key["sha256"], sha256(&on_esp[SEALED_KEY]));
    assert_eq!(key["size_bytes"], on_esp[SEALED_KEY].len());
    assert_eq!(key["version"], 2);
    assert_eq!(key["selection"], report["policy"]["selection"]);
    assert_eq!(
        key["branches"],
        report["policy"]["branches"].as_array().unwrap().len()
    );
    assert_eq!(key["srk"], report["srk"]["kind"]);
    assert_eq!(key["problem"], Value::Null);
    let template = &document["srk_template"];
    assert_eq!(template["sha256"], sha256(&on_esp[TEMPLATE]));
    assert_eq!(template["attributes"], report["srk"]["attributes"]);
    assert_eq!(template["unique_data"], false);
    assert_eq!(
        document["recovery_keys"],
        json!([{"keyslot": 1, "prompt": "ubuntu", "name": "default-recovery"}])
    );
}

#[test]
fn sealed_keys_for_other_srks_and_no_pcr() {
    if !ready() {
        return;
    }
    let image = Encrypted::new();
    image.workshop.write("srk.pub", &SRKS[1].public());
    let image = image.deployed(&WITHOUT_PCRS);
    let document = told(&image, &[]);
    assert_eq!(document["sealed_key"]["srk"], "ECC");
    assert_eq!(document["sealed_key"]["selection"], json!([]));
    assert_eq!(document["srk_template"]["kind"], "ECC");
    let image = Encrypted::new();
    image.workshop.write("srk.pub", &standard_srk());
    let image = image.deployed(&[&FLAGS[..], &["--standard-srk-template"]].concat());
    let document = told(&image, &[]);
    assert_eq!(document["sealed_key"]["srk"], "RSA");
    assert_eq!(document["srk_template"], Value::Null);
    let image = Encrypted::new();
    image.workshop.write("unique", b"\0\x04blue");
    let flags = [&WITHOUT_PCRS[..], &["--srk-template-unique-data", "unique"]].concat();
    let document = told(&image.deployed(&flags), &[]);
    assert_eq!(document["srk_template"]["unique_data"], true);
}

#[test]
fn an_image_with_tokens() {
    if !ready() {
        return;
    }
    for (srk, form) in SRKS
        .iter()
        .zip(["--recovery-key-out", "--recovery-key-file"].iter().cycle())
    {
        let image = Encrypted::generic();
        image.boots(&two_kernels());
        image.workshop.write("srk.pub", &srk.public());
        if *form == "--recovery-key-file" {
            image.workshop.write("a.key", &[7; 16]);
        }
        let flags = [
            "--key-object",
            "systemd-tpm2",
            "--bind-pcr15",
            "--report",
            "report.json",
            form,
            "a.key",
        ];
        let image = image.deployed(&[&FLAGS[..], &flags].concat());
        let document = told(&image, &[]);
        assert_is_of(&document, &image);
        assert_eq!(document["state"], "deployed");
        assert_eq!(document["key_object"], "systemd-tpm2");
        assert_eq!(document["warnings"], json!([]));
        assert_eq!(document["sealed_key"], Value::Null);
        assert_eq!(
            pairs(&document["luks2"]["keyslots"], "role"),
            [(1, "sealed"), (2, "recovery")]
        );
        let kinds = pairs(&document["luks2"]["tokens"], "type");
        assert_eq!(
            kinds,
            [
                (0, "systemd-tpm2"),
                (1, "systemd-tpm2"),
                (2, "systemd-recovery")
            ]
        );
        assert_eq!(
            document["recovery_keys"],
            json!([{"keyslot": 2, "prompt": "systemd", "name": null}])
        );
        let report = std::fs::read(image.workshop.path("report.json")).unwrap();
        let report: Value = serde_json::from_slice(&report).unwrap();
        let container = image.container();
        for token in document["systemd_tokens"].as_array().unwrap() {
            let own = &container.metadata["tokens"][token["number"].to_string()];
            assert_eq!(token["selection"], own["tpm2-pcrs"]);
            assert_eq!(token["policy"], own["tpm2-policy-hash"]);
            assert_eq!(token["bank"], own["tpm2-pcr-bank"]);
            assert_eq!(token["keyslot"], 1);
            assert_eq!(token["pin"], false);
            assert_eq!(token["problem"], Value::Null);
            let place = &report["srk"]["place"];
            assert_eq!(token["srk"]["mode"], place["mode"]);
            assert_eq!(token["srk"]["handle"], place["handle"]);
            let name = if srk.is_persistent {
                &report["srk"]["name"]
            } else {
                &Value::Null
            };
            assert_eq!(token["srk"]["name"], *name);
            assert_eq!(token["srk"]["kind"], report["srk"]["kind"]);
        }
    }
}

#[test]
fn a_vhd_of_each_state() {
    if !ready() {
        return;
    }
    let image = Encrypted::plain();
    let disk = image.image.clone();
    let run_on = |arguments: &[&str], file: &str| {
        let mut program = image.workshop.command(image.workshop.program());
        exits(program.args(arguments).arg(file), 0)
    };
    run_on(&["encrypt", "-o", "disk.vhd"], "disk.img");
    let told = |file: &str| -> Value {
        let output = run_on(&["inspect", "--json"], file);
        serde_json::from_str(&stdout(&output)).unwrap()
    };
    let document = told("disk.vhd");
    assert_eq!(document["image"]["format"], "fixed VHD");
    assert_eq!(document["state"], "encrypted");
    let deploy = [&["deploy"], &FLAGS[..]].concat();
    run_on(&deploy, "disk.vhd");
    assert_eq!(told("disk.vhd")["state"], "deployed");
    // The plain one it was made of stayed what it was.
    assert_eq!(
        told(disk.file_name().unwrap().to_str().unwrap())["state"],
        "plain"
    );
}

/// Formats that are only read, in which nobody deploys in place.
#[test]
fn a_dynamic_vhd_and_a_qcow2() {
    if !ready() || !programs(&["qemu-img"]) {
        return;
    }
    let image = Encrypted::new().deployed(&FLAGS);
    let against = ["--against", "--uefi-config", "uefi-config.json"];
    let raw = told(&image, &against);
    for (format, option, name) in [
        ("vpc", "subformat=dynamic,force_size=on", "dynamic VHD"),
        ("qcow2", "compat=1.1", "qcow2"),
    ] {
        let mut convert = image.workshop.command("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", format, "-o", option]);
        exits(convert.args(["disk.img", "other"]), 0);
        let mut program = image.workshop.command(image.workshop.program());
        program.args(["inspect", "--json", "other"]).args(against);
        let document: Value = serde_json::from_str(&stdout(&exits(&mut program, 0))).unwrap();
        assert_eq!(document["image"]["format"], name);
        for member in ["disk", "luks2", "sealed_key", "state", "against"] {
            assert_eq!(document[member], raw[member], "{name}: {member}");
        }
    }
}

/// A container that this program did not make, and one whose sealed key is gone.
#[test]
fn other_encrypted_images() {
    if !ready() {
        return;
    }
    let image = Encrypted::new();
    image.with_header_of_cryptsetup();
    assert_eq!(told(&image, &[])["state"], "encrypted");

    let image = Encrypted::new().deployed(&FLAGS);
    image.change_esp("mdel", &[&format!("::/{SEALED_KEY}")]);
    let document = told(&image, &[]);
    assert_eq!(document["state"], "other");
    assert_eq!(document["clear_key"], false);
    let keyslots = &document["luks2"]["keyslots"];
    assert_eq!(pairs(keyslots, "role"), [(0, "unknown"), (10, "unknown")]);

    let image = Encrypted::plain();
    let range = image.table().byte_range(ROOT);
    let folder = scratch();
    let (file, key) = (folder.path().join("luks1"), folder.path().join("key"));
    std::fs::File::create(&file)
        .unwrap()
        .set_len(range.end - range.start)
        .unwrap();
    std::fs::write(&key, b"test only").unwrap();
    run(command("cryptsetup")
        .args([
            "-q",
            "luksFormat",
            "--type=luks1",
            "--pbkdf-force-iterations=1000",
            "--key-file",
        ])
        .arg(&key)
        .arg(&file));
    let (from, to) = (files::open(&file).0, files::open_to_write(&image.image));
    files::copy(&from, 0..1 << 20, &to, range.start);
    let document = told(&image, &[]);
    assert_eq!(document["state"], "other");
    assert_eq!(document["luks2"], Value::Null);
    assert_eq!(
        document["disk"]["partitions"][0]["content"],
        "a LUKS1 container"
    );
}

#[test]
fn the_document_follows_its_schema() {
    if !ready() || !programs(&["jsonschema"]) {
        return;
    }
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas/inspect-1.json");
    let judge = |document: &Path| {
        let mut validator = command("jsonschema");
        validator.arg("--instance").arg(document).arg(&schema);
        validator
    };
    let tokens = [
        &FLAGS[..],
        &[
            "--key-object",
            "systemd-tpm2",
            "--recovery-key-out",
            "new.key",
        ],
    ]
    .concat();
    let broken = Encrypted::new().deployed(&FLAGS);
    broken.workshop.write("cut", b"USK$");
    let cut = broken.workshop.path("cut").display().to_string();
    broken.change_esp("mcopy", &["-o", &cut, &format!("::/{SEALED_KEY}")]);
    let against = ["--against", "--uefi-config", "uefi-config.json"];
    for (image, arguments) in [
        (Encrypted::plain(), &[][..]),
        (Encrypted::new(), &[]),
        (broken, &[]),
        (Encrypted::new().deployed(&FLAGS), &against),
        (Encrypted::new().deployed(&WITHOUT_PCRS), &against),
        (Encrypted::new().deployed(&tokens), &against),
    ] {
        let document = told(&image, arguments);
        let file = image
            .workshop
            .write("told.json", document.to_string().as_bytes());
        exits(&mut judge(&file), 0);
        // The judge finds what is wrong.
        let wrong = document
            .to_string()
            .replace("\"clear_key\"", "\"cleared_key\"");
        exits(
            &mut judge(&image.workshop.write("wrong.json", wrong.as_bytes())),
            1,
        );
    }
}

/// A deployed image whose changes lie in a file of their own is told like the whole one.
#[test]
fn an_image_above_another_one() {
    if !ready() || !programs(&["qemu-img"]) {
        return;
    }
    let image = Encrypted::new().deployed(&FLAGS);
    let mut whole = told(&image, &[]);
    let base = image.workshop.path("base");
    std::fs::rename(&image.image, &base).unwrap();
    let mut create = image.workshop.command("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw"]);
    run(create.arg("disk.img"));
    let above = ["--backing-file", "base"];
    let mut split = told(&image, &above);
    assert_eq!(
        split["image"]["backing_files"],
        json!([{"path": "base", "format": "raw"}])
    );
    assert_eq!(split["image"]["format"], "qcow2");
    assert_eq!(whole["image"]["backing_files"], json!([]));
    whole["image"].take();
    split["image"].take();
    assert_eq!(split, whole);

    let judged = crate::judged(&image, &[&above[..], &FLAGS[2..4]].concat());
    assert_eq!(judged["against"]["unlocks"], true);
    let text = stdout(&exits(&mut inspect(&image, &above), 0));
    assert!(text.contains("\nbacking file  base, raw\n"), "{text}");
}
