//! `--report`: what was done, for programs, and nothing that opens anything.

use std::path::Path;

use serde_json::Value;

use crate::encrypted::{
    Encrypted, FLAGS, ROOT, SEALED_KEY, WITHOUT_PCRS, disguises, ready, standard_srk,
};
use crate::support::workshop::{refused, stdout};
use crate::support::{command, exits, files, programs, run};

fn sha256(path: &Path) -> String {
    let text = run(command("sha256sum").arg(path));
    text.split(' ').next().unwrap().to_owned()
}

fn flags() -> Vec<&'static str> {
    [
        &FLAGS[..],
        &["--report", "report.json", "--recovery-key-out", "new.key"],
    ]
    .concat()
}

#[test]
fn digests_and_facts_are_those_of_the_image() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let input = sha256(&encrypted.image);
    let deployed = encrypted.deployed(&flags());
    let text = std::fs::read_to_string(deployed.workshop.path("report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["version"], 1);
    assert_eq!(report["tool"]["name"], "encrypt-cloud-image");
    assert_eq!(report["input"]["sha256"], input);
    assert_eq!(report["output"]["sha256"], sha256(&deployed.image));
    assert_eq!(report["output"]["path"], "disk.img");
    assert_eq!(report["completed_interrupted_deploy"], false);

    let start = deployed.table().byte_range(ROOT).start;
    let header = deployed
        .workshop
        .write("header", &files::read(&deployed.image, start, 1 << 20));
    assert_eq!(report["luks2"]["header_sha256"], sha256(&header));
    let uuid = run(command("cryptsetup")
        .arg("luksUUID")
        .arg(&deployed.container().header));
    assert_eq!(report["luks2"]["uuid"], uuid.trim());
    let purposes: Vec<_> = report["luks2"]["keyslots"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    let purposes: Vec<_> = purposes
        .iter()
        .map(|keyslot| {
            (
                keyslot["number"].as_u64().unwrap(),
                keyslot["purpose"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(purposes, [(0, "unlock"), (10, "growpart"), (1, "recovery")]);

    let files_of_esp = deployed.esp().files();
    let sealed = deployed.workshop.write("sealed", &files_of_esp[SEALED_KEY]);
    assert_eq!(report["esp_files"][0]["path"], SEALED_KEY);
    assert_eq!(report["esp_files"][0]["sha256"], sha256(&sealed));
    assert_eq!(report["policy"]["selection"], serde_json::json!([4, 7, 12]));
    assert_eq!(report["disk"]["root_partition"], 1);

    // The branches are those of `predict --json`.
    let mut predict = deployed.workshop.command(deployed.workshop.program());
    predict.args([
        "predict",
        "--json",
        "disk.img",
        "--uefi-config",
        "uefi-config.json",
    ]);
    let predicted: Value = serde_json::from_str(&stdout(&exits(&mut predict, 0))).unwrap();
    assert_eq!(report["policy"]["branches"], predicted["branches"]);

    for secret in [
        deployed.clear_key.clone(),
        std::fs::read(deployed.workshop.path("new.key")).unwrap(),
    ] {
        for text_of_key in disguises(&secret) {
            assert_eq!(files::find_in(text.as_bytes(), &text_of_key), None);
        }
        let digits = {
            let mut print = command(env!("CARGO_BIN_EXE_print-recovery-key"));
            let file = deployed.workshop.write("key", &secret);
            run(print.arg(file))
        };
        assert!(!text.contains(digits.trim()));
    }
}

/// The tokens are for all to see; what they seal, the passphrase and the recovery key are not in the report.
#[test]
fn a_deploy_with_tokens_is_told_as_well() {
    if !ready() {
        return;
    }
    for (recovery, form) in [
        (["--recovery-key-out", "new.key"], "letters"),
        (
            [
                "--recovery-key-text",
                "00256-00770-01284-01798-02312-02826-03340-03854",
            ],
            "digits",
        ),
    ] {
        let encrypted = Encrypted::new();
        let flags = [
            &FLAGS[..],
            &["--key-object", "systemd-tpm2", "--report", "report.json"],
            &recovery,
        ]
        .concat();
        let deployed = encrypted.deployed(&flags);
        let text = std::fs::read_to_string(deployed.workshop.path("report.json")).unwrap();
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["key_object"], "systemd-tpm2");
        assert_eq!(
            report["srk"]["place"],
            serde_json::json!({"mode": "derived", "handle": null})
        );
        assert_eq!(report["recovery_key"], serde_json::json!({"form": form}));
        assert_eq!(report["esp_files"], serde_json::json!([]));
        assert_eq!(report["policy"]["selection"], serde_json::json!([4, 7, 12]));
        let keyslots = report["luks2"]["keyslots"].as_array().unwrap().iter();
        let purposes: Vec<_> = keyslots
            .map(|keyslot| (keyslot["number"].as_u64().unwrap(), &keyslot["purpose"]))
            .collect();
        assert_eq!(
            purposes,
            [
                (10, &"growpart".into()),
                (1, &"unlock".into()),
                (2, &"recovery".into())
            ]
        );
        let kinds = report["luks2"]["tokens"].as_array().unwrap().iter();
        let kinds: Vec<_> = kinds.map(|token| token["type"].as_str().unwrap()).collect();
        let branches = report["policy"]["branches"].as_array().unwrap().len();
        let expected = vec!["systemd-tpm2"; branches];
        assert_eq!(kinds, [&expected[..], &["systemd-recovery"]].concat());

        let mut secrets = vec![deployed.clear_key.clone()];
        if form == "letters" {
            secrets.push(std::fs::read(deployed.workshop.path("new.key")).unwrap());
        } else {
            secrets.push(recovery[1].as_bytes().to_vec());
        }
        for secret in secrets.iter().flat_map(|secret| disguises(secret)) {
            assert_eq!(files::find_in(text.as_bytes(), &secret), None);
        }
    }
}

#[test]
fn the_srk_is_named_as_tpm2_tools_name_it() {
    if !ready() {
        return;
    }
    let deployed = Encrypted::new().deployed(&flags());
    let report = deployed.workshop.path("report.json");
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    // Name algorithm, and the digest of the public area without its length.
    let public = std::fs::read(deployed.workshop.path("srk.pub")).unwrap();
    let area = deployed.workshop.write("area", &public[2..]);
    assert_eq!(report["srk"]["name"], format!("000b{}", sha256(&area)));
    assert_eq!(report["srk"]["kind"], "RSA");
    assert_eq!(report["srk"]["standard_template"], false);
}

#[test]
fn the_report_can_go_to_standard_output() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let arguments = [&FLAGS[..], &["--report", "-", "disk.img"]].concat();
    let output = exits(&mut encrypted.deploy(&arguments), 0);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["output"]["sha256"], sha256(&encrypted.image));
}

#[test]
fn a_report_that_cannot_be_written_is_known_before() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let before = files::digest(&encrypted.image);
    let arguments = [&FLAGS[..], &["--report", "none/report.json", "disk.img"]].concat();
    assert_eq!(
        refused(&mut encrypted.deploy(&arguments)),
        "error: --report: cannot write none/report.json\n  because: No such file or directory (os error 2)\n"
    );
    assert_eq!(files::digest(&encrypted.image), before);
}

#[test]
fn the_report_follows_its_schema() {
    if !ready() || !programs(&["jsonschema"]) {
        return;
    }
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas/deploy-report-1.json");
    let judge = |report: &Path| {
        let mut validator = command("jsonschema");
        validator.arg("--instance").arg(report).arg(&schema);
        validator
    };
    let tokens = [
        "--key-object",
        "systemd-tpm2",
        "--recovery-key-out",
        "new.key",
    ];
    let persistent = ["--key-object", "systemd-tpm2", "--srk-mode", "persistent"];
    for (policy, more) in [
        (&FLAGS[..], &["--standard-srk-template"][..]),
        (&WITHOUT_PCRS, &["--standard-srk-template"]),
        (&FLAGS, &tokens),
        (&WITHOUT_PCRS, &persistent),
    ] {
        let flags = [policy, more, &["--report", "report.json"]].concat();
        let encrypted = Encrypted::new();
        if more.contains(&"--standard-srk-template") {
            encrypted.workshop.write("srk.pub", &standard_srk());
        }
        let deployed = encrypted.deployed(&flags);
        let report = deployed.workshop.path("report.json");
        exits(&mut judge(&report), 0);
        // The judge finds what is wrong.
        let text = std::fs::read_to_string(&report).unwrap();
        let wrong = text.replace("\"sequence_id\": ", "\"sequence\": ");
        exits(
            &mut judge(&deployed.workshop.write("wrong.json", wrong.as_bytes())),
            1,
        );
    }
}
