//! The command `create-uefi-config`, through the built program; one file a promise.

#[path = "../support/mod.rs"]
mod support;

mod a_guest_without_a_platform_key;
mod another_program_reads_and_writes_the_same_stores;
mod any_store_is_read_or_refused;
mod azure_descriptions_are_read_as_the_reference_does;
mod certificates_and_updates_stand_beside_lists;
mod efivars_are_read_by_name_only;
mod entries_that_no_firmware_takes;
mod every_message_is_whole;
mod every_store_gives_what_its_guest_saw;
mod other_formats_are_named;
mod outputs_appear_whole;
mod owners_are_those_of_the_guest;
mod the_guide_works;
mod the_references_samples_are_met;
mod what_will_bite_is_said;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use firmware::config::Rules;
use firmware::{Database, SignatureList, UefiConfig, guid, signature_list};

/// The built program, run in `folder`.
fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_create-uefi-config"));
    command.current_dir(folder).env("LC_ALL", "C");
    command
}

/// Runs the program in `folder` with arguments that must work, and returns the configuration and all that
/// it said on standard output and on standard error.
#[track_caller]
fn created(folder: &Path, arguments: &[&str]) -> (UefiConfig, String, String) {
    let output = support::exits(program(folder).args(arguments).args(["-o", "out.json"]), 0);
    let json = std::fs::read(folder.join("out.json")).unwrap();
    let config = UefiConfig::from_json(&json, Rules::Ours).unwrap().config;
    assert_eq!(config.to_json().as_bytes(), json);
    (config, text(output.stdout), text(output.stderr))
}

/// Runs the program in `folder` with arguments that it refuses, and returns what it said. Nothing is
/// written.
#[track_caller]
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = support::exits(program(folder).args(arguments).args(["-o", "out.json"]), 1);
    assert!(output.stdout.is_empty());
    assert!(!folder.join("out.json").exists());
    text(output.stderr)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// The content of a database with one list of digests, each of one byte over and over.
fn digests(bytes: &[u8]) -> Vec<u8> {
    let digests: Vec<_> = bytes.iter().map(|byte| [*byte; 32]).collect();
    let list = SignatureList::new(
        signature_list::SHA256,
        guid::ENROLL_DEFAULT_KEYS,
        digests.iter().map(<[u8; 32]>::as_slice),
    );
    list.unwrap().to_bytes()
}

/// A certificate that its owner publishes.
fn certificate(name: &str) -> Vec<u8> {
    std::fs::read(support::data(&format!("certificates/{name}.der"))).unwrap()
}

/// What `gzip -dc` makes of a file.
fn gunzipped(path: &Path) -> Vec<u8> {
    let output = support::command("gzip")
        .arg("-dc")
        .arg(path)
        .stderr(Stdio::inherit())
        .output();
    let Output { status, stdout, .. } = output.unwrap();
    assert!(status.success());
    stdout
}

/// The four contents.
fn contents(config: &UefiConfig) -> [&[u8]; 4] {
    Database::ALL.map(|database| config.content(database))
}
