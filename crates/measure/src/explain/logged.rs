//! What a logged event means, as far as the log tells.
//!
//! TCG PC Client Platform Firmware Profile 1.05, section 10.4.1 (types) and 10.2 (structures).

use uuid::Uuid;

use super::origin::Origin;
use super::text::{plain, text};
use super::words;
use crate::event::{EventKind, parse_variable_data};
use firmware::{Certificate, guid};
use tpm::Bank;
use tpm::event_log::LoggedEvent;

/// Bytes of an entry of a database that holds a digest: the owner and SHA-256.
const DIGEST_ENTRY_BYTES: usize = 48;
/// Variables of shim's own that it measures as if they were authorities.
const SHIMS_VARIABLES: [&str; 5] = [
    "SbatLevel",
    "MokSBState",
    "MokListTrusted",
    "MokDBState",
    "MokPolicy",
];

/// An event of a log, with its number there (that of `tpm2_eventlog`, which counts the first one 0).
#[derive(Debug, Clone)]
pub(super) struct Logged<'a> {
    pub number: usize,
    pub event: &'a LoggedEvent,
    pub meaning: Meaning<'a>,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// The content of a variable.
    Variable { name: String, data: &'a [u8] },
    /// What let a program start, or a variable of shim's own.
    Authority { name: String, data: &'a [u8] },
    /// A program that firmware loaded.
    Program(Origin),
    /// A driver, mostly an option ROM.
    Driver(Origin),
    /// The end of a phase.
    Separator(Separator),
    /// What firmware did.
    Action(String),
    /// What a boot program measured, with its text.
    Ipl(String),
    /// What was measured under a number, in words.
    Tagged(String),
    /// A section of a unified kernel image, measured by its stub.
    Section { name: String, part: Part },
    /// Anything else.
    Other,
}

/// The values that a separator may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separator {
    /// Zeros, as firmware of today has it.
    Zeros,
    /// 0xffffffff, which is allowed as well.
    Ones,
    /// 1: something failed.
    Error,
    /// `WBCL`: Windows ends what it measures.
    Windows,
    /// What no document knows.
    Unknown,
}

/// A section is measured twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// First its name, with a NUL.
    Name,
    /// Then its content.
    Content,
}

impl<'a> Logged<'a> {
    pub fn new(number: usize, event: &'a LoggedEvent, bank: Bank) -> Self {
        let data = event.data.as_slice();
        let variable = || {
            let (_, name, data) = parse_variable_data(data)?;
            Some((plain(&name), data))
        };
        let meaning = match event.event_type {
            0x8000_0001 | 0x8000_0002 | 0x8000_000c | 0x8000_00e3 => {
                variable().map_or(Meaning::Other, |(name, data)| Meaning::Variable {
                    name,
                    data,
                })
            }
            0x8000_00e0 | 0x8000_00e4 => variable().map_or(Meaning::Other, |(name, data)| {
                Meaning::Authority { name, data }
            }),
            0x8000_0003 => Meaning::Program(Origin::read(data)),
            0x8000_0004 | 0x8000_0005 => Meaning::Driver(Origin::read(data)),
            0x4 => Meaning::Separator(Separator::read(data)),
            0x5 | 0x8000_0007 => Meaning::Action(plain(&text(data))),
            0x6 => Meaning::Tagged(words::tagged(data)),
            0xd => match section(data, &event.digest, bank) {
                Some((name, part)) if event.pcr == 11 => Meaning::Section { name, part },
                _ => Meaning::Ipl(text(data)),
            },
            _ => Meaning::Other,
        };
        Self {
            number,
            event,
            meaning,
        }
    }

    /// The path of a program that is shim's fallback loader.
    pub fn fallback(&self) -> Option<String> {
        match &self.meaning {
            Meaning::Program(origin) if origin.is_fallback() => Some(origin.name()),
            _ => None,
        }
    }

    /// True for what let a program start, and false for a variable of shim's own.
    pub fn is_authority(&self) -> bool {
        match &self.meaning {
            Meaning::Authority { name, .. } => {
                let is_by_certificate = self.event.event_type == EventKind::Authority.number();
                self.event.pcr == 7 && is_by_certificate && !is_shims_variable(name)
            }
            _ => false,
        }
    }

    /// The TCG's name of its type, or the number.
    pub fn type_name(&self) -> String {
        let number = self.event.event_type;
        EventKind::name_of(number).map_or_else(|| format!("{number:#010x}"), str::to_owned)
    }

    /// The event in words.
    pub fn description(&self) -> String {
        match &self.meaning {
            Meaning::Variable { name, data } if name == "SecureBoot" => {
                format!("variable {name}: {}", secure_boot(data))
            }
            Meaning::Variable { name, data: [] } => format!("variable {name}: empty"),
            Meaning::Variable { name, data } => format!("variable {name}: {} bytes", data.len()),
            Meaning::Authority { name, data } => format!("authority: {}", authority(name, data)),
            Meaning::Program(origin) => format!("program {}", origin.described()),
            Meaning::Driver(origin) => format!("driver {}", origin.described()),
            Meaning::Separator(separator) => separator.description().to_owned(),
            Meaning::Action(text) => text.clone(),
            Meaning::Ipl(text) => format!("{text:?}"),
            Meaning::Tagged(words) => words.clone(),
            Meaning::Section { name, part } => format!("{} of the section {name}", part.name()),
            Meaning::Other => words::other(self.event.event_type, &self.event.data),
        }
    }
}

impl Separator {
    /// TCG PC Client Platform Firmware Profile 1.05, section 3.3.2.2 and 10.4.1.
    fn read(data: &[u8]) -> Self {
        match data {
            [0, 0, 0, 0] => Self::Zeros,
            [0xff, 0xff, 0xff, 0xff] => Self::Ones,
            [1, 0, 0, 0] => Self::Error,
            b"WBCL" => Self::Windows,
            _ => Self::Unknown,
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Zeros => "end of what firmware measures before it boots",
            Self::Ones => "end of what firmware measures before it boots, as ffffffff",
            Self::Error => "separator after an error",
            Self::Windows => "end of what Windows measures",
            Self::Unknown => "separator of a value that the TCG does not know",
        }
    }
}

impl Part {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Content => "content",
        }
    }
}

/// What a section event is of: the name in its data, with a dot in front. Both parts log the name; the digest of the
/// one is that of the name itself.
pub(super) fn section(data: &[u8], digest: &[u8], bank: Bank) -> Option<(String, Part)> {
    let name = text(data);
    let is_one = name.len() > 1
        && name
            .strip_prefix('.')?
            .chars()
            .all(|c| c.is_ascii_alphanumeric());
    let terminated = format!("{name}\0");
    let part = if bank.digest(terminated.as_bytes()) == digest {
        Part::Name
    } else {
        Part::Content
    };
    is_one.then_some((name, part))
}

/// The switch in words; a variable that does not exist is measured without a byte.
fn secure_boot(data: &[u8]) -> String {
    match data {
        [0] => "off".to_owned(),
        [1] => "on".to_owned(),
        [] => "absent or empty".to_owned(),
        other => format!(
            "{}, which is neither on nor off",
            hex::encode(other.get(..8).unwrap_or(other))
        ),
    }
}

/// What an authority event says: the entry of a database, or a variable of shim's.
pub(super) fn authority(name: &str, data: &[u8]) -> String {
    match name {
        "SbatLevel" => format!("SbatLevel {:?}", text(data)),
        _ if is_shims_variable(name) => {
            format!("{name} {}", hex::encode(data.get(..8).unwrap_or(data)))
        }
        _ => format!("{name} entry {}", entry(data)),
    }
}

/// The owner of the entry that an authority event holds; `None` where the certificate stands there alone.
pub(super) fn authority_owner(logged: &Logged<'_>) -> Option<Uuid> {
    match &logged.meaning {
        Meaning::Authority { data, .. } if Certificate::parse(data).is_err() => {
            Some(Uuid::from_bytes_le(*data.first_chunk()?))
        }
        _ => None,
    }
}

/// True for a variable of shim's own, which is no authority for a program.
pub(super) fn is_shims_variable(name: &str) -> bool {
    SHIMS_VARIABLES.contains(&name)
}

/// An entry of a database, or a certificate alone, as authority events hold them.
fn entry(data: &[u8]) -> String {
    if let Ok((certificate, _)) = Certificate::parse_first(data) {
        return format!("without an owner, {}", certificate.subject());
    }
    let Some((owner, content)) = data.split_first_chunk::<16>() else {
        return format!("of {} bytes", data.len());
    };
    let owner = Uuid::from_bytes_le(*owner);
    let what = if data.len() == DIGEST_ENTRY_BYTES {
        format!("digest {}", hex::encode(content))
    } else if let Ok((certificate, _)) = Certificate::parse_first(content) {
        certificate.subject().to_string()
    } else {
        format!("{} bytes that are no certificate", content.len())
    };
    format!("of {}, {what}", owner_in_words(owner))
}

/// An owner with its name, where it has one.
pub(super) fn owner_in_words(owner: Uuid) -> String {
    guid::owner_name(owner).map_or_else(|| owner.to_string(), |name| format!("{owner} ({name})"))
}

/// True for an authority event's data that hold a digest in place of a certificate.
pub(super) fn is_digest_entry(data: &[u8]) -> bool {
    data.len() == DIGEST_ENTRY_BYTES
}
