//! The command `encrypt-cloud-image inspect`, through the built program; one file a promise.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod a_key_in_the_losing_header_copy_is_seen;
mod a_tpm_agrees_with_the_verdict;
mod confined;
mod every_kind_of_image_is_told;
mod hostile_images_get_one_line;
mod several_configurations_are_each_told;
mod the_pcr_to_blame_is_named;
mod what_cannot_be_told_is_said;
mod what_is_not_predicted_is_not_promised;

#[path = "../predict/data.rs"]
#[allow(dead_code, reason = "parts of it")]
mod data;
#[path = "../deploy/encrypted.rs"]
#[allow(dead_code, reason = "parts of it")]
mod encrypted;
#[path = "../support/mod.rs"]
mod support;
#[path = "../deploy/systemd_guest.rs"]
#[allow(dead_code, reason = "parts of it")]
mod systemd_guest;

use std::process::Command;

use encrypted::Encrypted;
use serde_json::Value;
use support::exits;
use support::workshop::stdout;

/// `encrypt-cloud-image inspect disk.img` with these arguments, in the folder.
fn inspect(image: &Encrypted, arguments: &[&str]) -> Command {
    let mut command = image.workshop.command(image.workshop.program());
    command.args(["inspect", "disk.img"]).args(arguments);
    command
}

/// What it tells as data.
#[track_caller]
fn told(image: &Encrypted, arguments: &[&str]) -> Value {
    let arguments = [&["--json"], arguments].concat();
    let output = exits(&mut inspect(image, &arguments), 0);
    serde_json::from_str(&stdout(&output)).unwrap()
}

/// The same where an exit status of 3 is no failure: some way to boot does not unlock.
#[track_caller]
fn judged(image: &Encrypted, arguments: &[&str]) -> Value {
    let arguments = [&["--json", "--against"], arguments].concat();
    let output = inspect(image, &arguments).output().unwrap();
    let document: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| {
        panic!("{}", support::workshop::stderr(&output));
    });
    let unlocks = document["against"]["unlocks"].as_bool().unwrap();
    let status = if unlocks { 0 } else { 3 };
    assert_eq!(output.status.code(), Some(status));
    assert_eq!(document["exit_status"], status);
    document
}

/// The ways to boot of a judgement.
fn ways(document: &Value) -> Vec<Value> {
    document["against"]["ways"].as_array().unwrap().clone()
}
