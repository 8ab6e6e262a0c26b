//! `--report`: what was encrypted and to whom it is bound, in the form of a deploy's report.

use std::path::Path;

use serde_json::Value;

use crate::encrypted::{FLAGS, disguises, ready};
use crate::plain::Plain;
use crate::support::workshop::{refused, stdout};
use crate::support::{command, exits, files, programs, run};

fn sha256(path: &Path) -> String {
    let text = run(command("sha256sum").arg(path));
    text.split(' ').next().unwrap().to_owned()
}

#[test]
fn digests_and_facts_are_those_of_source_and_output() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    let made = plain.provisioned(&[&FLAGS[..], &["--report", "report.json"]].concat());
    let text = std::fs::read(plain.path("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(report["input"]["path"], "plain.img");
    assert_eq!(report["input"]["sha256"], sha256(&plain.path("plain.img")));
    assert_eq!(report["output"]["path"], "guest.img");
    assert_eq!(report["output"]["sha256"], sha256(&made.path));
    assert_eq!(report["output"]["size_bytes"], files::open(&made.path).1);
    assert_eq!(report["encryption"]["profile"], "ubuntu");
    assert_eq!(report["encryption"]["room"], "extended");
    assert_eq!(report["notes"], serde_json::json!([]));
    let start = crate::support::disk::read(&made.path)
        .byte_range(crate::encrypted::ROOT)
        .start;
    let header = files::read(&made.path, start, 1 << 20);
    let header = plain.workshop().write("header", &header);
    assert_eq!(report["luks2"]["header_sha256"], sha256(&header));
    let key = made.unsealed(&plain.composites("guest.img", &FLAGS[2..]));
    for secret in [made.container.volume_key_by(&key), key] {
        for text_of_key in disguises(&secret) {
            assert_eq!(files::find_in(&text, &text_of_key), None);
        }
    }
}

#[test]
fn it_follows_the_schema_of_a_deploys() {
    if !ready() || !programs(&["jsonschema"]) {
        return;
    }
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas/deploy-report-1.json");
    let plain = Plain::new();
    let arguments = [
        &FLAGS[..],
        &["-o", "guest.img", "--report", "-", "plain.img"],
    ]
    .concat();
    let output = exits(&mut plain.provision(&arguments), 0);
    let text = stdout(&output);
    let judge = |text: &str| {
        let report = plain.workshop().write("report.json", text.as_bytes());
        let mut validator = command("jsonschema");
        validator.arg("--instance").arg(report).arg(&schema);
        validator
    };
    exits(&mut judge(&text), 0);
    let wrong = text.replace("\"room\": \"", "\"room\": \"of no ");
    exits(&mut judge(&wrong), 1);
}

#[test]
fn one_that_cannot_be_written_is_known_before() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    let names = plain.workshop().names();
    let report = ["--report", "none/x", "-o", "guest.img", "plain.img"];
    let arguments = [&FLAGS[..], &report].concat();
    let message = refused(&mut plain.provision(&arguments));
    assert_eq!(
        message,
        "error: --report: cannot write none/x\n  because: No such file or directory (os error 2)\n"
    );
    assert_eq!(plain.workshop().names(), names);
}
