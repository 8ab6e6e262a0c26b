//! Messages on standard error: `error:` with its causes, then a `hint:` where there is a way out.

use std::fmt::{Display, Write as _};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tracing_subscriber::filter::LevelFilter;

use crate::signals;
use crate::status::Status;
use operations::{About, left_behind};

/// What an interrupted run promises, unless a temporary file could not be removed.
const NOTHING_LEFT: [&str; 2] = [
    "; nothing was left behind",
    ", of the others nothing was left behind",
];

/// Why a program ends without having done what it was asked for.
pub struct Failure {
    error: anyhow::Error,
    file: Option<PathBuf>,
    line: Option<usize>,
    made: Option<PathBuf>,
    hint: Option<String>,
    status: Status,
    /// Temporary files are left behind, which was told.
    has_left: bool,
}

impl Failure {
    /// A failure with the way out of it, where there is one.
    pub fn new(error: anyhow::Error, hint: Option<String>) -> Self {
        Self {
            error,
            file: None,
            line: None,
            made: None,
            hint,
            status: Status::Failed,
            has_left: false,
        }
    }

    /// The file that the failure is about, where the message does not name it.
    pub fn about(self, file: Option<&Path>) -> Self {
        Self {
            file: file.map(Path::to_owned),
            ..self
        }
    }

    /// The same for a run from `source` to `output`.
    pub fn about_one_of(self, about: About, source: &Path, output: &Path) -> Self {
        self.about(match about {
            About::Source => Some(source),
            About::Output => Some(output),
            About::Neither => None,
        })
    }

    /// The same with another exit status than that of a failure.
    pub fn with_status(self, status: Status) -> Self {
        Self { status, ..self }
    }

    /// The same where temporary files are left behind.
    pub fn beside(self, has_left: bool) -> Self {
        Self { has_left, ..self }
    }

    /// The failure of a guest, by its line in the file of guests.
    pub fn of_line(self, line: usize) -> Self {
        Self {
            line: Some(line),
            ..self
        }
    }

    /// The failure of what came last, when the image `made` was there already.
    pub fn after(self, made: &Path) -> Self {
        Self {
            made: Some(made.to_owned()),
            ..self
        }
    }

    /// The error, where it is of this kind.
    pub fn cause<E: std::error::Error + Send + Sync + 'static>(&self) -> Option<&E> {
        self.error.downcast_ref()
    }

    /// True where the image was there already.
    pub fn leaves_an_image(&self) -> bool {
        self.made.is_some()
    }

    /// Prints the failure and returns the exit code that goes with it.
    pub fn report(self) -> ExitCode {
        self.say();
        signals::die_of_the_one_that_came();
        self.status.into()
    }

    /// Prints the failure.
    pub fn say(&self) {
        let mut causes = self.error.chain();
        let mut text = String::new();
        if let Some(first) = causes.next() {
            let file = self
                .file
                .as_ref()
                .map(|file| format!("{}: ", file.display()));
            let line = self.line.map(|line| format!("line {line}: "));
            let made = self.made.as_ref();
            let made = made.map(|made| format!("{} is complete, but: ", made.display()));
            let parts = [line, made, file].map(Option::unwrap_or_default).concat();
            let mut first = first.to_string();
            if self.has_left {
                first = NOTHING_LEFT
                    .iter()
                    .fold(first, |first, said| first.replace(said, ""));
            }
            let _ = writeln!(text, "error: {parts}{first}");
        }
        for cause in causes.map(ToString::to_string) {
            // Some errors have their cause in their own words as well.
            if !text.trim_end().ends_with(&cause) {
                let _ = writeln!(text, "  because: {cause}");
            }
        }
        for line in self.hint.iter().flat_map(|hint| hint.lines()) {
            let _ = writeln!(text, "hint: {line}");
        }
        say(&text);
    }
}

/// Writes to standard error, whatever became of it.
pub fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Writes warnings to standard error.
pub fn warn<W: Display>(warnings: &[W]) {
    for warning in warnings {
        say(&format!("warning: {warning}\n"));
    }
}

/// Tells of temporary files that could not be removed. True where there are any.
pub fn warn_of_left_behind() -> bool {
    let left = left_behind();
    for (path, error) in &left {
        let path = path.display();
        warn(&[format!(
            "{path} is left behind: it could not be removed ({error})"
        )]);
    }
    !left.is_empty()
}

/// Warns of what a run would be refused for. Where nothing is written there is nothing to refuse.
pub fn warn_of_refusal<E: Display>(checked: Result<(), E>) {
    if let Err(error) = checked {
        warn(&[format!("{error}: a run is refused")]);
    }
}

/// Writes an answer to standard output. A reader that closed its end is no failure of ours.
pub fn answer(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(unanswered(error)),
        _ => Ok(()),
    }
}

/// An answer that could not be written.
pub fn unanswered(error: std::io::Error) -> Failure {
    let error = anyhow::Error::new(error).context("cannot write the answer");
    Failure::new(error, None)
}

/// Details of the work go to standard error with `-v`. No crate tells any but those of this workspace.
pub fn start_diagnostics(verbose: bool) {
    let level = if verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::OFF
    };
    let colours = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let _ = tracing_subscriber::fmt()
        .with_ansi(colours)
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .try_init();
}
