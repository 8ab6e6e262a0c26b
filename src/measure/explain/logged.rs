//! What a logged event means, as far as the log tells.
//!
//! TCG PC Client Platform Firmware Profile 1.05, section 10.4.1 (types) and 10.2 (structures). A log comes
//! from a guest: its texts are shown without characters that act on a terminal, and cut at some length.

use uuid::Uuid;

use crate::efi::{Certificate, guid};
use crate::measure::event::{EventKind, parse_variable_data};
use crate::tpm::event_log::LoggedEvent;

/// Most characters of a text that are shown.
const MAX_TEXT: usize = 200;
/// Bytes of addresses in front of the device path in `UEFI_IMAGE_LOAD_EVENT`, its length included.
const IMAGE_LOAD_BYTES: usize = 32;
/// Bytes of an entry of a database that holds a digest: the owner and SHA-256.
const DIGEST_ENTRY_BYTES: usize = 48;

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
    /// A program that firmware loaded, by its path where it has one.
    Program { path: Option<String> },
    /// A driver, mostly an option ROM.
    Driver,
    /// The end of a phase; all zeros but after an error.
    Separator { is_error: bool },
    /// What firmware did.
    Action(String),
    /// What a boot program measured, with its text.
    Ipl(String),
    /// Anything else.
    Other,
}

impl<'a> Logged<'a> {
    pub fn new(number: usize, event: &'a LoggedEvent) -> Self {
        let data = event.data.as_slice();
        let variable = || {
            let (_, name, data) = parse_variable_data(data)?;
            Some((plain(&name), data))
        };
        let meaning = match event.event_type {
            0x8000_0001 | 0x8000_0002 | 0x8000_000c => {
                variable().map_or(Meaning::Other, |(name, data)| Meaning::Variable {
                    name,
                    data,
                })
            }
            0x8000_00e0 => variable().map_or(Meaning::Other, |(name, data)| Meaning::Authority {
                name,
                data,
            }),
            0x8000_0003 => Meaning::Program {
                path: program_path(data),
            },
            0x8000_0004 | 0x8000_0005 => Meaning::Driver,
            0x4 => Meaning::Separator {
                is_error: data.iter().any(|byte| *byte != 0),
            },
            0x5 | 0x8000_0007 => Meaning::Action(plain(&text(data))),
            0x6 => Meaning::Ipl(text(data.get(8..).unwrap_or_default())), // behind its id and size
            0xd => Meaning::Ipl(text(data)),
            _ => Meaning::Other,
        };
        Self {
            number,
            event,
            meaning,
        }
    }

    /// The path of a program that is shim's fallback loader.
    pub fn fallback(&self) -> Option<&str> {
        match &self.meaning {
            Meaning::Program { path: Some(path) } => {
                Some(path.as_str()).filter(|path| is_fallback(path))
            }
            _ => None,
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
            Meaning::Variable { name, data } => match *data {
                [] => format!("variable {name}: empty"),
                [0] if name == "SecureBoot" => format!("variable {name}: off"),
                [1] if name == "SecureBoot" => format!("variable {name}: on"),
                data => format!("variable {name}: {} bytes", data.len()),
            },
            Meaning::Authority { name, data } => format!("authority: {}", authority(name, data)),
            Meaning::Program { path: Some(path) } => format!("program {path}"),
            Meaning::Program { path: None } => "program without a path".to_owned(),
            Meaning::Driver => "driver, as an option ROM brings it".to_owned(),
            Meaning::Separator { is_error: false } => {
                "end of what firmware measures before it boots".to_owned()
            }
            Meaning::Separator { is_error: true } => "separator after an error".to_owned(),
            Meaning::Action(text) => text.clone(),
            Meaning::Ipl(text) => format!("{text:?}"),
            Meaning::Other => format!("{} bytes of data", self.event.data.len()),
        }
    }
}

/// What an authority event says: the entry of a database, or a variable of shim's.
pub(super) fn authority(name: &str, data: &[u8]) -> String {
    match name {
        "SbatLevel" => format!("SbatLevel {:?}", text(data)),
        "MokSBState" => format!("MokSBState {}", hex::encode(data.get(..8).unwrap_or(data))),
        _ => format!("{name} entry {}", entry(data)),
    }
}

/// An entry of a database, or a certificate alone, as authority events hold them.
fn entry(data: &[u8]) -> String {
    if let Ok(certificate) = Certificate::parse(data) {
        return format!("without an owner, {}", certificate.subject());
    }
    let Some((owner, content)) = data.split_first_chunk::<16>() else {
        return format!("of {} bytes", data.len());
    };
    let owner = Uuid::from_bytes_le(*owner);
    let what = if data.len() == DIGEST_ENTRY_BYTES {
        format!("digest {}", hex::encode(content))
    } else if let Ok(certificate) = Certificate::parse(content) {
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

/// The file path nodes of the device path in `UEFI_IMAGE_LOAD_EVENT`.
fn program_path(data: &[u8]) -> Option<String> {
    let mut nodes = data.get(IMAGE_LOAD_BYTES..)?;
    let mut path = String::new();
    // A node: type, subtype, length with these 4 bytes, data. Type 4, subtype 4 is a file's path.
    while let [kind, subtype, low, high, rest @ ..] = nodes {
        let len = usize::from(u16::from_le_bytes([*low, *high])).checked_sub(4)?;
        let (node, behind) = rest.split_at_checked(len)?;
        if (*kind, *subtype) == (4, 4) {
            path.push_str(&utf16(node));
        }
        nodes = behind;
    }
    Some(plain(&path)).filter(|path| !path.is_empty())
}

/// True for the path of shim's fallback loader: `fbx64.efi`, `fbaa64.efi`, and so on.
fn is_fallback(path: &str) -> bool {
    let name = path.rsplit('\\').next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    name.strip_suffix(".efi")
        .is_some_and(|name| ["fbx64", "fbia32", "fbaa64", "fbarm", "fbriscv64"].contains(&name))
}

/// Text in UTF-16 or in one byte a character, up to its NUL. Line ends stay: it is shown with escapes.
fn text(data: &[u8]) -> String {
    let is_utf16 = data.len() >= 2
        && data.len().is_multiple_of(2)
        && (data.ends_with(&[0, 0]) || data.chunks_exact(2).all(|unit| matches!(unit, [_, 0])));
    let text = if is_utf16 {
        utf16(data)
    } else {
        let text = data.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    };
    shown(&text, |character| {
        character == '\n' || !character.is_control()
    })
}

/// UTF-16LE up to its NUL.
fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).filter_map(|unit| match unit {
        [low, high] => Some(u16::from_le_bytes([*low, *high])),
        _ => None,
    });
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|unit| unit.unwrap_or('\u{fffd}'))
        .collect()
}

/// A text of a guest's that a terminal can show in one line.
fn plain(text: &str) -> String {
    shown(text, |character| !character.is_control())
}

/// A text of a guest's without characters that change the direction of writing, and with those control
/// characters alone that are `wanted`; the start of a long one.
fn shown(text: &str, wanted: impl Fn(char) -> bool) -> String {
    let turns = |character: char| matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = text.chars().map(|character| {
        if wanted(character) && !turns(character) {
            character
        } else {
            '\u{fffd}'
        }
    });
    shown.take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_guest_do_not_act_on_a_terminal() {
        assert_eq!(text(b"quiet\0rest"), "quiet");
        assert_eq!(text(b"a\x1b[2Jb\r"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(text(b"q\0u\0i\0\0\0"), "qui");
        assert_eq!(text(&[]), "");
        assert_eq!(
            (text(b"a\n"), plain("a\n")),
            ("a\n".to_owned(), "a\u{fffd}".to_owned())
        );
        assert_eq!(text("a\u{202e}b".as_bytes()), "a\u{fffd}b");
        assert_eq!(text(&[b'x'; 1000]).len(), MAX_TEXT);
    }

    #[test]
    fn a_device_path_that_ends_early_has_no_text() {
        let mut data = vec![0; IMAGE_LOAD_BYTES];
        assert_eq!(program_path(&data), None);
        data.extend([4, 4, 8, 0, b'\\', 0, b'a', 0]);
        assert_eq!(program_path(&data).as_deref(), Some("\\a"));
        for wrong in [&[4, 4, 3, 0][..], &[4, 4, 9, 0, 0, 0], &[4, 4, 255, 255]] {
            let data = [data.as_slice(), wrong].concat();
            assert_eq!(program_path(&data), None);
        }
    }
}
