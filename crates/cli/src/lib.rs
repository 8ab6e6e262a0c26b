//! Arguments, progress, messages and exit codes; nothing else.
//!
//! Each program of the package is one function here that returns its exit code, of the one table in `status`; a signal
//! ends the program as that signal would. Standard output is for answers,
//! standard error for the talk. The parsers' definitions are public, so that manual pages and completions
//! come from them.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::cast_possible_truncation,
        clippy::print_stdout,
        clippy::print_stderr
    )
)]

mod args;
mod binding;
mod clock;
mod confinement;
mod create_uefi_config;
mod deploy;
mod dumps;
mod encrypt;
mod explanation;
mod files;
mod guest;
mod inspect;
mod json;
mod message;
mod parse;
mod predict;
mod prediction;
mod progress;
mod provision;
mod recovery_key;
mod report_file;
mod signals;
mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{CreateUefiConfig, EncryptCloudImage, PrintRecoveryKey, Subcommand};
use message::Failure;
use status::Status;

/// The programs of the package, as their parsers describe them.
pub fn commands() -> Vec<clap::Command> {
    vec![
        EncryptCloudImage::command(),
        CreateUefiConfig::command(),
        PrintRecoveryKey::command(),
    ]
}

/// Runs `encrypt-cloud-image` with the process's arguments.
pub fn run_encrypt_cloud_image() -> ExitCode {
    program(|arguments: EncryptCloudImage| {
        message::start_diagnostics(arguments.verbose);
        match arguments.command {
            Subcommand::Encrypt(command) => encrypt::run(&command, arguments.verbose),
            Subcommand::Deploy(command) => deploy::run(&command, arguments.verbose),
            Subcommand::Provision(command) => provision::run(&command, arguments.verbose),
            Subcommand::Predict(command) => predict::run(&command, arguments.verbose),
            Subcommand::Inspect(command) => inspect::run(&command),
        }
    })
}

/// Runs `create-uefi-config` with the process's arguments.
pub fn run_create_uefi_config() -> ExitCode {
    program(|arguments: CreateUefiConfig| create_uefi_config::run(&arguments))
}

/// Runs `print-recovery-key` with the process's arguments.
pub fn run_print_recovery_key() -> ExitCode {
    program(|arguments: PrintRecoveryKey| recovery_key::run(&arguments.file))
}

/// Parses the arguments, runs, and turns what comes out into messages and an exit code.
fn program<A: Parser>(run: impl FnOnce(A) -> Result<(), Failure>) -> ExitCode {
    let arguments = match A::try_parse_from(parse::arguments(std::env::args_os())) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers; the parser knows which stream is whose.
            let is_answer = error.exit_code() == 0;
            let _ = error.print();
            return if is_answer {
                Status::Done
            } else {
                Status::WrongUsage
            }
            .into();
        }
    };
    dumps::forbid();
    let handled = signals::install().map_err(|error| {
        let error = anyhow::Error::new(error).context("cannot handle signals");
        Failure::new(error, None)
    });
    let done = handled.and_then(|()| run(arguments));
    let left = message::warn_of_left_behind();
    match done {
        Ok(()) => Status::Done.into(),
        Err(failure) => failure.beside(left).report(),
    }
}

/// Paths and texts as the shell gave them.
type Arguments = Vec<OsString>;
