//! From a difference and what stands around it to its likely cause.

use super::cause::Cause;
use super::database;
use super::logged::{Logged, Meaning, Separator, authority, is_digest_entry, section};
use super::origin::Origin;
use super::owners::Owners;
use crate::event::{Event, Source, parse_variable_data};
use firmware::sbat;
use tpm::Bank;

/// What firmware says before it starts a boot option, and when that comes back.
const CALLING: &str = "Calling EFI Application";
const RETURNING: &str = "Returning from EFI Application";

/// Where a predicted program stands among the others.
enum Place {
    FirstOfSeveral,
    Only,
    Later,
}

/// Both sides of a boot, and where the log has what is asked for again and again: a log may be long.
#[derive(Debug)]
pub(super) struct Sides<'a> {
    /// The events of the branch.
    predicted: &'a [Event],
    /// The events of the log, of all PCRs.
    log: &'a [Logged<'a>],
    /// Which program an authority is for.
    owners: Owners,
    /// Number of the last separator of PCR 4, and of PCR 7.
    separators: [Option<usize>; 2],
    /// The content of `SecureBoot` in the log.
    secure_boot: Option<&'a [u8]>,
    bank: Bank,
}

impl<'a> Sides<'a> {
    /// The events of a branch, and those of the log, of all PCRs.
    pub fn new(predicted: &'a [Event], log: &'a [Logged<'a>], bank: Bank) -> Self {
        let separator = |pcr| {
            let mut events = log.iter().rev();
            let found = events.find(|event| {
                event.event.pcr == pcr && matches!(event.meaning, Meaning::Separator(_))
            });
            found.map(|event| event.number)
        };
        let secure_boot = log.iter().find_map(|event| match &event.meaning {
            Meaning::Variable { name, data } if name == "SecureBoot" && event.event.pcr == 7 => {
                Some(*data)
            }
            _ => None,
        });
        Self {
            predicted,
            owners: Owners::new(log),
            separators: [separator(4), separator(7)],
            secure_boot,
            log,
            bank,
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
        let is_of_verification = matches!(
            predicted.source,
            Source::Level { .. } | Source::Authority { .. }
        );
        if let Some(cause) = self.off_unforeseen().filter(|_| is_of_verification) {
            return cause;
        }
        match (&predicted.source, &logged.meaning) {
            (Source::Variable("SecureBoot"), Meaning::Variable { data, .. }) => {
                of_secure_boot(data)
            }
            (Source::Variable(name), Meaning::Variable { data, .. }) => Cause::Database {
                database: name,
                changes: database::changes(variable_content(predicted), data),
            },
            (Source::Separator, Meaning::Separator(separator)) => of_separator(*separator),
            (Source::Section { file }, Meaning::Section { name, .. }) => Cause::OtherSection {
                section: name.clone(),
                file: file.clone(),
                what: section_in_words(name),
            },
            (Source::Level { .. }, _) if self.is_on_unforeseen() => Cause::SecureBootOn,
            (Source::Level { .. }, Meaning::Authority { data, .. }) => {
                level(variable_content(predicted), data)
            }
            (Source::Authority { .. }, _) if self.fallback_behind(logged).is_some() => {
                self.of_logged(logged)
            }
            (Source::Authority { file, database }, Meaning::Authority { name, data }) => {
                let content = variable_content(predicted);
                let image = self.image_of(logged);
                let is_same_program = image.is_some_and(|image| self.is_predicted(image));
                Cause::OtherAuthority {
                    file: if is_same_program {
                        file.clone()
                    } else {
                        format!("the program in place of {file}")
                    },
                    logged: authority(name, data),
                    predicted: authority(database, content),
                    reason: reason(
                        &Entry {
                            list: database,
                            content,
                        },
                        &Entry {
                            list: name,
                            content: data,
                        },
                        is_same_program,
                    ),
                }
            }
            (Source::Program { file } | Source::InnerKernel { file }, Meaning::Program(origin)) => {
                self.of_programs(predicted, file, origin)
            }
            _ => Cause::Unexpected {
                what: logged.description(),
            },
        }
    }

    /// A program of other content in the place of a predicted one.
    fn of_programs(&self, predicted: &Event, file: &str, origin: &Origin) -> Cause {
        let (file, program) = (file.to_owned(), origin.name());
        match self.place_among_programs(predicted) {
            Place::FirstOfSeveral if origin.may_be_shim() => Cause::OtherShim { file, program },
            Place::FirstOfSeveral => Cause::OtherLoader { file, program },
            Place::Only if origin.may_be_shim() => Cause::OtherLoader { file, program },
            Place::Only | Place::Later => Cause::OtherKernel { file, program },
        }
    }

    fn of_logged(&self, logged: &Logged<'_>) -> Cause {
        let what = || logged.description();
        match (logged.event.pcr, &logged.meaning) {
            (7, Meaning::Authority { name, data })
                if logged.is_authority() || name == "SbatLevel" =>
            {
                self.of_extra_authority(logged, name, data)
            }
            (7, Meaning::Authority { name, .. }) if name == "MokSBState" => Cause::MokSbState,
            (7, Meaning::Authority { name, .. }) if name == "MokListTrusted" => {
                Cause::MokListTrusted
            }
            (4, Meaning::Action(text)) => self.of_extra_action(text),
            (4, Meaning::Program(origin)) => self.of_extra_program(logged, origin),
            (11, Meaning::Section { name, .. }) => self.of_extra_section(name),
            (12, Meaning::Ipl(text)) => Cause::LoadOptions { text: text.clone() },
            (12, Meaning::Tagged(_)) => Cause::FromOutside { what: what() },
            (4 | 7, Meaning::Separator(Separator::Zeros | Separator::Ones)) => {
                Cause::SecondSeparator
            }
            (4 | 7, Meaning::Separator(separator)) => of_separator(*separator),
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
        let Some(image) = self.image_of(logged) else {
            return Cause::NotStartedAfterAuthority {
                authority: in_words(),
            };
        };
        let Meaning::Program(origin) = &image.meaning else {
            return Cause::OptionRom {
                authority: in_words(),
            };
        };
        if let Some(program) = self.fallback_behind(logged) {
            return Cause::Fallback { program };
        }
        let program = origin.name();
        if self.authorities_of(logged) > 1 {
            Cause::FurtherSignature { program }
        } else if self.is_predicted(logged) {
            Cause::Again { what: in_words() }
        } else if *origin == Origin::Memory {
            Cause::FromMemory
        } else {
            Cause::FurtherProgram { program }
        }
    }

    /// One more level: a shim that runs once more, or one that was not predicted.
    fn of_extra_level(&self, logged: &Logged<'_>, data: &[u8]) -> Cause {
        if self.is_predicted(logged) {
            return Cause::Again {
                what: authority("SbatLevel", data),
            };
        }
        let before = self.owners.image_before(logged.number);
        let before = before.and_then(|place| self.log.get(place));
        let program = match before.map(|image| &image.meaning) {
            Some(Meaning::Program(origin)) => origin.name(),
            _ => Origin::Memory.name(),
        };
        Cause::ExtraLevel { program }
    }

    /// An action of PCR 4: one before or behind another boot option, or something else.
    fn of_extra_action(&self, text: &str) -> Cause {
        let is_about_options = text.starts_with(CALLING) || text.starts_with(RETURNING);
        if !is_about_options {
            Cause::Unexpected {
                what: text.to_owned(),
            }
        } else if self.predicts(|source| *source == Source::Action) {
            Cause::FailedBootOption
        } else {
            Cause::ReadyToBoot
        }
    }

    /// A section that the predicted kernel image has not, or none where no image was predicted.
    fn of_extra_section(&self, name: &str) -> Cause {
        let mut sources = self.predicted.iter();
        let file = sources.find_map(|event| match &event.source {
            Source::Section { file } => Some(file.clone()),
            _ => None,
        });
        match file {
            Some(file) => Cause::FurtherSection {
                section: name.to_owned(),
                file,
            },
            None => Cause::Unexpected {
                what: format!("the section {name}"),
            },
        }
    }

    fn of_extra_program(&self, logged: &Logged<'_>, origin: &Origin) -> Cause {
        let is_last = self.owners.image_behind(logged.number).is_none();
        let kernel = self
            .predicted
            .iter()
            .rev()
            .find_map(|event| match &event.source {
                Source::Program { file } => Some((file.clone(), event)),
                _ => None,
            });
        let is_without_verification = self.secure_boot.is_some_and(|content| content != [1]);
        // The stub names what it hands over, since its version 252; before, it was the kernel's last word.
        let is_inner = *origin == Origin::Payload
            || (is_last
                && *origin == Origin::Memory
                && kernel
                    .as_ref()
                    .is_some_and(|(_, kernel)| self.is_logged(kernel)));
        if let Some(program) = logged.fallback() {
            Cause::Fallback { program }
        } else if self.is_before_boot(logged) {
            Cause::BeforeBoot {
                program: origin.name(),
            }
        } else if self.is_predicted(logged) {
            Cause::Again {
                what: logged.description(),
            }
        } else if let (true, true, Some((file, _))) = (is_inner, is_without_verification, kernel) {
            Cause::InnerKernel { file }
        } else if *origin == Origin::Memory {
            Cause::FromMemory
        } else {
            Cause::FurtherProgram {
                program: origin.name(),
            }
        }
    }

    fn of_predicted(&self, predicted: &Event) -> Cause {
        let is_authority = matches!(predicted.source, Source::Authority { .. });
        let is_off = self.off_unforeseen().filter(|_| is_authority);
        if let Some(cause) = self.of_other_pcr(predicted).or(is_off) {
            return cause;
        }
        match &predicted.source {
            Source::Action if self.separators.first() == Some(&None) => Cause::NoSeparator,
            Source::Action => Cause::NoReadyToBoot,
            Source::Separator => Cause::NoSeparator,
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
            Source::MokListTrusted { file } => Cause::NoMokListTrusted { file: file.clone() },
            Source::Program { file } => Cause::NotStarted { file: file.clone() },
            Source::Section { file } => self.of_predicted_section(predicted, file),
            _ => Cause::Missing {
                what: predicted.description.clone(),
            },
        }
    }

    /// A section that the log has not: one of an image, or none at all.
    fn of_predicted_section(&self, predicted: &Event, file: &str) -> Cause {
        let is_section = |event: &Logged<'_>| matches!(event.meaning, Meaning::Section { .. });
        if !self.log.iter().any(is_section) {
            return Cause::NoSections {
                file: file.to_owned(),
            };
        }
        match section(&predicted.data, &predicted.digest, self.bank) {
            Some((section, _)) => Cause::NoSection {
                section,
                file: file.to_owned(),
            },
            None => Cause::Missing {
                what: predicted.description.clone(),
            },
        }
    }

    /// What firmware measured into another PCR than the one that the TCG says.
    fn of_other_pcr(&self, predicted: &Event) -> Option<Cause> {
        let is_elsewhere = |event: &&Logged<'_>| event.event.pcr != u32::from(predicted.pcr);
        match &predicted.source {
            Source::Action
            | Source::Variable(_)
            | Source::Authority { .. }
            | Source::Level { .. }
            | Source::Section { .. } => {
                let mut others = self.log.iter().filter(is_elsewhere);
                let found = others.find(|event| event.event.digest == predicted.digest)?;
                let pcr = found.event.pcr;
                Some(if predicted.source == Source::Action {
                    Cause::ReadyToBootElsewhere { pcr }
                } else {
                    Cause::OtherPcr {
                        what: predicted.description.clone(),
                        pcr,
                        predicted: predicted.pcr,
                    }
                })
            }
            Source::Program { file } | Source::InnerKernel { file } => {
                self.of_programs_elsewhere(predicted, file)
            }
            _ => None,
        }
    }

    /// Programs that firmware measured into another PCR, where it started none that PCR 4 has.
    fn of_programs_elsewhere(&self, predicted: &Event, file: &str) -> Option<Cause> {
        let programs = self.log.iter().filter_map(|event| match &event.meaning {
            Meaning::Program(origin) => Some((event, origin)),
            _ => None,
        });
        let is_here = |event: &Logged<'_>| event.event.pcr == u32::from(predicted.pcr);
        let is_started_here = |event| is_here(event) && !self.is_before_boot(event);
        if programs.clone().any(|(event, _)| is_started_here(event)) {
            return None;
        }
        let mut elsewhere = programs.filter(|(event, _)| !is_here(event));
        let is_same = |event: &Logged<'_>| event.event.digest == predicted.digest;
        let same = elsewhere.clone().find(|(event, _)| is_same(event));
        let before = self
            .predicted
            .iter()
            .take_while(|event| *event != predicted);
        let is_program = |event: &&Event| {
            matches!(
                event.source,
                Source::Program { .. } | Source::InnerKernel { .. }
            )
        };
        let place = before.filter(is_program).count();
        let (found, origin) = same.or_else(|| elsewhere.nth(place))?;
        Some(Cause::ProgramsElsewhere {
            file: file.to_owned(),
            pcr: found.event.pcr,
            program: origin.name(),
            is_same: is_same(found),
        })
    }

    /// Why nothing is verified, where that is so in the guest alone.
    fn off_unforeseen(&self) -> Option<Cause> {
        let content = self.secure_boot.filter(|content| *content != [1])?;
        (!self.predicts_secure_boot_off()).then(|| of_secure_boot(content))
    }

    /// True where Secure Boot is on in the guest alone.
    fn is_on_unforeseen(&self) -> bool {
        self.secure_boot == Some(&[1]) && self.predicts_secure_boot_off()
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
        self.image_of(logged)?.fallback()
    }

    /// How many authorities the program of an authority has.
    fn authorities_of(&self, authority: &Logged<'_>) -> usize {
        let place = self.owners.image_of(authority.number);
        place.map_or(0, |place| self.owners.authorities_of(place))
    }

    /// The program or driver that an authority is for.
    fn image_of(&self, authority: &Logged<'_>) -> Option<&Logged<'_>> {
        self.log.get(self.owners.image_of(authority.number)?)
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

    fn place_among_programs(&self, predicted: &Event) -> Place {
        let is_program = |event: &&Event| matches!(event.source, Source::Program { .. });
        let mut programs = self.predicted.iter().filter(is_program);
        match (
            programs.next() == Some(predicted),
            programs.next().is_some(),
        ) {
            (true, true) => Place::FirstOfSeveral,
            (true, false) => Place::Only,
            (false, _) => Place::Later,
        }
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

/// What authorised a program.
struct Entry<'a> {
    /// The list that it stands in.
    list: &'a str,
    /// Owner and certificate, or digest.
    content: &'a [u8],
}

/// Why another entry than the predicted one may have authorised a program.
fn reason(predicted: &Entry<'_>, logged: &Entry<'_>, is_same_program: bool) -> &'static str {
    let is_built_in = |name: &str| matches!(name, "MokListRT" | "Shim" | "vendor_db");
    let without_owner = |data: &[u8]| data.get(16..).unwrap_or_default().to_vec();
    if is_built_in(predicted.list) && is_built_in(logged.list) && predicted.list != logged.list {
        return "another version of shim, which names its own certificates otherwise (Shim below 15.7, MokListRT from then on)";
    }
    match (is_built_in(predicted.list), is_built_in(logged.list)) {
        (false, true) => {
            "a certificate built into shim, or a machine owner key (MOK) of the guest, verified it, and nothing in db"
        }
        (true, false) => {
            "the guest's db holds a certificate that verifies it, and shim asks db first"
        }
        _ if logged.list == "dbx" => {
            "a certificate in the guest's dbx verifies one of its signatures"
        }
        _ if without_owner(predicted.content) == without_owner(logged.content) => {
            "the same entry stands there under another owner"
        }
        _ if is_digest_entry(logged.content) && !is_digest_entry(predicted.content) => {
            "its digest stands in the guest's db, and no certificate verified it before"
        }
        _ if is_digest_entry(predicted.content) && !is_digest_entry(logged.content) => {
            "the guest's db holds a certificate that verifies it, and its digest is not looked at or not there"
        }
        _ if !is_same_program => "the program is another one, too, as PCR 4 tells",
        _ => "the same program leads to another certificate, in a db of other entries or order",
    }
}

/// What a guest's `SecureBoot` says, where that was not predicted.
fn of_secure_boot(content: &[u8]) -> Cause {
    match content {
        [1] => Cause::SecureBootOn,
        [0] => Cause::SecureBootOff,
        [] => Cause::SecureBootAbsent,
        other => Cause::SecureBootUnknown {
            value: hex::encode(other.get(..8).unwrap_or(other)),
        },
    }
}

/// A separator in the place of a predicted one.
fn of_separator(separator: Separator) -> Cause {
    match separator {
        Separator::Zeros | Separator::Ones => Cause::OnesSeparator,
        Separator::Error => Cause::ErrorSeparator,
        Separator::Windows | Separator::Unknown => Cause::UnknownSeparator,
    }
}

/// What another content of a section means.
fn section_in_words(name: &str) -> &'static str {
    match name {
        ".linux" => "another kernel",
        ".initrd" => "another initial ramdisk",
        ".cmdline" => "another command line",
        ".osrel" | ".uname" => "another version of the system or the kernel",
        ".ucode" => "another microcode",
        ".dtb" | ".dtbauto" | ".hwids" => "another description of the hardware",
        ".pcrpkey" => "another key that signs PCR values",
        ".sbat" => "another revocation level of the image",
        ".profile" => "another profile",
        _ => "another content",
    }
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
