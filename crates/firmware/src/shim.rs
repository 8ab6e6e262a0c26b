//! What a shim says of itself: its version, the certificates built into it, and its SBAT levels.
//!
//! Three sections, whose names are longer than 8 bytes: `.data.ident` (a text), `.vendor_cert` (shim's
//! `cert.S`: four 32-bit numbers, then two blobs) and `.sbatlevel` (shim's SBAT documents: a version, two
//! offsets, two texts). Numbers are little-endian.

use super::certificate::Certificate;
use super::der::{Reader, tag};
use super::sbat::text_of;
use super::signature_list::{self, SignatureList};
use super::{Error, Result, utf16};

/// A shim's version: major and minor number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

impl Version {
    /// Reads the content of `.data.ident`: a first line `UEFI SHIM`, and a line `$Version: 16.1 $`.
    pub fn parse(section: &[u8]) -> Result<Self> {
        let text = text_of(section);
        let mut lines = text.split('\n');
        if lines.next() != Some("UEFI SHIM") {
            return Err(Error::ShimIdent);
        }
        let version = lines.find_map(|line| {
            let inside = line.strip_prefix("$Version:")?.strip_suffix('$')?;
            let version = inside.trim_matches([' ', '\t']);
            let is_version = !version.is_empty()
                && version
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'.');
            is_version.then_some(version)
        });
        let version = version.ok_or(Error::ShimIdent)?;
        let numbers: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some([major]) => Ok(Self(*major, 0)),
            Some([major, minor]) => Ok(Self(*major, *minor)),
            _ => Err(Error::ShimVersion {
                text: version.to_owned(),
            }),
        }
    }
}

/// What a shim trusts by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorised {
    /// Nothing is built in.
    Nothing,
    /// One certificate, `vendor_cert`.
    Certificate(Box<Certificate>),
    /// A database of its own, `vendor_db`.
    Lists(Vec<SignatureList>),
}

/// The content of `.vendor_cert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vendor {
    /// What it trusts.
    pub authorised: Authorised,
    /// What it refuses, `vendor_dbx`.
    pub forbidden: Vec<SignatureList>,
}

impl Vendor {
    /// Reads the section. With `is_lenient`, as the reference does, sizes may reach beyond the section
    /// and the forbidden part is not looked at.
    pub fn parse(section: &[u8], is_lenient: bool) -> Result<Self> {
        let header: &[u8; 16] = section.first_chunk().ok_or(Error::VendorHeader {
            len_bytes: section.len(),
        })?;
        let field = |at: usize| {
            let bytes = header.get(at..).and_then(|rest| rest.first_chunk());
            u32::from_le_bytes(bytes.copied().unwrap_or_default())
        };
        let blob = |what: &'static str, len_bytes: u32, offset: u32| {
            if len_bytes == 0 {
                return Ok([].as_slice());
            }
            let beyond = || Error::VendorBlob {
                what,
                offset,
                len_bytes,
                section_bytes: section.len(),
            };
            let start = usize::try_from(offset).map_err(|_| beyond())?;
            let len = usize::try_from(len_bytes).map_err(|_| beyond())?;
            let rest = section.get(start..).ok_or_else(beyond)?;
            match rest.get(..len) {
                Some(blob) => Ok(blob),
                None if is_lenient => Ok(rest),
                None => Err(beyond()),
            }
        };
        let authorised = blob("authorised", field(0), field(8))?;
        let authorised = if authorised.is_empty() {
            Authorised::Nothing
        } else if is_one_sequence(authorised) {
            Authorised::Certificate(Box::new(Certificate::parse(authorised)?))
        } else {
            Authorised::Lists(signature_list::parse(authorised)?)
        };
        let forbidden = if is_lenient {
            Vec::new()
        } else {
            signature_list::parse(blob("forbidden", field(4), field(12))?)?
        };
        Ok(Self {
            authorised,
            forbidden,
        })
    }
}

/// The name of the program that a shim starts where its load options name none, in its own directory: the first name of an
/// `.efi` in the file's bytes that is neither that of the fallback program nor that of `MokManager`. shim is built with it
/// (`DEFAULT_LOADER`): `grubx64.efi` nearly everywhere, `grub.efi` at SUSE.
pub fn built_in_loader(file: &[u8]) -> Option<String> {
    const LONGEST_UNITS: usize = 64;
    let begins = file.windows(2).enumerate();
    let begins = begins.filter(|(_, unit)| *unit == b"\\\0");
    let mut names = begins.filter_map(|(at, _)| {
        let rest = file.get(at..)?;
        let text = utf16::until_nul(rest.get(..LONGEST_UNITS.saturating_mul(2)).unwrap_or(rest));
        let name = text.trim_start_matches('\\').to_owned();
        let is_name = name
            .chars()
            .all(|one| one.is_ascii_alphanumeric() || "._-".contains(one));
        let lower = name.to_ascii_lowercase();
        let is_other = ["fb", "mm"].iter().any(|begin| lower.starts_with(begin));
        let is_program = lower.rsplit_once('.').is_some_and(|(_, end)| end == "efi");
        (is_name && !is_other && is_program).then_some(name)
    });
    names.next()
}

fn is_one_sequence(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    reader.value(tag::SEQUENCE, "a certificate").is_ok() && reader.is_empty()
}

/// The content of `.sbatlevel`: two texts for the variable `SbatLevel`, each with its final newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    /// Taken where nobody chose otherwise; also called "automatic".
    pub previous: String,
    /// Taken where the owner asked for it.
    pub latest: String,
}

impl Levels {
    /// Reads the section: a version, 0; then two offsets, which count from the first of them.
    pub fn parse(section: &[u8]) -> Result<Self> {
        let len_bytes = section.len();
        let (version, rest) = section
            .split_first_chunk()
            .ok_or(Error::SbatLevelCut { len_bytes })?;
        let version = u32::from_le_bytes(*version);
        if version != 0 {
            return Err(Error::SbatLevelVersion { version });
        }
        let text = |at: usize| {
            let offset = rest.get(at..).and_then(|rest| rest.first_chunk());
            let offset = u32::from_le_bytes(*offset.ok_or(Error::SbatLevelCut { len_bytes })?);
            usize::try_from(offset)
                .ok()
                .and_then(|start| rest.get(start..))
                .filter(|text| !text.is_empty())
                .map(text_of)
                .ok_or(Error::SbatLevelOffset { offset, len_bytes })
        };
        Ok(Self {
            previous: text(0)?,
            latest: text(4)?,
        })
    }
}

#[cfg(test)]
mod tests;
