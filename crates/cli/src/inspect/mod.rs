//! `encrypt-cloud-image inspect`.

mod report;
mod table;

use std::collections::HashSet;

use clap::error::ErrorKind;

use crate::confinement::Confinement;
use crate::message::{Failure, answer, warn};
use crate::status::Status;
use crate::{args, guest};
use operations::About;
use operations::inspect::{Answer, Error, Job, Question};
use operations::predict::{BootFiles, extra_folder};

/// Looks at an image, and tells.
pub fn run(command: &args::Inspect) -> Result<(), Failure> {
    let question = question(command);
    confinement(command).enter()?;
    let failure = |error: Error| {
        let file = match error {
            Error::Predict(_) => command.esp.as_ref().unwrap_or(&command.source),
            _ => &command.source,
        };
        let about = error.about() == About::Source;
        let hint = error.hint(&command.source);
        Failure::new(error.into(), hint).about(about.then_some(file))
    };
    let job = Job {
        source: command.source.clone(),
        backing_files: command.backing.backing_file.clone(),
        partitions: command.partitions.named(),
    };
    let image = job.run().map_err(failure)?;
    let judged = match &question {
        Some(question) => Some((question, question.answer(&image).map_err(failure)?)),
        None => None,
    };
    let judged = judged
        .as_ref()
        .map(|(question, answer)| (*question, answer));
    if command.json {
        answer(&report::json(&image, judged))?;
    } else {
        warn(&image.warnings);
        if let Some((_, verdict)) = judged {
            warn(&verdict.warnings);
        }
        answer(&table::table(&image, judged))?;
    }
    match judged {
        Some((_, verdict)) if !verdict.unlocks() => {
            let what = anyhow::Error::msg(stays_locked(verdict));
            let failure = Failure::new(what, None).about(Some(&command.source));
            Err(failure.with_status(Status::No))
        }
        _ => Ok(()),
    }
}

/// What the run still gets at: nothing is written.
fn confinement(command: &args::Inspect) -> Confinement {
    let firmware = &command.firmware;
    let chains = command.chain.iter().flat_map(|chain| &chain.0);
    let read = [&command.source].into_iter();
    let read = read.chain(&command.backing.backing_file);
    let read = read.chain(&firmware.uefi_config).chain(&firmware.ovmf_vars);
    let read = read.chain(&firmware.az_disk_profile);
    let read = read.chain(&firmware.efivars).chain(&command.esp);
    let read = read.chain(chains).chain(&command.report);
    let read = read.chain(&command.earlier_uefi_config);
    let chains = command.chain.iter().flat_map(|chain| &chain.0);
    let beside: Vec<_> = chains.map(|path| extra_folder(path)).collect();
    let read = read.chain(&beside);
    read.fold(Confinement::new(), |all, path| all.reads(path))
}

fn stays_locked(answer: &Answer) -> String {
    let count = answer.ways.len();
    let opens = answer.ways.iter().filter(|way| way.unlocks()).count();
    match (opens, count) {
        (0, 1) => "the one way to boot is not known to unlock it".to_owned(),
        (0, _) => format!("none of {count} ways to boot is known to unlock it"),
        _ => format!(
            "{} of {count} ways to boot are not known to unlock it",
            count - opens
        ),
    }
}

/// What is asked besides, or the end of the program where options do not go together.
fn question(command: &args::Inspect) -> Option<Question> {
    let firmware = &command.firmware;
    if !command.against {
        let given = [
            (!firmware.uefi_config.is_empty(), "--uefi-config"),
            (!firmware.ovmf_vars.is_empty(), "--ovmf-vars"),
            (!firmware.az_disk_profile.is_empty(), "--az-disk-profile"),
            (!firmware.efivars.is_empty(), "--efivars"),
        ];
        if let Some((_, option)) = given.into_iter().find(|(is_given, _)| *is_given) {
            let message = format!("{option} goes with --against");
            guest::usage_error(ErrorKind::MissingRequiredArgument, &message, "inspect");
        }
        return None;
    }
    let boot_files = match (&command.esp, command.chain.as_slice()) {
        (Some(path), _) => Some(BootFiles::Directory(path.clone())),
        (None, []) => None,
        (None, chains) => Some(BootFiles::Chains(
            chains.iter().map(|chain| chain.0.clone()).collect(),
        )),
    };
    let mut sources = guest::firmware(firmware, "inspect");
    let mut known = HashSet::new();
    sources.retain(|source| known.insert(source.path().to_owned()));
    Some(Question {
        firmware: sources,
        options: guest::options(firmware, &command.rules),
        rules: command.rules.rules(),
        separator: command.os_separator.into(),
        allow_extra_measurements: command.allow_extra_measurements,
        boot_files,
        report: command.report.clone(),
        earlier: command.earlier_uefi_config.clone(),
    })
}
