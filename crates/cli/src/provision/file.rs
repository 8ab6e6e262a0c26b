//! `encrypt-cloud-image provision` for one guest.

use std::path::Path;
use std::time::Instant;

use super::common::{confine, failure, files_read, publish};
use super::{device, plan};
use crate::clock::now;
use crate::files::{Files, Named};
use crate::message::{Failure, answer, say, warn, warn_of_refusal};
use crate::progress::Progress;
use crate::report_file::{self, ReportFile};
use crate::{args, binding, recovery_key, signals};
use operations::deploy::Error;
use operations::provision::{GuestImage, PlainImage, Written};
use operations::{StopFlag, SystemEntropy, is_device};

/// Makes the image of one guest, or its device.
pub fn run(
    command: &args::Provision,
    output: &Path,
    verbose: bool,
    stop: &StopFlag,
) -> Result<(), Failure> {
    let report = ReportFile::new(command.report.as_deref(), &command.binding.recovery);
    recovery_key::check_output(&command.binding.recovery)?;
    let files = Files::written(files_written(command))?.reading(files_read(command))?;
    confine(command, &files)?;
    if is_device(output) {
        return device::run(command, output, report, verbose, stop);
    }
    let failure = |error| failure(error, &command.source, output);
    let started = Instant::now();
    let binding = binding::binding(&command.binding, "provision");
    let conversion = &command.conversion;
    let job = conversion.job(&command.source, Some(output));
    let progress = Progress::new();
    let (image, below) = (&command.source, &conversion.backing.backing_file);
    let source = PlainImage::open(image, below, [job.clone()], &progress, stop);
    progress.clear();
    let source = source.map_err(failure)?;
    let batch = source.batch(1);
    let image = batch
        .prepare(job, &binding, &mut SystemEntropy::new(), now()?)
        .map_err(failure)?;
    if conversion.dry_run {
        warn_of(&image);
        warn_of_refusal(image.check_room());
        return answer(&plan::table(image.plan(), image.binding()));
    }
    image.check_room().map_err(failure)?;
    say(&if verbose {
        plan::table(image.plan(), image.binding())
    } else {
        plan::choices(image.plan(), image.binding())
    });
    warn_of(&image);
    let report = report.map(ReportFile::check).transpose()?;
    let kept = signals::unwinding();
    let written = batch.write(std::slice::from_ref(&image), &progress, stop);
    let publish = |written: Result<Written<'_>, Error>| {
        let written = written.map_err(failure)?;
        publish(
            &source,
            &image,
            written,
            report.as_ref(),
            &progress,
            stop,
            failure,
        )
    };
    let published: Result<Vec<_>, _> = written.into_iter().map(publish).collect();
    progress.clear();
    let published = published?;
    if verbose {
        progress.say_times();
    }
    if let (true, Some(key)) = (command.binding.recovery.print, image.new_recovery_key()) {
        let told = recovery_key::answer_digits(&key.text());
        told.map_err(|failure| failure.after(output))?;
    }
    kept.until_the_end();
    let mut published = published.into_iter();
    published.try_for_each(|done| done.durable().map_err(failure))?;
    let seconds = started.elapsed().as_secs_f64();
    let output = output.display();
    say(&format!("{output}: provisioned in {seconds:.1} s\n"));
    Ok(())
}

fn warn_of(image: &GuestImage) {
    warn(&image.plan().warnings);
    warn(&image.binding().warnings);
}

fn files_written(command: &args::Provision) -> [Named<'_>; 3] {
    let recovery = command.binding.recovery.recovery_key_out.as_ref();
    [
        ("--output", command.output.as_ref()),
        ("--recovery-key-out", recovery),
        report_file::named(command.report.as_ref()),
    ]
}
