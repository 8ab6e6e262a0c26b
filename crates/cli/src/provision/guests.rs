//! `encrypt-cloud-image provision --guests`: images for many guests from one source.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::common::{confine, failure, files_read, publish};
use super::guests_file::{self, Guest};
use super::plan;
use crate::args;
use crate::binding::{OfGuest, binding_of};
use crate::clock::now;
use crate::encrypt::plan as conversion;
use crate::files::Files;
use crate::guest;
use crate::message::{Failure, answer, say, warn};
use crate::progress::Progress;
use crate::report_file::{CheckedReport, ReportFile};
use crate::signals::{self, Unwinding};
use crate::status::Status;
use operations::deploy::{Binding, Error};
use operations::provision::{AT_ONCE, Batch, GuestImage, PlainImage};
use operations::{Error as CommonError, StopFlag, SystemEntropy};

/// A run, and what came of it so far.
struct Run<'a> {
    command: &'a args::Provision,
    verbose: bool,
    stop: &'a StopFlag,
    now: i64,
    /// What was told: choices and warnings that several guests share are said once, with the first of them.
    said: HashSet<String>,
    made: usize,
    /// Images that are there, though something else of their guest's failed.
    whole: usize,
    /// Guests without an image, for a reason that was told.
    failed: usize,
    /// Signals are kept from the first image of a batch on, until the next one is planned.
    kept: Option<Unwinding>,
}

/// Makes an image for each guest of a file, or shows what that would do.
pub fn run(
    command: &args::Provision,
    path: &PathBuf,
    verbose: bool,
    stop: &StopFlag,
) -> Result<(), Failure> {
    let started = Instant::now();
    let guests = bound(command, path)?;
    let backing = &command.conversion.backing.backing_file;
    let conversion = &command.conversion;
    let outputs = guests.iter().map(|(guest, _)| guest.output.as_path());
    let first = outputs.clone().next().unwrap_or(Path::new(""));
    let jobs = outputs.map(|output| conversion.job(&command.source, Some(output)));
    let progress = Progress::new();
    let source = PlainImage::open(&command.source, backing, jobs, &progress, stop);
    progress.clear();
    let source = source.map_err(|error| failure(error, &command.source, first))?;
    let mut run = Run {
        command,
        verbose,
        stop,
        now: now()?,
        said: HashSet::new(),
        made: 0,
        whole: 0,
        failed: 0,
        kept: None,
    };
    for guests in guests.chunks(AT_ONCE) {
        run.batch(&source, guests)?;
        if stop.is_raised() {
            break;
        }
    }
    if let Some(kept) = run.kept.take() {
        kept.until_the_end();
    }
    let (all, made) = (guests.len(), run.made);
    let what = match all - made {
        _ if stop.is_raised() => {
            let whole = made + run.whole;
            // What is left of those that failed was told.
            let others = if whole < all && run.failed == 0 {
                ", of the others nothing was left behind"
            } else {
                ""
            };
            format!("interrupted; {whole} of {all} images are whole{others}")
        }
        0 => String::new(),
        failed => format!("{failed} of {all} guests failed"),
    };
    if !what.is_empty() {
        let failure = Failure::new(anyhow::anyhow!(what), None).about(Some(path));
        let status = if made == 0 {
            Status::Failed
        } else {
            Status::SomeFailed
        };
        return Err(failure.with_status(status));
    }
    if !command.conversion.dry_run {
        let seconds = started.elapsed().as_secs_f64();
        let path = path.display();
        say(&format!("{path}: {all} images, in {seconds:.1} s\n"));
    }
    Ok(())
}

/// True where a guest's image is not there because a signal came, and nothing is left of it.
fn is_interruption(failure: &Failure) -> bool {
    let cause = failure.cause::<Error>();
    matches!(cause, Some(Error::Common(CommonError::Interrupted)))
}

/// The guests of a file, each with what binds its image to it.
fn bound(command: &args::Provision, path: &PathBuf) -> Result<Vec<(Guest, Binding)>, Failure> {
    let mut files = Files::default();
    for (option, path) in files_read(command).chain([("--guests", Some(path))]) {
        files.read(option.into(), path)?;
    }
    let for_all = guest::firmware_given(&command.binding.firmware);
    let guests = guests_file::read(path, &mut files)?;
    confine(command, &files)?;
    let bound = guests.into_iter().map(|guest| {
        let wrong = |what: &str| {
            let what = anyhow::anyhow!("line {}: {what}", guest.line);
            Failure::new(what, None).about(Some(path))
        };
        let of_guest = (!guest.firmware.is_empty()).then(|| guest.firmware.clone());
        let firmware = match (command.binding.no_pcr_policy, of_guest) {
            (true, Some(_)) => {
                return Err(wrong("--no-pcr-policy seals to no PCR, so nothing asks what the guest's firmware holds"));
            }
            (true, None) => None,
            (false, Some(firmware)) => Some(firmware),
            (false, None) if for_all.is_empty() => {
                return Err(wrong("say what the guest's firmware holds: uefi_config, ovmf_vars or az_disk_profile, or --uefi-config FILE for every guest"));
            }
            (false, None) => Some(for_all.clone()),
        };
        if command.binding.srk.standard_srk_template && guest.unique_data.is_some() {
            return Err(wrong(
                "srk_template_unique_data does not go with --standard-srk-template",
            ));
        }
        let of_guest = OfGuest {
            srk_pub: guest.srk_pub.clone(),
            unique_data: guest.unique_data.clone(),
            firmware,
            recovery: guest.recovery.clone(),
        };
        let binding = binding_of(&command.binding, of_guest, "provision");
        Ok((guest, binding))
    });
    bound.collect()
}

impl Run<'_> {
    /// Makes the images of some guests, from one read of the source.
    fn batch(&mut self, source: &PlainImage, guests: &[(Guest, Binding)]) -> Result<(), Failure> {
        self.kept = None;
        let batch = source.batch(guests.len());
        let (mut prepared, mut images) = (Vec::new(), Vec::new());
        for (guest, binding) in guests {
            match self.prepare(&batch, guest, binding) {
                Ok((image, report)) => {
                    prepared.push((guest, report));
                    images.push(image);
                }
                Err((true, failure)) if self.made == 0 => return Err(failure),
                Err((true, failure)) => return Err(failure.with_status(Status::SomeFailed)),
                Err((false, failure)) => failure.say(),
            }
        }
        if self.command.conversion.dry_run {
            self.made += images.len();
            return images.iter().try_for_each(|image| {
                let table = plan::table(image.plan(), image.binding());
                answer(&format!("{table}\n"))
            });
        }
        let progress = Progress::new();
        self.kept = Some(signals::unwinding());
        let written = batch.write(&images, &progress, self.stop);
        for (((guest, report), image), written) in prepared.iter().zip(&images).zip(written) {
            let failed = |error| failure(error, &self.command.source, &guest.output);
            let report = report.as_ref();
            let published = written.map_err(failed).and_then(|written| {
                publish(source, image, written, report, &progress, self.stop, failed)?
                    .durable()
                    .map_err(failed)
            });
            progress.clear();
            match published {
                Ok(()) => {
                    self.made += 1;
                    say(&format!("{}: provisioned\n", guest.output.display()));
                }
                Err(failure) if is_interruption(&failure) => {}
                Err(failure) => {
                    self.whole += usize::from(failure.leaves_an_image());
                    self.failed += usize::from(!failure.leaves_an_image());
                    failure.of_line(guest.line).say();
                }
            }
        }
        if self.verbose {
            progress.say_times();
        }
        Ok(())
    }

    /// Plans an image. A failure comes with whether it is one of every guest.
    fn prepare<'g>(
        &mut self,
        batch: &Batch<'_>,
        guest: &'g Guest,
        binding: &Binding,
    ) -> Result<(GuestImage, Option<CheckedReport<'g>>), (bool, Failure)> {
        let conversion = &self.command.conversion;
        let check = |report: ReportFile<'g>| {
            if conversion.dry_run {
                return report.try_out().map(|()| None);
            }
            report.check().map(Some)
        };
        let report = guest.report.as_deref().map(ReportFile::of);
        let report = report.map_or(Ok(None), check);
        let report = report.map_err(|failure| (false, failure.of_line(guest.line)))?;
        let job = conversion.job(&self.command.source, Some(&guest.output));
        let entropy = &mut SystemEntropy::new();
        let image = batch.prepare(job, binding, entropy, self.now);
        let image = image.map_err(|error| {
            let is_of_every_guest = error.is_of_every_guest();
            let failure = failure(error, &self.command.source, &guest.output);
            (is_of_every_guest, failure.of_line(guest.line))
        })?;
        self.tell(guest, &image);
        Ok((image, report))
    }

    /// Says what was chosen, and what to know of it.
    fn tell(&mut self, guest: &Guest, image: &GuestImage) {
        let choices = conversion::choices(image.plan());
        if !self.command.conversion.dry_run && self.said.insert(choices.clone()) {
            say(&choices);
        }
        if self.verbose && !self.command.conversion.dry_run {
            say(&plan::table(image.plan(), image.binding()));
        }
        for warning in &image.plan().warnings {
            if self.said.insert(warning.clone()) {
                warn(std::slice::from_ref(warning));
            }
        }
        for warning in &image.binding().warnings {
            if self.said.insert(warning.clone()) {
                warn(&[format!("{}: {warning}", guest.output.display())]);
            }
        }
    }
}
