//! `encrypt-cloud-image deploy`.

pub mod plan;
pub mod report;

use std::time::Instant;

use crate::clock::now;
use crate::confinement::Confinement;
use crate::files::Files;
use crate::message::{Failure, answer, say, warn, warn_of_refusal};
use crate::progress::Progress;
use crate::report_file::{self, CheckedReport, ReportFile};
use crate::{args, binding, recovery_key, signals};
use operations::deploy::{Done, Error, Job, ReadyToDeploy};
use operations::{StopFlag, SystemEntropy};

/// Deploys an image, or shows what that would do. `verbose`: a run tells its whole plan.
pub fn run(command: &args::Deploy, verbose: bool) -> Result<(), Failure> {
    let report = ReportFile::new(command.report.as_deref(), &command.binding.recovery);
    recovery_key::check_output(&command.binding.recovery)?;
    confine(command)?;
    let stop = signals::stop_flag();
    let output = command.output.as_ref().unwrap_or(&command.source);
    let failure = |error: Error| {
        let (about, hint) = (error.about(), error.hint(&command.source));
        Failure::new(error.into(), hint).about_one_of(about, &command.source, output)
    };
    let started = Instant::now();
    let prepared = job(command).prepare(&mut SystemEntropy::new(), now()?);
    let ready = prepared.map_err(failure)?;
    let plan = ready.plan();
    if command.dry_run {
        warn(&plan.warnings);
        warn_of_refusal(ready.check_room());
        return answer(&plan::table(plan));
    }
    say(&if verbose {
        plan::table(plan)
    } else {
        plan::choices(plan)
    });
    warn(&plan.warnings);
    let progress = Progress::new();
    let report = report.map(ReportFile::check).transpose()?;
    let kept = signals::unwinding();
    let written = match &report {
        None => ready.run(&progress, &stop).map_err(&failure),
        Some(report) => with_report(report, &ready, &progress, &stop, failure),
    };
    progress.clear();
    let done = written?;
    if let (true, Some(key)) = (command.binding.recovery.print, ready.new_recovery_key()) {
        let told = recovery_key::answer_digits(&key.text());
        told.map_err(|failure| failure.after(&plan.output))?;
    }
    kept.until_the_end();
    done.durable().map_err(failure)?;
    let what = match (plan.completes, &plan.again) {
        (true, _) => {
            "an interrupted deploy was completed; the image is bound as that run was told, not as this one"
        }
        (false, Some(_)) => "sealed again",
        (false, None) => "deployed",
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
    report: &CheckedReport<'_>,
    ready: &ReadyToDeploy,
    progress: &Progress,
    stop: &StopFlag,
    failure: impl Fn(Error) -> Failure,
) -> Result<Done, Failure> {
    let digests = ready.digests(progress, stop).map_err(&failure)?;
    let staged = report.stage(report::json(ready.plan(), &digests))?;
    let done = ready.run(progress, stop).map_err(&failure)?;
    staged.publish(&ready.plan().output)?;
    Ok(done)
}

/// Leaves the run the files of its command line, each of which is one of its own.
fn confine(command: &args::Deploy) -> Result<(), Failure> {
    let written = [
        ("--output", command.output.as_ref()),
        (
            "--recovery-key-out",
            command.binding.recovery.recovery_key_out.as_ref(),
        ),
        report_file::named(command.report.as_ref()),
    ];
    let files = Files::written(written)?;
    let source = ("SOURCE", Some(&command.source));
    let files = match &command.output {
        Some(_) => files.reading([source])?,
        None => files.changing(source)?,
    };
    let files = files.reading([("--unlock-with", command.unlock_with.as_ref())])?;
    let files = files.reading(binding::files_read(&command.binding))?;
    files.confinement(Confinement::new()).enter()
}

fn job(command: &args::Deploy) -> Job {
    Job {
        source: command.source.clone(),
        output: command.output.clone(),
        overwrite: command.overwrite,
        dry_run: command.dry_run,
        partitions: command.partitions.named(),
        binding: binding::binding(&command.binding, "deploy"),
        unlock_with: command.unlock_with.clone(),
    }
}
