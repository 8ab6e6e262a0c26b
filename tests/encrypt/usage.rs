//! The command line: answers, wrong usage, and what is not there yet.

use std::process::{Command, Output};

use crate::support::exits;
use crate::support::workshop::{Workshop, stderr, stdout};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_encrypt-cloud-image"))
}

#[track_caller]
fn wrong_usage(arguments: &[&str]) -> String {
    let output = exits(program().args(arguments), 2);
    assert_eq!(stdout(&output), "", "{arguments:?}");
    stderr(&output)
}

#[test]
fn help_and_version_are_answers() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["encrypt", "--help"],
        &["help", "encrypt"],
    ] {
        let output: Output = exits(program().args(arguments), 0);
        assert!(
            stdout(&output).contains("Usage: encrypt-cloud-image"),
            "{arguments:?}"
        );
        assert_eq!(stderr(&output), "");
    }
    let version = format!("encrypt-cloud-image {}\n", env!("CARGO_PKG_VERSION"));
    let output = exits(program().arg("--version"), 0);
    assert_eq!((stdout(&output), stderr(&output)), (version, String::new()));
}

#[test]
fn every_option_of_the_reference_is_in_the_help() {
    let help = stdout(&exits(program().args(["encrypt", "--help"]), 0));
    for option in [
        "-o, --output",
        "--kernel-efi",
        "--override-datasources",
        "--grow-root",
        "--root-partition-uuid",
        "--efi-partition-uuid",
        "-v, --verbose",
        "--dry-run",
        "--sector-size",
        "--make-room",
        "--output-format",
        "--overwrite",
        "--threads",
    ] {
        assert!(help.contains(option), "{option}");
    }
    // The reference's own message names this one, so it is understood, but not shown.
    assert!(!help.contains("esp-partition-uuid"));
}

#[test]
fn lines_of_the_short_help_fit_a_terminal() {
    let help = stdout(&exits(program().args(["encrypt", "-h"]), 0));
    let long: Vec<_> = help
        .lines()
        .filter(|line| line.chars().count() > 100)
        .collect();
    assert_eq!(long, [""; 0]);
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_wrong() {
    for (arguments, message) in [
        (&[][..], "Usage: encrypt-cloud-image"),
        (&["encrypt"], "<SOURCE>"),
        (&["encrypt", "a", "b"], "unexpected argument 'b'"),
        (
            &["encrypt", "-"],
            "invalid value '-' for '<SOURCE>': images are files, read and written at many places at once; \
             ./- is a file of that name",
        ),
        (
            &["encrypt", "-o", "-", "a"],
            "invalid value '-' for '--output <FILE>': images are files",
        ),
        (
            &["deploy", "--output", "-", "a"],
            "invalid value '-' for '--output <FILE>': images are files",
        ),
        (
            &["provision", "-o", "-", "a"],
            "invalid value '-' for '--output <FILE>': images are files",
        ),
        (
            &["predict", "--tcg-log", "-", "a"],
            "invalid value '-' for '--tcg-log <FILE>': this does not go to standard output; ./- is a file of that name",
        ),
        (
            &["deploy", "--recovery-key-out", "-", "a"],
            "invalid value '-' for '--recovery-key-out <FILE>': this does not go to standard output",
        ),
        (
            &["encrypt", "--no-such-option", "a"],
            "unexpected argument '--no-such-option'",
        ),
        (
            &["encrypt", "--grow-root=true", "a"],
            "unexpected value 'true' for '--grow-root'",
        ),
        (
            &["encrypt", "--make-room", "magic", "a"],
            "invalid value 'magic' for '--make-room <",
        ),
        (
            &["encrypt", "--sector-size", "1024", "a"],
            "invalid value '1024' for '--sector-size <",
        ),
        (
            &["encrypt", "--output-format", "qcow2", "a"],
            "invalid value 'qcow2' for '--output-format <",
        ),
        (
            &["encrypt", "--threads", "0", "a"],
            "invalid value '0' for '--threads <",
        ),
        (&["encrypt", "--overwrite", "a"], "--output <"),
        (
            &["encrypt", "--free-space", "punch", "a"],
            "invalid value 'punch' for '--free-space <",
        ),
        (
            &["encrypt", "--override-datasources", "No Cloud", "a"],
            "invalid value 'No Cloud'",
        ),
        (
            &["encrypt", "--override-datasources", "NoCloud,", "a"],
            "invalid value 'NoCloud,'",
        ),
        (
            &["encrypt", "--override-datasources", "x ]\nruncmd", "a"],
            "invalid value",
        ),
        (
            &["integrity-protect", "a"],
            "unrecognized subcommand 'integrity-protect'",
        ),
    ] {
        let text = wrong_usage(arguments);
        assert!(text.contains(message), "{arguments:?}: {text}");
    }
}

#[test]
fn one_uuid_option_without_the_other_is_wrong_usage() {
    const GUID: &str = "a1b2c3d4-0001-4000-8000-000000000001";
    let text = wrong_usage(&["encrypt", "--root-partition-uuid", GUID, "a"]);
    assert!(text.contains("--efi-partition-uuid <"), "{text}");
    for option in ["--efi-partition-uuid", "--esp-partition-uuid"] {
        let text = wrong_usage(&["encrypt", option, GUID, "a"]);
        assert!(text.contains("--root-partition-uuid <"), "{text}");
    }
}

#[test]
fn a_malformed_guid_is_told_from_a_missing_one() {
    for text in [
        "root",
        "a1b2c3d4-0001-4000-8000-00000000000",
        "a1b2c3d4-0001-4000-8000-00000000000g",
    ] {
        let message = wrong_usage(&[
            "encrypt",
            "--root-partition-uuid",
            text,
            "--efi-partition-uuid",
            text,
            "a",
        ]);
        let expected = format!("invalid value '{text}' for '--root-partition-uuid <");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn an_empty_value_counts_as_not_given() {
    let workshop = Workshop::new();
    let mut command = workshop.encrypt();
    let output = exits(
        command.args(["--output=", "--kernel-efi=", "missing.img"]),
        1,
    );
    assert!(
        stderr(&output).contains("missing.img"),
        "{}",
        stderr(&output)
    );
}
