//! The prediction, held against answers that are not ours: the reference's, and logs of real boots.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod a_forbidden_certificate;
mod a_hostile_partition;
mod any_partition;
mod chains;
mod command;
mod data;
mod explain;
mod explain_causes;
mod explain_command;
mod explain_real_firmware;
mod firmware;
mod real_logs;
mod second_opinion;
mod several_configurations;
mod shim_releases;
mod signed;
mod software_tpm;
mod systemd_readers;
mod vectors;
mod what_real_boots_measured;

#[path = "../support/mod.rs"]
mod support;
