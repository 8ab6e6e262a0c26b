//! A conversion that was found feasible: its plan is told, then it is carried out. The same for every kind of output.

use std::path::Path;
use std::time::Instant;

use super::plan;
use crate::args;
use crate::message::{Failure, answer, say, warn, warn_of_refusal};
use crate::progress::Progress;
use crate::signals;
use operations::Error;
use operations::encrypt::EncryptPlan;

/// An `encrypt` as it was asked for.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The command line.
    pub command: &'a args::Encrypt,
    /// The whole plan is told, and what the steps took.
    pub verbose: bool,
}

impl Run<'_> {
    /// Tells the plan and carries it out, or answers with it.
    pub fn carry_out(
        self,
        progress: &Progress,
        plan: &EncryptPlan,
        has_room: Result<(), Error>,
        run: impl FnOnce(&Progress) -> Result<(), Error>,
    ) -> Result<(), Failure> {
        let Self { command, verbose } = self;
        let failure = |error| failure(command, error);
        if command.conversion.dry_run {
            warn(&plan.warnings);
            warn_of_refusal(has_room);
            return answer(&plan::table(plan));
        }
        has_room.map_err(failure)?;
        say(&if verbose {
            plan::table(plan)
        } else {
            plan::choices(plan)
        });
        warn(&plan.warnings);
        let kept = signals::unwinding();
        let done = run(progress);
        progress.clear();
        done.map_err(failure)?;
        kept.until_the_end();
        if verbose {
            progress.say_times();
        }
        Ok(())
    }
}

/// Says that a run has come to its end.
pub fn tell_done(path: &Path, what: &str, started: Instant) {
    say(&format!(
        "{}: {what} in {:.1} s\n",
        path.display(),
        started.elapsed().as_secs_f64()
    ));
}

/// A failure that names the file that it is about.
pub fn failure(command: &args::Encrypt, error: Error) -> Failure {
    let source = &command.source;
    let output = command.output.as_ref().unwrap_or(source);
    let (about, hint) = (error.about(), error.hint(source));
    Failure::new(error.into(), hint).about_one_of(about, source, output)
}
