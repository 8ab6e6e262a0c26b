//! Distinguished names: shown, and compared.
//!
//! RFC 5280 section 4.1.2.4. The crypto library of firmware and shim does not compare the bytes of two names: it
//! brings each to a *canonical form* first and compares these, so that a CA whose tools write `PrintableString`
//! is found by a certificate whose tools write `UTF8String`. In that form
//!
//! * strings are UTF-8, T61 taken for Latin-1; ASCII letters are small; white space at both ends is gone, and
//!   inside a run of it is one space;
//! * attributes that are no such strings (`NumericString` is one) keep type and bytes;
//! * the order of the relative names counts, that of the attributes in a relative name does not.
//!
//! A name with a string that is malformed makes the whole certificate unreadable there, and so here.

use std::fmt;

use crate::Result;
use crate::der::{Reader, tag};

pub(super) const ORGANISATION: &[u8] = b"\x55\x04\x0a";
const COMMON_NAME: &[u8] = b"\x55\x04\x03";

/// String types of ASN.1 that occur in names.
mod string {
    pub const UTF8: u8 = 0x0c;
    pub const PRINTABLE: u8 = 0x13;
    pub const T61: u8 = 0x14;
    pub const IA5: u8 = 0x16;
    pub const VISIBLE: u8 = 0x1a;
    pub const UNIVERSAL: u8 = 0x1c;
    pub const BMP: u8 = 0x1e;
}

/// A distinguished name, as raw DER. Two are equal where their bytes are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name<'a>(&'a [u8]);

/// A name in the form in which names are compared: for each relative name its attributes, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CanonicalName(Vec<Vec<Attribute>>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Attribute {
    kind: Vec<u8>,
    tag: u8,
    value: Vec<u8>,
}

impl<'a> Name<'a> {
    pub(crate) fn new(der: &'a [u8]) -> Self {
        Self(der)
    }

    /// The DER of the name.
    pub fn as_der(&self) -> &'a [u8] {
        self.0
    }

    /// The form in which names are compared.
    pub(crate) fn canonical(&self) -> Result<CanonicalName> {
        let mut name = Reader::new(self.0);
        let mut sets = name.sequence("a name")?;
        let mut relative_names = Vec::new();
        while !sets.is_empty() {
            let mut set = sets.value(tag::SET, "a relative name")?.reader();
            let mut attributes = Vec::new();
            while !set.is_empty() {
                let mut attribute = set.sequence("an attribute")?;
                let kind = attribute.oid("an attribute's object identifier")?;
                let value = attribute.any("an attribute's value")?;
                let malformed = || attribute.error("an attribute's value");
                if !attribute.is_empty() || !may_stand_in_name(value.tag, value.content) {
                    return Err(malformed());
                }
                let (tag, value) = if is_folded(value.tag) {
                    let text = decoded(value.tag, value.content).ok_or_else(malformed)?;
                    (string::UTF8, folded(&text).into_bytes())
                } else {
                    (value.tag, value.content.to_vec())
                };
                let kind = kind.to_vec();
                attributes.push(Attribute { kind, tag, value });
            }
            if !attributes.is_empty() {
                attributes.sort();
                relative_names.push(attributes);
            }
        }
        Ok(CanonicalName(relative_names))
    }

    /// Object identifier and text of each attribute, in the order of the name; one that is not well
    /// formed ends the list.
    fn attributes(&self) -> Vec<(&'a [u8], String)> {
        let mut found = Vec::new();
        let mut read = || -> Result<()> {
            let mut sets = Reader::new(self.0).sequence("a name")?;
            while !sets.is_empty() {
                let mut set = sets.value(tag::SET, "a relative name")?.reader();
                while !set.is_empty() {
                    let mut attribute = set.sequence("an attribute")?;
                    let name = attribute.oid("an attribute's object identifier")?;
                    let value = attribute.any("an attribute's value")?;
                    found.push((name, shown(value.tag, value.content)));
                }
            }
            Ok(())
        };
        let _ = read(); // for display: what could be read is shown
        found
    }

    fn first(&self, kind: &[u8]) -> Option<String> {
        let mut attributes = self.attributes().into_iter();
        attributes
            .find(|(name, _)| *name == kind)
            .map(|(_, text)| text)
    }

    /// The first organisation, where there is one.
    pub fn organisation(&self) -> Option<String> {
        self.first(ORGANISATION)
    }

    /// The first common name, where there is one.
    pub fn common_name(&self) -> Option<String> {
        self.first(COMMON_NAME)
    }
}

/// The types that the library reads in a name: strings but `VisibleString`, and a few that it keeps unread.
fn may_stand_in_name(tag: u8, content: &[u8]) -> bool {
    const BITS: u8 = 0x03;
    const UNREAD: [u8; 10] = [0x07, 0x08, 0x09, 0x0b, 0x0d, 0x0e, 0x0f, 0x12, 0x1d, 0x30];
    if tag == BITS {
        return content.first().is_some_and(|unused| *unused <= 7);
    }
    tag != string::VISIBLE && is_folded(tag) || UNREAD.contains(&tag)
}

/// True for a string whose octets are not looked at.
pub(super) fn is_byte_string(tag: u8) -> bool {
    matches!(
        tag,
        string::UTF8 | string::PRINTABLE | string::T61 | string::IA5
    )
}

fn is_folded(tag: u8) -> bool {
    matches!(
        tag,
        string::UTF8
            | string::PRINTABLE
            | string::T61
            | string::IA5
            | string::VISIBLE
            | string::UNIVERSAL
            | string::BMP
    )
}

/// The text of a string, `None` where it is malformed.
fn decoded(tag: u8, content: &[u8]) -> Option<String> {
    let unit = |bytes: &[u8]| {
        let number = bytes
            .iter()
            .fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
        char::from_u32(number)
    };
    let wide = |bytes: usize| {
        let units = content.chunks_exact(bytes);
        units
            .remainder()
            .is_empty()
            .then(|| units.map(unit).collect())?
    };
    match tag {
        string::UTF8 => String::from_utf8(content.to_vec()).ok(),
        string::BMP => wide(2),
        string::UNIVERSAL => wide(4),
        _ => Some(content.iter().copied().map(char::from).collect()),
    }
}

/// Small ASCII letters, no white space at the ends, one space for each run of it.
fn folded(text: &str) -> String {
    let is_space = |character: char| matches!(character, ' ' | '\t'..='\r');
    let words: Vec<&str> = text
        .split(is_space)
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").to_ascii_lowercase()
}

/// A string as a person reads it, whatever is wrong with it.
fn shown(tag: u8, content: &[u8]) -> String {
    if tag == string::BMP {
        let units = content.chunks(2).map(|unit| {
            unit.iter()
                .fold(0_u16, |sum, byte| (sum << 8) | u16::from(*byte))
        });
        return char::decode_utf16(units)
            .map(|unit| unit.unwrap_or('\u{fffd}'))
            .collect();
    }
    String::from_utf8_lossy(content).into_owned()
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// As RFC 4514 writes it: the last attribute first. Control characters are left out, so that a
/// certificate cannot write to a terminal.
impl fmt::Display for Name<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, text)) in self.attributes().into_iter().rev().enumerate() {
            if index > 0 {
                formatter.write_str(",")?;
            }
            match name {
                COMMON_NAME => formatter.write_str("CN=")?,
                b"\x55\x04\x06" => formatter.write_str("C=")?,
                b"\x55\x04\x07" => formatter.write_str("L=")?,
                b"\x55\x04\x08" => formatter.write_str("ST=")?,
                ORGANISATION => formatter.write_str("O=")?,
                b"\x55\x04\x0b" => formatter.write_str("OU=")?,
                _ => formatter.write_str("?=")?,
            }
            for character in text.chars().filter(|character| !character.is_control()) {
                if matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
                    formatter.write_str("\\")?;
                }
                write!(formatter, "{character}")?;
            }
        }
        Ok(())
    }
}
