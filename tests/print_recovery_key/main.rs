//! The command `print-recovery-key`, through the built program.

#[path = "../support/mod.rs"]
mod support;

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use support::{data, scratch};

fn print_recovery_key() -> Command {
    Command::new(env!("CARGO_BIN_EXE_print-recovery-key"))
}

#[track_caller]
fn outcome(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Keys and the texts that the reference prints for them.
fn pairs() -> Vec<(Vec<u8>, String)> {
    let cases = File::open(data("recovery-key/cases.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_reader(cases).unwrap();
    let pairs = cases["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 20);
    pairs
        .iter()
        .map(|pair| {
            let key = hex::decode(pair["key"].as_str().unwrap()).unwrap();
            (key, pair["text"].as_str().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn every_golden_key_prints_its_text() {
    let folder = scratch();
    let file = folder.path().join("key");
    for (key, text) in pairs() {
        std::fs::write(&file, key).unwrap();
        let output = print_recovery_key().arg(&file).output().unwrap();
        assert_eq!(outcome(&output), (0, format!("{text}\n"), String::new()));
    }
}

#[test]
fn a_dash_reads_standard_input() {
    let (key, text) = pairs().swap_remove(5);
    let mut command = print_recovery_key();
    command
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // In two pieces, as a pipe may deliver it.
    let mut input = child.stdin.take().unwrap();
    input.write_all(&key[..7]).unwrap();
    input.flush().unwrap();
    input.write_all(&key[7..]).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(outcome(&output), (0, format!("{text}\n"), String::new()));
}

#[test]
fn a_key_of_another_length_is_refused_with_its_length() {
    let folder = scratch();
    for (content, message) in [
        (
            b"".as_slice(),
            "a recovery key has 16 bytes, this one has 0",
        ),
        (
            b"0123456789abcde",
            "a recovery key has 16 bytes, this one has 15",
        ),
        (
            b"0123456789abcdefg",
            "a recovery key has 16 bytes, this one has 17",
        ),
        (
            b"0123456789abcdef\n",
            "a recovery key has 16 bytes, this one has 17 and ends in a newline: \
             a key file holds the raw bytes alone",
        ),
    ] {
        let file = folder.path().join("key");
        std::fs::write(&file, content).unwrap();
        let output = print_recovery_key().arg(&file).output().unwrap();
        let expected = format!("error: {}: {message}\n", file.display());
        assert_eq!(outcome(&output), (1, String::new(), expected));
    }
    let empty = print_recovery_key()
        .arg("-")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let expected = "error: standard input: a recovery key has 16 bytes, this one has 0\n";
    assert_eq!(outcome(&empty), (1, String::new(), expected.to_owned()));
}

#[test]
fn a_large_or_endless_file_is_refused_without_reading_it_whole() {
    let output = print_recovery_key().arg("/dev/zero").output().unwrap();
    let expected = "error: /dev/zero: a recovery key has 16 bytes, this one has 32 or more\n";
    assert_eq!(outcome(&output), (1, String::new(), expected.to_owned()));
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let folder = scratch();
    let file = folder.path().join("missing");
    let output = print_recovery_key().arg(&file).output().unwrap();
    let expected = format!(
        "error: cannot read the recovery key from {}\n  because: No such file or directory (os error 2)\n",
        file.display()
    );
    assert_eq!(outcome(&output), (1, String::new(), expected));
    let output = print_recovery_key().arg(folder.path()).output().unwrap();
    let expected = format!(
        "error: cannot read the recovery key from {}\n  because: Is a directory (os error 21)\n",
        folder.path().display()
    );
    assert_eq!(outcome(&output), (1, String::new(), expected));
}

#[test]
fn the_key_is_not_in_the_message() {
    let folder = scratch();
    let file = folder.path().join("key");
    std::fs::write(&file, b"secret secret secret").unwrap();
    let (_, _, message) = outcome(&print_recovery_key().arg(&file).output().unwrap());
    assert!(!message.contains("secret"), "{message}");
}

#[test]
fn help_and_version_are_answers() {
    let (code, help, talk) = outcome(&print_recovery_key().arg("--help").output().unwrap());
    assert_eq!((code, talk.as_str()), (0, ""));
    assert!(help.contains("Usage: print-recovery-key <FILE>"), "{help}");
    let output = print_recovery_key().arg("--version").output().unwrap();
    let version = format!("print-recovery-key {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(outcome(&output), (0, version, String::new()));
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [&[][..], &["one", "two"], &["--no-such-option"]] {
        let (code, answer, message) =
            outcome(&print_recovery_key().args(arguments).output().unwrap());
        assert_eq!((code, answer.as_str()), (2, ""), "{arguments:?}");
        assert!(
            message.contains("Usage: print-recovery-key <FILE>"),
            "{message}"
        );
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = scratch();
    let file = folder.path().join("key");
    std::fs::write(&file, [7; 16]).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = print_recovery_key()
        .arg(&file)
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(outcome(&output), (0, String::new(), String::new()));
}

/// The digits would be lost, and the exit status would say that somebody has them.
#[test]
fn a_closed_standard_output_is_a_failure_of_one_line() {
    let folder = scratch();
    let file = folder.path().join("key");
    std::fs::write(&file, [7; 16]).unwrap();
    let program = env!("CARGO_BIN_EXE_print-recovery-key");
    let run = |redirection: &str| {
        let script = format!(r#"exec "$0" "$1" {redirection}"#);
        let mut shell = Command::new("sh");
        outcome(
            &shell
                .args(["-c", &script, program])
                .arg(&file)
                .output()
                .unwrap(),
        )
    };
    let expected = "error: standard output is closed\n".to_owned();
    assert_eq!(run(">&-"), (1, String::new(), expected.clone()));
    // With nowhere to say it, the exit status still does; and closed with standard input it is the same.
    assert_eq!(run(">&- 2>&-"), (1, String::new(), String::new()));
    assert_eq!(run("<&- >&-"), (1, String::new(), expected));
    // A device that has no room, and one that takes all.
    let full = "error: cannot write the answer\n  because: No space left on device (os error 28)\n";
    assert_eq!(run(">/dev/full"), (1, String::new(), full.to_owned()));
    assert_eq!(run(">/dev/null"), (0, String::new(), String::new()));
}
