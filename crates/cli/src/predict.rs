//! `encrypt-cloud-image predict`.

use std::path::PathBuf;

use crate::args;
use crate::files::Files;
use crate::message::{Failure, answer, warn};
use crate::status::Status;
use crate::{explanation, guest, prediction, signals};
use operations::predict::{
    self, BootFiles, Distinct, Guest, PredictError, Profile, Request, extra_folder,
};

/// Predicts, and prints what comes out. `verbose`: what a log has besides is shown as well.
pub fn run(command: &args::Predict, verbose: bool) -> Result<(), Failure> {
    let request = request(command);
    check_files(command)?;
    let failure = |error: PredictError| {
        let hint = error.hint();
        let about = error.is_about_boot_files();
        let place = command.image.as_ref().or(command.esp.as_ref());
        Failure::new(error.into(), hint).about(place.filter(|_| about).map(PathBuf::as_path))
    };
    let predicted = request.run().map_err(failure)?;
    let prediction = &predicted.prediction;
    let branches = predict::distinct(prediction);
    if let Some(path) = &command.tcg_log {
        let branch = chosen(&branches, command.branch)?.branch;
        let write = || predict::write_tcg_log(branch, request.guest.bank, path);
        let waits = path.exists() && !path.is_file();
        signals::held_unless(waits, write).map_err(failure)?;
    }
    let explanation = match &command.explain {
        None => None,
        Some(path) => Some(predict::explain(prediction, path).map_err(failure)?),
    };
    if command.json {
        let explanation = explanation.as_ref().map(explanation::json);
        answer(&prediction::json(
            prediction,
            &branches,
            &predicted.warnings,
            explanation,
        ))?;
    } else {
        warn(&predicted.warnings);
        answer(&match (&explanation, &command.explain) {
            (Some(explanation), Some(log)) => {
                let mut table = explanation::table(log, explanation, prediction, &branches);
                if verbose {
                    table.push_str(&explanation::others(explanation));
                }
                table
            }
            _ => prediction::table(prediction, &branches),
        })?;
    }
    match (explanation, &command.explain) {
        (Some(explanation), Some(path)) if !explanation.is_equal() => {
            let what = explanation::difference(&explanation);
            let failure = Failure::new(anyhow::Error::msg(what), None).about(Some(path));
            Err(failure.with_status(Status::No))
        }
        _ => Ok(()),
    }
}

/// Refuses a log that would be written over what is read.
fn check_files(command: &args::Predict) -> Result<(), Failure> {
    let chains = command.chain.iter().flat_map(|chain| &chain.0);
    let beside: Vec<_> = chains.clone().map(|path| extra_folder(path)).collect();
    let of_chain = |path| ("--chain", Some(path));
    let read = [
        ("IMAGE", command.image.as_ref()),
        ("--esp", command.esp.as_ref()),
        ("--explain", command.explain.as_ref()),
    ];
    let backing = command.backing.backing_file.iter();
    Files::written([("--tcg-log", command.tcg_log.as_ref())])?
        .reading(read)?
        .reading(backing.map(|path| ("--backing-file", Some(path))))?
        .reading(chains.map(of_chain))?
        .reading(beside.iter().map(of_chain))?
        .reading(guest::files_of_firmware(&command.firmware))
        .map(|_| ())
}

fn request(command: &args::Predict) -> Request {
    let boot_files = match (&command.image, &command.esp) {
        (Some(path), _) => BootFiles::Image {
            path: path.clone(),
            backing_files: command.backing.backing_file.clone(),
            esp: command.efi_partition_uuid,
        },
        (None, Some(path)) => BootFiles::Directory(path.clone()),
        (None, None) => {
            BootFiles::Chains(command.chain.iter().map(|chain| chain.0.clone()).collect())
        }
    };
    let rules = command.rules.rules();
    let mut profile = command.profiles.profile(&command.key_object);
    if !command.profiles.any() {
        profile = Profile {
            boot_manager: true,
            secure_boot: true,
            kernel: true,
            ..profile
        };
    }
    Request {
        boot_files,
        guest: Guest {
            firmware: guest::firmware(&command.firmware, "predict"),
            options: guest::options(&command.firmware, &command.rules),
            reader: guest::reader(&command.key_object, "predict"),
            allow_extra_measurements: command.key_object.allow_extra_measurements,
            profile,
            rules,
            bank: command.bank.into(),
        },
    }
}

/// The branch that was asked for by its number; the only one where none was.
fn chosen<'a, 'b>(
    branches: &'b [Distinct<'a>],
    number: Option<usize>,
) -> Result<&'b Distinct<'a>, Failure> {
    let found = match (number, branches) {
        (Some(number), _) => number.checked_sub(1).and_then(|at| branches.get(at)),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    found.ok_or_else(|| {
        let count = branches.len();
        let (what, hint) = match number {
            Some(number) => (format!("there is no branch {number}"), None),
            None => (
                format!("--tcg-log writes one branch, and there are {count}"),
                Some(format!("choose one of them: --branch N, from 1 to {count}")),
            ),
        };
        Failure::new(anyhow::Error::msg(what), hint)
    })
}
