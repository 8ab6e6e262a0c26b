//! `encrypt-cloud-image encrypt`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::args;
use super::confinement::Confinement;
use super::files::Files;
use super::message::{Failure, answer, say, warn, warn_of_refusal};
use super::progress::Progress;
use super::{in_place, plan, signals};
use operations::{Error, SystemEntropy, is_device};

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
    let conversion = &command.conversion;
    let job = conversion.job(&command.source, command.output.as_deref());
    let failure = |error| failure(command, error);
    let started = Instant::now();
    let progress = Progress::new();
    let prepared = job.prepare(&mut SystemEntropy::new(), now()?, &progress, &stop);
    progress.clear();
    let ready = prepared.map_err(failure)?;
    let plan = ready.plan();
    if conversion.dry_run {
        warn(&plan.warnings);
        warn_of_refusal(ready.check_room());
        return answer(&plan::table(plan));
    }
    ready.check_room().map_err(failure)?;
    say(&if verbose {
        plan::table(plan)
    } else {
        plan::choices(plan)
    });
    warn(&plan.warnings);
    let kept = signals::unwinding();
    let written = ready.run(&progress, &stop);
    progress.clear();
    written.map_err(failure)?;
    kept.until_the_end();
    if verbose {
        progress.say_times();
    }
    say(&format!(
        "{}: encrypted in {:.1} s\n",
        plan.output.display(),
        started.elapsed().as_secs_f64()
    ));
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

/// A failure that names the file that it is about.
pub fn failure(command: &args::Encrypt, error: Error) -> Failure {
    let source = &command.source;
    let output = command.output.as_ref().unwrap_or(source);
    let (about, hint) = (error.about(), error.hint(source));
    Failure::new(error.into(), hint).about_one_of(about, source, output)
}

/// The time of all changes, in seconds since 1970: `SOURCE_DATE_EPOCH` where it is set, else now.
pub fn now() -> Result<i64, Failure> {
    if let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") {
        return text
            .to_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| {
                let what = anyhow::anyhow!(
                    "SOURCE_DATE_EPOCH is no number of seconds: {}",
                    text.display()
                );
                Failure::new(what, None)
            });
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}
