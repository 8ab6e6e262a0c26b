//! What the ways to provision have in common.

use std::path::Path;

use crate::confinement::Confinement;
use crate::deploy::report as deploy_report;
use crate::files::{Files, Named};
use crate::message::Failure;
use crate::progress::Progress;
use crate::report_file::CheckedReport;
use crate::{args, binding};
use operations::StopFlag;
use operations::deploy::{Done, Error};
use operations::provision::{GuestImage, PlainImage, Written};

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
    let text =
        deploy_report::of_provision(image.plan(), image.binding(), source.file_bytes(), &digests);
    let staged = report.stage(text)?;
    let done = written.publish(progress, stop).map_err(&failure)?;
    staged.publish(&image.plan().route.output)?;
    Ok(done)
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
