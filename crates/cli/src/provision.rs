//! `encrypt-cloud-image provision`.

use std::path::Path;
use std::time::Instant;

use super::confinement::Confinement;
use super::encrypt::now;
use super::files::{Files, Named};
use super::message::{Failure, answer, say, warn, warn_of_refusal};
use super::progress::Progress;
use super::report_file::{self, CheckedReport, ReportFile};
use super::{
    args, binding, deploy_report, provision_device, provision_guests, provision_plan, recovery_key,
    signals,
};
use operations::deploy::{Done, Error};
use operations::provision::{GuestImage, PlainImage, Written};
use operations::{StopFlag, SystemEntropy, is_device};

/// Makes the images of one guest or of several, or shows what that would do. `verbose`: a run tells its whole plan.
pub fn run(command: &args::Provision, verbose: bool) -> Result<(), Failure> {
    match (&command.output, &command.guests) {
        (_, Some(guests)) => provision_guests::run(command, guests, verbose, &signals::stop_flag()),
        (Some(output), None) => run_one(command, output, verbose, &signals::stop_flag()),
        (None, None) => Ok(()), // the parser wants one of them
    }
}

/// Makes the image of one guest.
fn run_one(
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
        return provision_device::run(command, (output, report), verbose, stop);
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
        return answer(&provision_plan::table(image.plan(), image.binding()));
    }
    image.check_room().map_err(failure)?;
    say(&if verbose {
        provision_plan::table(image.plan(), image.binding())
    } else {
        provision_plan::choices(image.plan(), image.binding())
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

/// Gives an image its name, and its report behind it.
pub fn publish(
    source: &PlainImage,
    image: &GuestImage,
    written: Written<'_>,
    report: Option<&CheckedReport<'_>>,
    progress: &Progress,
    stop: &StopFlag,
    failure: impl Fn(Error) -> Failure,
) -> Result<Done, Failure> {
    let Some(report) = report else {
        return written.publish(progress, stop).map_err(failure);
    };
    let digests = source.digest(progress, stop).and_then(|input| {
        let output = written.digest(progress, stop)?;
        Ok(operations::deploy::Digests { input, output })
    });
    let digests = digests.map_err(&failure)?;
    let text = deploy_report::of_provision(
        (image.plan(), image.binding()),
        source.file_bytes(),
        &digests,
    );
    let staged = report.stage(text)?;
    let done = written.publish(progress, stop).map_err(&failure)?;
    staged.publish(&image.plan().output)?;
    Ok(done)
}

fn warn_of(image: &GuestImage) {
    warn(&image.plan().warnings);
    warn(&image.binding().warnings);
}

/// An error in the words of this command.
pub fn failure(error: Error, source: &Path, output: &Path) -> Failure {
    let (about, hint) = (error.about(), error.hint_of_provision(source));
    Failure::new(error.into(), hint).about_one_of(about, source, output)
}

/// Leaves a run its files alone.
pub fn confine(command: &args::Provision, files: &Files) -> Result<(), Failure> {
    let added = match command.conversion.layout.make_room {
        args::MakeRoom::Shrink => Confinement::new().runs_programs(),
        _ => Confinement::new(),
    };
    files.confinement(added).enter()
}

fn files_written(command: &args::Provision) -> [Named<'_>; 3] {
    let recovery = command.binding.recovery.recovery_key_out.as_ref();
    [
        ("--output", command.output.as_ref()),
        ("--recovery-key-out", recovery),
        report_file::named(command.report.as_ref()),
    ]
}

/// The files that the command line names for reading.
pub fn files_read(command: &args::Provision) -> impl Iterator<Item = Named<'_>> {
    let read = [
        ("SOURCE", Some(&command.source)),
        ("--kernel-efi", command.conversion.guest.kernel_efi.as_ref()),
    ];
    let backing = command.conversion.backing.backing_file.iter();
    read.into_iter()
        .chain(backing.map(|path| ("--backing-file", Some(path))))
        .chain(binding::files_read(&command.binding))
}
