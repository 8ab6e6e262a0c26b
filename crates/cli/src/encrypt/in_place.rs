//! `encrypt-cloud-image encrypt --in-place`, `--resume`, and onto a device.

use std::time::Instant;

use super::plan;
use super::run::{Run, failure, tell_done};
use crate::args;
use crate::clock::now;
use crate::message::{Failure, answer, say};
use crate::progress::Progress;
use crate::signals;
use operations::encrypt::{Job, Resume};
use operations::{StopFlag, SystemEntropy};

/// Converts a disk where it lies, or shows what that would do.
pub fn run(command: &args::Encrypt, verbose: bool, stop: &StopFlag) -> Result<(), Failure> {
    let started = Instant::now();
    let mut entropy = SystemEntropy::new();
    let ready = job(command)
        .prepare_in_place(&mut entropy, now()?)
        .map_err(|error| failure(command, error))?;
    let has_room = ready.check_room();
    let progress = Progress::new();
    Run { command, verbose }.carry_out(&progress, ready.plan(), has_room, |progress| {
        ready.run(progress, stop, &mut entropy)
    })?;
    if !command.conversion.dry_run {
        tell_done(&command.source, "encrypted in place", started);
    }
    Ok(())
}

/// Encrypts an image onto a device, or shows what that would do.
pub fn onto_device(command: &args::Encrypt, verbose: bool, stop: &StopFlag) -> Result<(), Failure> {
    let started = Instant::now();
    let ready = job(command)
        .prepare_onto_device(&mut SystemEntropy::new(), now()?, &Progress::new(), stop)
        .map_err(|error| failure(command, error))?;
    let progress = Progress::new();
    Run { command, verbose }.carry_out(&progress, ready.plan(), Ok(()), |progress| {
        ready.run(progress, stop)
    })?;
    if !command.conversion.dry_run {
        tell_done(&ready.plan().route.output, "encrypted", started);
    }
    Ok(())
}

fn job(command: &args::Encrypt) -> Job {
    let output = command.output.as_deref();
    command.conversion.job(&command.source, output)
}

/// Goes on with a conversion that ended early, or says whether it can.
pub fn resume(command: &args::Encrypt, verbose: bool, stop: &StopFlag) -> Result<(), Failure> {
    let failure = |error| failure(command, error);
    let started = Instant::now();
    let resume = Resume {
        source: command.source.clone(),
        partitions: command.conversion.partitions.named(),
        threads: command.conversion.threads.map(Into::into),
    };
    let ready = resume.prepare().map_err(failure)?;
    let found = match ready.progress() {
        Some((converted, total)) => format!(
            "the conversion goes on: {} of {} are converted\n",
            plan::size(converted),
            plan::size(total)
        ),
        None => "the conversion is complete but for a copy of the LUKS2 header\n".to_owned(),
    };
    if command.conversion.dry_run {
        return answer(&found);
    }
    say(&found);
    let progress = Progress::new();
    let kept = signals::unwinding();
    let converted = ready.run(&progress, stop, &mut SystemEntropy::new());
    progress.clear();
    converted.map_err(failure)?;
    kept.until_the_end();
    if verbose {
        progress.say_times();
    }
    tell_done(&command.source, "encrypted in place", started);
    Ok(())
}
