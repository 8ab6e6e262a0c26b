//! `encrypt-cloud-image provision` onto a device.

use std::path::Path;
use std::time::Instant;

use super::common::failure;
use super::plan;
use crate::clock::now;
use crate::deploy::report as deploy_report;
use crate::message::{Failure, answer, say, warn};
use crate::progress::Progress;
use crate::report_file::ReportFile;
use crate::{args, binding, recovery_key, signals};
use operations::provision::DeviceGuest;
use operations::{Control, StopFlag, SystemEntropy};

/// Makes a device that of one guest, or shows what that would do.
pub fn run(
    command: &args::Provision,
    device: &Path,
    report: Option<ReportFile<'_>>,
    verbose: bool,
    stop: &StopFlag,
) -> Result<(), Failure> {
    let failure = |error| failure(error, &command.source, device);
    let started = Instant::now();
    let binding = binding::binding(&command.binding, "provision");
    let job = command.conversion.job(&command.source, Some(device));
    let progress = Progress::new();
    let mut entropy = SystemEntropy::new();
    let control = Control {
        observer: &progress,
        stop,
    };
    let guest = DeviceGuest::prepare(job, &binding, &mut entropy, now()?, control);
    let guest = guest.map_err(failure)?;
    let (encrypted, bound) = (guest.plan(), guest.binding());
    if command.conversion.dry_run {
        warn(&encrypted.warnings);
        warn(&bound.warnings);
        return answer(&plan::table(encrypted, bound));
    }
    say(&if verbose {
        plan::table(encrypted, bound)
    } else {
        plan::choices(encrypted, bound)
    });
    warn(&encrypted.warnings);
    warn(&bound.warnings);
    let report = report.map(ReportFile::check).transpose()?;
    let kept = signals::unwinding();
    let written = guest.run(&progress, stop);
    progress.clear();
    written.map_err(failure)?;
    if verbose {
        progress.say_times();
    }
    if let (true, Some(key)) = (command.binding.recovery.print, guest.new_recovery_key()) {
        let told = recovery_key::answer_digits(&key.text());
        told.map_err(|failure| failure.after(device))?;
    }
    kept.until_the_end();
    let (path, device, seconds) = (device, device.display(), started.elapsed().as_secs_f64());
    say(&format!("{device}: provisioned in {seconds:.1} s\n"));
    // The device is complete, whatever becomes of its report.
    let Some(report) = report else { return Ok(()) };
    // A signal that came too late for the device does not cost the report.
    let digests = guest.digests(&progress, &StopFlag::new());
    progress.clear();
    let source_bytes = guest.source_bytes();
    let digests = digests.map_err(|error| failure(error).after(path))?;
    let text = deploy_report::of_provision(encrypted, bound, source_bytes, &digests);
    let staged = report.stage(text);
    let staged = staged.map_err(|failure| failure.after(path))?;
    staged.publish(path)
}
