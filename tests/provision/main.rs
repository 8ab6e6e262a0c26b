//! The command `encrypt-cloud-image provision`, through the built program; one file a promise.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod confined;
mod it_is_what_encrypt_and_deploy_make;
mod many_guests;
mod no_clear_key_is_ever_written;
mod nothing_is_half_written;
mod plain;
mod the_report_tells_both;
mod the_sealed_key_opens_it;
mod what_is_refused;

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
