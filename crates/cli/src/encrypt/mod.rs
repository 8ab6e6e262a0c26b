//! `encrypt-cloud-image encrypt`.

mod in_place;
pub mod plan;
mod run;

use std::time::Instant;

use self::run::{Run, failure, tell_done};
use crate::args;
use crate::clock::now;
use crate::confinement::Confinement;
use crate::files::Files;
use crate::message::Failure;
use crate::progress::Progress;
use crate::signals;
use operations::{SystemEntropy, is_device};

/// Encrypts an image, or shows what that would do. `verbose`: a run tells its whole plan.
pub fn run(command: &args::Encrypt, verbose: bool) -> Result<(), Failure> {
    confine(command)?;
    let stop = signals::stop_flag();
    if command.place.resume {
        return in_place::resume(command, verbose, &stop);
    }
    if is_in_place(command) {
        return in_place::run(command, verbose, &stop);
    }
    if command.output.as_deref().is_some_and(is_device) {
        return in_place::onto_device(command, verbose, &stop);
    }
    let started = Instant::now();
    let job = command
        .conversion
        .job(&command.source, command.output.as_deref());
    let progress = Progress::new();
    let prepared = job.prepare(&mut SystemEntropy::new(), now()?, &progress, &stop);
    progress.clear();
    let ready = prepared.map_err(|error| failure(command, error))?;
    let has_room = ready.check_room();
    Run { command, verbose }.carry_out(&progress, ready.plan(), has_room, |progress| {
        ready.run(progress, &stop)
    })?;
    if !command.conversion.dry_run {
        tell_done(&ready.plan().route.output, "encrypted", started);
    }
    Ok(())
}

/// True where the source itself is changed: a device without an output always is.
fn is_in_place(command: &args::Encrypt) -> bool {
    command.place.in_place
        || command.place.resume
        || command.output.is_none() && is_device(&command.source)
}

/// Leaves the run the files of its command line, each of which is one of its own.
fn confine(command: &args::Encrypt) -> Result<(), Failure> {
    let source = ("SOURCE", Some(&command.source));
    let files = match &command.output {
        _ if is_in_place(command) => Files::default().changing(source)?,
        Some(output) => Files::written([("--output", Some(output))])?.reading([source])?,
        None => Files::written([source])?, // it is replaced
    };
    let conversion = &command.conversion;
    let read = [("--kernel-efi", conversion.guest.kernel_efi.as_ref())].into_iter();
    let backing = conversion.backing.backing_file.iter();
    let files = files.reading(read.chain(backing.map(|path| ("--backing-file", Some(path)))))?;
    let added = match conversion.layout.make_room {
        args::MakeRoom::Shrink => Confinement::new().runs_programs(),
        _ => Confinement::new(),
    };
    files.confinement(added).enter()
}
