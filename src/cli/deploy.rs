//! `encrypt-cloud-image deploy`.

use std::path::Path;
use std::time::Instant;

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::args::{self, EncryptCloudImage};
use super::encrypt::now;
use super::message::{Failure, answer, say, warn};
use super::progress::Progress;
use super::{deploy_files, deploy_plan, deploy_report, predict, signals};
use crate::provision::deploy::{
    Binding, DEFAULT_SRK_HANDLE, Error, Job, KeyObject, Ready, RecoverySource, SrkOptions,
    TemplateChoice,
};
use crate::provision::predict::{Bank, Guest};
use crate::provision::{About, Named, Staged, StopFlag, SystemEntropy};

/// Deploys an image, or shows what that would do. `verbose`: a run tells its whole plan.
pub fn run(command: &args::Deploy, verbose: bool) -> Result<(), Failure> {
    let to_stdout = command.report.as_deref() == Some(Path::new("-"));
    if to_stdout && command.recovery.print {
        let message = "--report - and --print both write to standard output";
        EncryptCloudImage::command()
            .error(ErrorKind::ArgumentConflict, message)
            .exit();
    }
    deploy_files::refuse_one_for_two(command)?;
    deploy_files::confinement(command).enter()?;
    let stop = signals::install().map_err(|error| {
        let error = anyhow::Error::new(error).context("cannot handle signals");
        Failure::new(error, None)
    })?;
    let failure = |error: Error| {
        let file = match error.about() {
            About::Source => Some(&command.source),
            About::Output => Some(command.output.as_ref().unwrap_or(&command.source)),
            About::Neither => None,
        };
        let hint = error.hint(&command.source);
        Failure::new(error.into(), hint).about(file)
    };
    let started = Instant::now();
    let prepared = job(command).prepare(&mut SystemEntropy::new(), now()?);
    let ready = prepared.map_err(failure)?;
    let plan = ready.plan();
    if command.dry_run {
        warn(&plan.warnings);
        if let Err(error) = ready.check_room() {
            warn(&[format!("{error}: a run is refused")]);
        }
        return answer(&deploy_plan::table(plan));
    }
    say(&if verbose {
        deploy_plan::table(plan)
    } else {
        deploy_plan::choices(plan)
    });
    warn(&plan.warnings);
    let progress = Progress::new();
    let written = match &command.report {
        None => ready.run(&progress, &stop).map_err(failure),
        Some(path) => with_report(path, &ready, &progress, &stop, failure),
    };
    progress.clear();
    written?;
    if let (true, Some(key)) = (command.recovery.print, ready.new_recovery_key()) {
        let mut line = key.text();
        line.push('\n');
        answer(&line)?;
    }
    let what = if plan.completes {
        "an interrupted deploy was completed; the image is bound as that run was told, not as this one"
    } else {
        "deployed"
    };
    let seconds = started.elapsed().as_secs_f64();
    say(&format!(
        "{}: {what}, in {seconds:.1} s\n",
        plan.output.display()
    ));
    Ok(())
}

/// Deploys with a report, which is written beside its name before the image changes, and appears behind it.
fn with_report(
    path: &Path,
    ready: &Ready,
    progress: &Progress,
    stop: &StopFlag,
    failure: impl Fn(Error) -> Failure,
) -> Result<(), Failure> {
    let unwritten = |error: std::io::Error| {
        let what = format!("--report: cannot write {}", path.display());
        Failure::new(anyhow::Error::new(error).context(what), None)
    };
    // The whole image is read below: what cannot be written is said before. A pipe is opened once alone.
    if path != Path::new("-") && (!path.exists() || path.is_file()) {
        Staged::new(path, b"").map_err(unwritten)?;
    }
    let digests = ready.digests(progress, stop).map_err(&failure)?;
    let text = deploy_report::json(ready.plan(), &digests);
    if path == Path::new("-") {
        ready.run(progress, stop).map_err(&failure)?;
        return answer(&text);
    }
    let staged = Staged::new(path, text.as_bytes()).map_err(unwritten)?;
    ready.run(progress, stop).map_err(&failure)?;
    staged.publish().map_err(unwritten)
}

/// What carries the key, or the end of the program where options do not go together.
fn key_object(command: &args::Deploy) -> KeyObject {
    let srk = &command.srk;
    let given = [
        (srk.srk_mode.is_some(), "--srk-mode"),
        (srk.srk_handle.is_some(), "--srk-handle"),
    ];
    let out_of_place = command.key_object.only_for_systemd(&given);
    if let Some(option) = out_of_place.or(command.key_object.out_of_place()) {
        predict::only_for_systemd(option, "deploy");
    }
    if srk.srk_mode == Some(args::SrkMode::Derived) && srk.srk_handle.is_some() {
        let message =
            "--srk-handle does not go with --srk-mode derived: such a key lies at no handle";
        predict::usage_error(ErrorKind::ArgumentConflict, message, "deploy");
    }
    match command.key_object.key_object {
        args::KeyObject::Secboot => KeyObject::Secboot,
        args::KeyObject::SystemdTpm2 => KeyObject::SystemdTpm2 {
            srk_mode: srk.srk_mode.map(Into::into).unwrap_or_default(),
            srk_handle: srk.srk_handle.unwrap_or(DEFAULT_SRK_HANDLE),
        },
    }
}

fn job(command: &args::Deploy) -> Job {
    let partitions = match (
        command.partitions.root_partition_uuid,
        command.partitions.efi_partition_uuid,
    ) {
        (Some(root), Some(esp)) => Some(Named { root, esp }),
        _ => None,
    };
    let srk = SrkOptions {
        public: command.srk.srk_pub.clone(),
        template: if command.srk.standard_srk_template {
            TemplateChoice::Standard
        } else {
            TemplateChoice::Written {
                unique_data: command.srk.srk_template_unique_data.clone(),
            }
        },
    };
    let guest = (!command.no_pcr_policy).then(|| Guest {
        firmware: predict::firmware(&command.firmware, "deploy"),
        options: predict::options(&command.firmware, &command.rules),
        reader: predict::reader(&command.key_object, "deploy"),
        allow_extra_measurements: command.key_object.allow_extra_measurements,
        profile: command.profiles.profile(&command.key_object),
        rules: command.rules.rules(),
        bank: Bank::Sha256,
    });
    let recovery = &command.recovery;
    let recovery = recovery
        .recovery_key_file
        .clone()
        .map(RecoverySource::File)
        .or_else(|| recovery.recovery_key_out.clone().map(RecoverySource::New))
        .or_else(|| {
            let text = recovery.recovery_key_text.clone();
            text.map(|text| RecoverySource::Text(text.0))
        });
    Job {
        source: command.source.clone(),
        output: command.output.clone(),
        overwrite: command.overwrite,
        dry_run: command.dry_run,
        partitions,
        binding: Binding {
            key_object: key_object(command),
            srk,
            guest,
            recovery,
        },
    }
}
