//! Several configurations of one guest: one set of branches for each, in the order in which they are given.

use std::fs;

use serde_json::{Value, json};

use crate::command::{laid_out, predict, refused, text};
use crate::data::{self, Case, Cases};
use crate::support::exits;

/// What was recorded for one boot under configurations that differ in Microsoft's certificates.
const ROLLOVER: [(&str, &str); 3] = [
    ("debian-shim-own-kernel", "2011.json"),
    ("debian-shim-2023-before-2011", "both.json"),
    ("debian-shim-2023-only", "2023.json"),
];

fn case(name: &str) -> Case {
    let cases: Cases = data::json("vectors/cases.json");
    let mut cases = cases.cases.into_iter();
    cases.find(|case| case.name == name).unwrap()
}

/// A folder with `esp` and the three configurations, and the composites that were recorded for them.
fn rollover() -> (tempfile::TempDir, Vec<String>) {
    let (folder, _) = laid_out(ROLLOVER[0].0);
    let composites = ROLLOVER.map(|(name, file)| {
        let case = case(name);
        let configuration = format!("vectors/{}", case.uefi_config.unwrap());
        fs::write(folder.path().join(file), data::content(&configuration)).unwrap();
        let [composite] = &case.expected.composites[..] else {
            panic!("one branch");
        };
        composite.clone()
    });
    (folder, composites.into())
}

fn document(folder: &tempfile::TempDir, arguments: &[&str]) -> Value {
    let mut command = predict(folder.path());
    let output = exits(command.args(["--esp", "esp", "--json"]).args(arguments), 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn members(document: &Value, member: &str) -> Vec<Value> {
    let branches = document["branches"].as_array().unwrap().iter();
    branches.map(|branch| branch[member].clone()).collect()
}

#[test]
fn a_rollover_has_the_branches_of_each_state_in_the_order_given() {
    let (folder, composites) = rollover();
    let forwards = [
        "--uefi-config",
        "2011.json",
        "--uefi-config=both.json",
        "--uefi-config",
        "2023.json",
    ];
    let found = document(&folder, &forwards);
    let composite = |index: usize| json!(composites[index]);
    assert_eq!(
        members(&found, "composite"),
        [composite(0), composite(1), composite(2)]
    );
    assert_eq!(
        members(&found, "configurations"),
        [
            json!(["2011.json"]),
            json!(["both.json"]),
            json!(["2023.json"])
        ]
    );
    assert_eq!(members(&found, "kernels"), vec![json!(["kernel.efi-1"]); 3]);
    let backwards = ["--uefi-config", "2023.json", "--uefi-config", "2011.json"];
    let found = document(&folder, &backwards);
    assert_eq!(members(&found, "composite"), [composite(2), composite(0)]);
    // One alone is what it was: the member is not there.
    let found = document(&folder, &backwards[..2]);
    assert_eq!(members(&found, "composite"), [composite(2)]);
    assert_eq!(members(&found, "configurations"), [Value::Null]);
}

#[test]
fn values_that_configurations_share_stand_once() {
    let (folder, _) = rollover();
    let flags = [
        "--uefi-config",
        "2011.json",
        "--uefi-config",
        "2023.json",
        "--add-efi-boot-manager-profile",
    ];
    let found = document(&folder, &flags);
    assert_eq!(
        members(&found, "configurations"),
        [json!(["2011.json", "2023.json"])]
    );
    let mut command = predict(folder.path());
    let table = text(exits(command.args(["--esp", "esp"]).args(flags), 0).stdout);
    assert!(
        table.starts_with("branch 1 of 1: kernel.efi-1, under 2011.json, 2023.json\n"),
        "{table}"
    );
}

/// A boot that one of them would refuse is said with its name: the guest would be locked out.
#[test]
fn a_configuration_that_refuses_the_boot_is_named() {
    let (folder, _) = rollover();
    let std = data::content("vectors/uefi/std.json");
    fs::write(folder.path().join("own.json"), std).unwrap();
    let said = |option: &str, file: &str, code: i32| {
        let first = ["--esp", "esp", "--uefi-config", "2011.json"];
        refused(folder.path(), &[&first[..], &[option, file]].concat(), code)
    };
    let own = said("--uefi-config", "own.json", 1);
    assert!(
        own.starts_with("error: esp: under own.json: shimx64.efi: "),
        "{own}"
    );
    let none = said("--uefi-config", "none.json", 1);
    assert!(none.starts_with("error: cannot read none.json\n"), "{none}");
    let mixed = said("--ovmf-vars", "vars.fd", 2);
    assert!(mixed.contains("cannot be used with"), "{mixed}");
}

/// A warning that holds for one of them says for which.
#[test]
fn warnings_name_the_configuration() {
    let (folder, _) = rollover();
    let mut changed: Value =
        serde_json::from_slice(&fs::read(folder.path().join("2023.json")).unwrap()).unwrap();
    changed["another"] = json!("member");
    fs::write(folder.path().join("changed.json"), changed.to_string()).unwrap();
    let found = document(
        &folder,
        &[
            "--uefi-config",
            "2011.json",
            "--uefi-config",
            "changed.json",
        ],
    );
    let warnings = found["warnings"].as_array().unwrap();
    let warnings: Vec<_> = warnings.iter().map(|text| text.as_str().unwrap()).collect();
    assert!(
        warnings
            .iter()
            .any(|text| text.starts_with("changed.json: ") && text.contains("another")),
        "{warnings:?}"
    );
}

/// The reference takes the last one.
#[test]
fn the_references_answer_is_that_of_the_last_one() {
    let (folder, composites) = rollover();
    let flags = [
        "--uefi-config",
        "2011.json",
        "--uefi-config",
        "2023.json",
        "--compat",
        "reference",
    ];
    let found = document(&folder, &flags);
    assert_eq!(members(&found, "composite"), [json!(composites[2])]);
}
