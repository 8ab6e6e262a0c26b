//! Every command ends by one table of exit statuses, which its help and its reference page show. 3 and 4 are provoked where there are images:
//! `tests/predict/explain_command.rs`, `tests/inspect`, `tests/provision/many_guests.rs`; a signal for every command in
//! `tests/ends-at-once/a_pipe_that_nobody_writes.rs`, and for process 1 beside it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::scratch;

/// The programs, and what of each a run is for.
const COMMANDS: [(&str, &[&str]); 7] = [
    (env!("CARGO_BIN_EXE_encrypt-cloud-image"), &["encrypt"]),
    (env!("CARGO_BIN_EXE_encrypt-cloud-image"), &["deploy"]),
    (env!("CARGO_BIN_EXE_encrypt-cloud-image"), &["provision"]),
    (env!("CARGO_BIN_EXE_encrypt-cloud-image"), &["predict"]),
    (env!("CARGO_BIN_EXE_encrypt-cloud-image"), &["inspect"]),
    (env!("CARGO_BIN_EXE_create-uefi-config"), &[]),
    (env!("CARGO_BIN_EXE_print-recovery-key"), &[]),
];

/// Arguments that are right, and name files that are not there.
const FAILING: [&[&str]; 7] = [
    &["-o", "out.img", "missing.img"],
    &["--srk-pub", "missing.pub", "--no-pcr-policy", "missing.img"],
    &[
        "--srk-pub",
        "missing.pub",
        "--no-pcr-policy",
        "-o",
        "out.img",
        "missing.img",
    ],
    &["--uefi-config", "missing.json", "missing.img"],
    &["missing.img"],
    &["-i", "missing", "-o", "out.json"],
    &["missing.key"],
];

fn status(command: &mut Command) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn every_command_ends_by_the_same_statuses() {
    let folder = scratch();
    for ((program, command), failing) in COMMANDS.into_iter().zip(FAILING) {
        let run = |arguments: &[&str]| {
            let mut run = Command::new(program);
            status(run.current_dir(folder.path()).args(command).args(arguments))
        };
        let (code, help) = run(&["--help"]);
        assert_eq!(code, Some(0), "{program} {command:?}");
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in [
            "Exit status: 0 done, or the answer is yes; 1 refused or failed; 2 wrong usage; 3 the answer is no",
            "4 some guests failed, the images of the others are whole",
            "128+N ended by signal N.",
        ] {
            assert!(help.contains(words), "{program} {command:?}: {help}");
        }
        assert_eq!(run(&["--version"]).0, Some(0), "{program} {command:?}");
        assert_eq!(run(failing).0, Some(1), "{program} {command:?}");
        assert_eq!(
            run(&["--no-such-option"]).0,
            Some(2),
            "{program} {command:?}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// What scripts read is in the pages and in the schemas.
#[test]
fn the_pages_and_the_schemas_have_the_table() {
    let read =
        |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    for page in [
        "encrypt-cloud-image",
        "create-uefi-config",
        "print-recovery-key",
    ] {
        let page = read(&format!("docs/reference/{page}.md"));
        assert!(page.contains("Exit status: 0 done, or the answer is yes; 1 refused or failed;"));
    }
    for schema in ["predict-1", "inspect-1"] {
        let schema: serde_json::Value =
            serde_json::from_str(&read(&format!("docs/schemas/{schema}.json"))).unwrap();
        assert_eq!(
            schema["properties"]["exit_status"]["enum"],
            serde_json::json!([0, 3])
        );
    }
}
