//! From a difference and what stands around it to its likely cause.

use super::cause::Cause;
use super::database;
use super::logged::{Logged, Meaning, authority, is_digest_entry};
use crate::efi::sbat;
use crate::measure::event::{Event, Source, parse_variable_data};

/// Both sides of a boot, and where the log has what is asked for again and again: a log may be long.
#[derive(Debug)]
pub(super) struct Sides<'a> {
    /// The events of the branch.
    predicted: &'a [Event],
    /// The events of the log, of all PCRs.
    log: &'a [Logged<'a>],
    /// Places of the programs and drivers in the log.
    images: Vec<usize>,
    /// Numbers of the events in PCR 7 that tell who let a program start.
    authorities: Vec<usize>,
    /// Number of the last separator of PCR 4, and of PCR 7.
    separators: [Option<usize>; 2],
    /// What the log says of Secure Boot.
    secure_boot: Option<bool>,
}

impl<'a> Sides<'a> {
    /// The events of a branch, and those of the log, of all PCRs.
    pub fn new(predicted: &'a [Event], log: &'a [Logged<'a>]) -> Self {
        let is_image =
            |event: &Logged<'_>| matches!(event.meaning, Meaning::Program { .. } | Meaning::Driver);
        let images = log.iter().enumerate().filter(|(_, event)| is_image(event));
        let is_authority = |event: &&Logged<'_>| match &event.meaning {
            Meaning::Authority { name, .. } => event.event.pcr == 7 && name != "SbatLevel",
            _ => false,
        };
        let separator = |pcr| {
            let mut events = log.iter().rev();
            let found = events.find(|event| {
                event.event.pcr == pcr && matches!(event.meaning, Meaning::Separator { .. })
            });
            found.map(|event| event.number)
        };
        let secure_boot = log.iter().find_map(|event| match &event.meaning {
            Meaning::Variable { name, data } if name == "SecureBoot" && event.event.pcr == 7 => {
                Some(*data == [1])
            }
            _ => None,
        });
        Self {
            predicted,
            images: images.map(|(place, _)| place).collect(),
            authorities: log
                .iter()
                .filter(is_authority)
                .map(|event| event.number)
                .collect(),
            separators: [separator(4), separator(7)],
            secure_boot,
            log,
        }
    }

    /// The likely cause of a difference: two events that differ, or one that stands alone.
    pub fn cause(&self, predicted: Option<&Event>, logged: Option<&Logged<'_>>) -> Cause {
        match (predicted, logged) {
            (Some(predicted), Some(logged)) => self.of_pair(predicted, logged),
            (None, Some(logged)) => self.of_logged(logged),
            (Some(predicted), None) => self.of_predicted(predicted),
            (None, None) => Cause::Missing {
                what: "an event".to_owned(),
            },
        }
    }

    fn of_pair(&self, predicted: &Event, logged: &Logged<'_>) -> Cause {
        if predicted.data == logged.event.data && hashes_its_data(predicted) {
            return Cause::DigestOfOtherData;
        }
        match (&predicted.source, &logged.meaning) {
            (Source::Variable("SecureBoot"), Meaning::Variable { data, .. }) => match *data {
                [1] => Cause::SecureBootOn,
                _ => Cause::SecureBootOff,
            },
            (Source::Variable(name), Meaning::Variable { data, .. }) => Cause::Database {
                database: name,
                changes: database::changes(variable_content(predicted), data),
            },
            (Source::Separator, _) => Cause::ErrorSeparator,
            (Source::Level { .. } | Source::Authority { .. }, _) if self.is_off_unforeseen() => {
                Cause::SecureBootOff
            }
            (Source::Level { .. }, _) if self.is_on_unforeseen() => Cause::SecureBootOn,
            (Source::Level { .. }, Meaning::Authority { data, .. }) => {
                level(variable_content(predicted), data)
            }
            (Source::Authority { .. }, _) if self.fallback_behind(logged).is_some() => {
                self.of_logged(logged)
            }
            (Source::Authority { file, database }, Meaning::Authority { name, data }) => {
                let content = variable_content(predicted);
                Cause::OtherAuthority {
                    file: file.clone(),
                    logged: authority(name, data),
                    predicted: authority(database, content),
                    reason: self.reason((database, content), (name, data), logged.number),
                }
            }
            (
                Source::Program { file } | Source::InnerKernel { file },
                Meaning::Program { path },
            ) => {
                let (file, program) = (file.clone(), program(path.as_ref()));
                if self.is_first_of_several(predicted) {
                    Cause::OtherShim { file, program }
                } else {
                    Cause::OtherKernel { file, program }
                }
            }
            _ => Cause::Unexpected {
                what: logged.description(),
            },
        }
    }

    fn of_logged(&self, logged: &Logged<'_>) -> Cause {
        let what = || logged.description();
        match (logged.event.pcr, &logged.meaning) {
            (7, Meaning::Authority { name, .. }) if name == "MokSBState" => Cause::MokSbState,
            (7, Meaning::Authority { name, data }) => self.of_extra_authority(logged, name, data),
            (4, Meaning::Action(_)) => {
                if self.predicts(|source| *source == Source::Action) {
                    Cause::FailedBootOption
                } else {
                    Cause::ReadyToBoot
                }
            }
            (4, Meaning::Program { path }) => self.of_extra_program(logged, path.as_ref()),
            (12, Meaning::Ipl(text)) => Cause::LoadOptions { text: text.clone() },
            (4 | 7, Meaning::Separator { is_error: true }) => Cause::ErrorSeparator,
            (7, Meaning::Variable { .. })
                if self
                    .predicted
                    .iter()
                    .any(|event| event.digest == logged.event.digest) =>
            {
                Cause::Order { what: what() }
            }
            (4 | 7, _) if self.is_before_boot(logged) => Cause::MoreBeforeBoot { what: what() },
            _ => Cause::Unexpected { what: what() },
        }
    }

    /// An authority that was not predicted, by the program that was measured behind it.
    fn of_extra_authority(&self, logged: &Logged<'_>, name: &str, data: &[u8]) -> Cause {
        let in_words = || authority(name, data);
        if self.is_on_unforeseen() {
            return Cause::SecureBootOn;
        }
        if name == "SbatLevel" {
            return self.of_extra_level(logged, data);
        }
        let Some(next) = self.next_image(logged.number) else {
            return Cause::NotStartedAfterAuthority {
                authority: in_words(),
            };
        };
        let Meaning::Program { path } = &next.meaning else {
            return Cause::OptionRom {
                authority: in_words(),
            };
        };
        if let Some(program) = self.fallback_behind(logged) {
            return Cause::Fallback { program };
        }
        if self.authorities_of(next) > 1 {
            Cause::FurtherSignature {
                program: program(path.as_ref()),
            }
        } else if self.is_predicted(logged) {
            Cause::Again { what: in_words() }
        } else {
            Cause::FurtherProgram {
                program: program(path.as_ref()),
            }
        }
    }

    /// One more level: a shim that runs once more, or one that was not predicted.
    fn of_extra_level(&self, logged: &Logged<'_>, data: &[u8]) -> Cause {
        if self.is_predicted(logged) {
            return Cause::Again {
                what: authority("SbatLevel", data),
            };
        }
        let before = self.image_behind(logged.number).checked_sub(1);
        let before = before.and_then(|at| self.log.get(*self.images.get(at)?));
        let path = before.and_then(|image| match &image.meaning {
            Meaning::Program { path } => path.as_ref(),
            _ => None,
        });
        Cause::ExtraLevel {
            program: program(path),
        }
    }

    fn of_extra_program(&self, logged: &Logged<'_>, path: Option<&String>) -> Cause {
        let is_last = self.next_image(logged.number).is_none();
        let kernel = self
            .predicted
            .iter()
            .rev()
            .find_map(|event| match &event.source {
                Source::Program { file } => Some(file.clone()),
                _ => None,
            });
        if let Some(program) = logged.fallback() {
            Cause::Fallback {
                program: program.to_owned(),
            }
        } else if self.is_before_boot(logged) {
            Cause::BeforeBoot {
                program: program(path),
            }
        } else if self.is_predicted(logged) {
            Cause::Again {
                what: logged.description(),
            }
        } else if let (true, Some(false), Some(file)) = (is_last, self.secure_boot, kernel) {
            Cause::InnerKernel { file }
        } else {
            Cause::FurtherProgram {
                program: program(path),
            }
        }
    }

    fn of_predicted(&self, predicted: &Event) -> Cause {
        match &predicted.source {
            Source::Action => Cause::NoReadyToBoot,
            Source::Separator => Cause::NoSeparator,
            Source::Authority { .. } if self.is_off_unforeseen() => Cause::SecureBootOff,
            Source::Authority { .. } | Source::Variable(_) if self.is_logged(predicted) => {
                Cause::Order {
                    what: predicted.description.clone(),
                }
            }
            Source::Authority { file, .. } if self.has_other_authority(predicted, file) => {
                Cause::FewerSignatures { file: file.clone() }
            }
            Source::Authority { file, .. } => Cause::NoAuthority { file: file.clone() },
            Source::InnerKernel { .. } if self.is_on_unforeseen() => Cause::SecureBootOn,
            Source::Level { file } => Cause::NoLevel { file: file.clone() },
            Source::Program { file } => Cause::NotStarted { file: file.clone() },
            _ => Cause::Missing {
                what: predicted.description.clone(),
            },
        }
    }

    /// Why another entry may have authorised a program.
    fn reason(
        &self,
        (database, content): (&str, &[u8]),
        (name, data): (&str, &[u8]),
        number: usize,
    ) -> &'static str {
        let is_built_in = |name: &str| matches!(name, "MokListRT" | "Shim" | "vendor_db");
        let without_owner = |data: &[u8]| data.get(16..).unwrap_or_default().to_vec();
        let is_same_program = self
            .next_image(number)
            .is_some_and(|image| self.is_predicted(image));
        if is_built_in(database) && is_built_in(name) && database != name {
            return "another version of shim, which names its own certificates otherwise (Shim below 15.7, MokListRT from then on)";
        }
        match (is_built_in(database), is_built_in(name)) {
            (false, true) => {
                "a certificate built into shim, or a machine owner key (MOK) of the guest, verified it, and nothing in db"
            }
            (true, false) => {
                "the guest's db holds a certificate that verifies it, and shim asks db first"
            }
            _ if name == "dbx" => "a certificate in the guest's dbx verifies one of its signatures",
            _ if without_owner(content) == without_owner(data) => {
                "the same entry stands there under another owner"
            }
            _ if is_digest_entry(data) && !is_digest_entry(content) => {
                "its digest stands in the guest's db, and no certificate verified it before"
            }
            _ if is_digest_entry(content) && !is_digest_entry(data) => {
                "the guest's db holds a certificate that verifies it, and its digest is not looked at or not there"
            }
            _ if !is_same_program => "the program is another one, too, as PCR 4 tells",
            _ => "the same program leads to another certificate, in a db of other entries or order",
        }
    }

    /// True where Secure Boot is off in the guest alone.
    fn is_off_unforeseen(&self) -> bool {
        self.secure_boot == Some(false) && !self.predicts_secure_boot_off()
    }

    /// True where Secure Boot is on in the guest alone.
    fn is_on_unforeseen(&self) -> bool {
        self.secure_boot == Some(true) && self.predicts_secure_boot_off()
    }

    /// True where the log has another authority that was predicted for the same program.
    fn has_other_authority(&self, predicted: &Event, of: &str) -> bool {
        let mut events = self.predicted.iter();
        events.any(|event| {
            matches!(&event.source, Source::Authority { file, .. } if file == of)
                && event.digest != predicted.digest
                && self.is_logged(event)
        })
    }

    /// The path of shim's fallback loader, where that is what an authority is for.
    fn fallback_behind(&self, logged: &Logged<'_>) -> Option<String> {
        let next = self.next_image(logged.number)?;
        next.fallback().map(str::to_owned)
    }

    fn predicts_secure_boot_off(&self) -> bool {
        let mut events = self.predicted.iter();
        events.any(|event| {
            event.source == Source::Variable("SecureBoot") && variable_content(event) == [0]
        })
    }

    fn predicts(&self, is_it: impl Fn(&Source) -> bool) -> bool {
        self.predicted.iter().any(|event| is_it(&event.source))
    }

    /// True where the prediction has an event of this digest in the PCR.
    fn is_predicted(&self, logged: &Logged<'_>) -> bool {
        let mut events = self.predicted.iter();
        events.any(|event| {
            u32::from(event.pcr) == logged.event.pcr && event.digest == logged.event.digest
        })
    }

    fn is_logged(&self, predicted: &Event) -> bool {
        let mut events = self.log.iter();
        events.any(|event| {
            event.event.pcr == u32::from(predicted.pcr) && event.event.digest == predicted.digest
        })
    }

    fn is_first_of_several(&self, predicted: &Event) -> bool {
        let is_program = |event: &&Event| matches!(event.source, Source::Program { .. });
        let mut programs = self.predicted.iter().filter(is_program);
        programs.next() == Some(predicted) && programs.next().is_some()
    }

    /// True where the separator of the event's PCR comes later.
    fn is_before_boot(&self, logged: &Logged<'_>) -> bool {
        let [four, seven] = self.separators;
        let separator = match logged.event.pcr {
            4 => four,
            7 => seven,
            _ => None,
        };
        separator.is_some_and(|separator| separator > logged.number)
    }

    /// The place in `images` of the first program or driver behind an event.
    fn image_behind(&self, number: usize) -> usize {
        self.images.partition_point(|place| {
            self.log
                .get(*place)
                .is_some_and(|image| image.number <= number)
        })
    }

    /// The program or driver that the log has next.
    fn next_image(&self, number: usize) -> Option<&Logged<'_>> {
        self.log.get(*self.images.get(self.image_behind(number))?)
    }

    /// How many authorities stand between a program and the one before it.
    fn authorities_of(&self, image: &Logged<'_>) -> usize {
        let behind = self.image_behind(image.number);
        let before = behind
            .checked_sub(2)
            .and_then(|before| self.log.get(*self.images.get(before)?))
            .map_or(0, |image| image.number);
        let until = |number: usize| self.authorities.partition_point(|at| *at < number);
        until(image.number).saturating_sub(until(before))
    }
}

/// True for events whose data in the log are what was hashed.
fn hashes_its_data(predicted: &Event) -> bool {
    !matches!(
        predicted.source,
        Source::Program { .. }
            | Source::InnerKernel { .. }
            | Source::Section { .. }
            | Source::Phase
            | Source::Epoch
            | Source::OsSeparator
    )
}

/// What a predicted variable or authority holds.
fn variable_content(predicted: &Event) -> &[u8] {
    parse_variable_data(&predicted.data).map_or(&[], |(_, _, data)| data)
}

fn program(path: Option<&String>) -> String {
    path.map_or_else(|| "a program without a path".to_owned(), Clone::clone)
}

/// Two SBAT levels, by their first lines.
fn level(predicted: &[u8], logged: &[u8]) -> Cause {
    let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
    let first = |text: &str| match text.lines().next() {
        Some(line) => line
            .chars()
            .filter(|shown| !shown.is_control())
            .take(80)
            .collect(),
        None => "empty".to_owned(),
    };
    let (predicted, logged) = (text(predicted), text(logged));
    let is_newer = sbat::is_newer(&logged, &predicted).unwrap_or(false);
    let (logged, predicted) = (first(&logged), first(&predicted));
    if is_newer {
        Cause::NewerLevel { logged, predicted }
    } else {
        Cause::OtherLevel { logged, predicted }
    }
}
