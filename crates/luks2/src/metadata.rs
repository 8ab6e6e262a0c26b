//! The metadata: what the JSON of a header says, checked as a whole (LUKS2 On-Disk Format, chapter 3).
//!
//! [`Metadata`] is a view for reading. Its text is kept beside it and is what goes back to disk, so members
//! that this view does not know are never lost. A value of this type has passed every check that cryptsetup
//! makes, and the stricter ones of this program: areas within the keyslots area, aligned and apart; one
//! digest for each keyslot and segment; one segment, but during a reencryption.

use super::json::{self, Object};
use super::keyslot::{Keyslot, KeyslotKind};
use super::refusal::{Refusal, supported, valid};
use super::{ClearKeyToken, Digest, Error, Segment, Token, binary_header};

/// The most that LUKS2 allows for the keyslots area.
const KEYSLOTS_LIMIT_BYTES: u64 = 128 << 20;

/// What the JSON of a header copy says.
pub struct Metadata {
    /// The keyslots, in the order of the text.
    pub keyslots: Vec<Keyslot>,
    /// The tokens, in the order of the text.
    pub tokens: Vec<Token>,
    /// The segments, in the order of the text: one, but during a reencryption.
    pub segments: Vec<Segment>,
    /// The digests, in the order of the text.
    pub digests: Vec<Digest>,
    /// Length of the keyslots area, which begins behind the second header copy.
    pub keyslots_size_bytes: u64,
    /// What a program must know before it changes this container.
    pub requirements: Vec<String>,
    /// Length of one header copy.
    pub header_size_bytes: u64,
}

/// The members of an object whose names are numbers, in the order of the text.
fn members<T>(
    object: &Object,
    name: &str,
    parse: impl Fn(u32, &Object) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let numbered = object.object(name)?.numbered()?;
    let members = numbered.iter();
    members
        .map(|(number, member)| parse(*number, member))
        .collect()
}

/// Reads `config`: the length of the keyslots area, and what a program must know.
fn configuration(object: &Object, header_size_bytes: u64) -> Result<(u64, Vec<String>), Refusal> {
    let config = object.object("config")?;
    let wrong = |name: &str, expected| Error::Value {
        path: config.path_of(name),
        expected,
    };
    let json_size_bytes = config.uint64("json_size")?;
    let copy_bytes = json_size_bytes.checked_add(binary_header::BINARY_HEADER_BYTES as u64);
    valid(copy_bytes == Some(header_size_bytes), || {
        wrong("json_size", "the length of the JSON area")
    })?;
    let keyslots_size_bytes = config.uint64("keyslots_size")?;
    valid(keyslots_size_bytes.is_multiple_of(4096), || {
        wrong("keyslots_size", "a multiple of 4096")
    })?;
    supported(keyslots_size_bytes <= KEYSLOTS_LIMIT_BYTES, || {
        wrong("keyslots_size", "at most 128 MiB")
    })?;
    config.optional_strings("flags")?;
    let requirements = match config.optional_object("requirements")? {
        Some(requirements) => requirements.optional_strings("mandatory")?,
        None => Vec::new(),
    };
    Ok((keyslots_size_bytes, requirements))
}

impl Metadata {
    /// Parses the text of a copy of `header_size_bytes`.
    pub(crate) fn parse(text: &str, header_size_bytes: u64) -> Result<Self, Refusal> {
        valid(text.starts_with('{'), || Error::TextStart)?;
        json::check(text).map_err(Refusal::Unsupported)?;
        let object = Object::outermost(text)?;

        let keyslots = members(&object, "keyslots", Keyslot::parse)?;
        let keyslot_numbers: Vec<u32> = keyslots.iter().map(|keyslot| keyslot.number).collect();
        let token_objects = object.object("tokens")?;
        let tokens = members(&object, "tokens", |number, token| {
            let json = token_objects.text(&number.to_string()).unwrap_or_default();
            Token::parse(number, json, token, &keyslot_numbers)
        })?;
        let segments = members(&object, "segments", Segment::parse)?;
        let segment_numbers: Vec<u32> = segments.iter().map(|segment| segment.number).collect();
        let digests = members(&object, "digests", |number, digest| {
            Digest::parse(number, digest, &keyslot_numbers, &segment_numbers)
        })?;
        let (keyslots_size_bytes, requirements) = configuration(&object, header_size_bytes)?;

        let metadata = Self {
            keyslots,
            tokens,
            segments,
            digests,
            keyslots_size_bytes,
            requirements,
            header_size_bytes,
        };
        metadata.check_areas()?;
        metadata.check_digests()?;
        metadata.check_segments()?;
        Ok(metadata)
    }

    /// Where the keyslots area begins.
    pub fn keyslots_start_bytes(&self) -> u64 {
        self.header_size_bytes.saturating_mul(2) // at most 8 MiB
    }

    /// Where the keyslots area ends, and with it the header: data begin here at the earliest.
    pub fn header_end_bytes(&self) -> u64 {
        self.keyslots_start_bytes()
            .saturating_add(self.keyslots_size_bytes) // at most 136 MiB
    }

    /// The keyslot of that number.
    pub fn keyslot(&self, number: u32) -> Option<&Keyslot> {
        self.keyslots
            .iter()
            .find(|keyslot| keyslot.number == number)
    }

    /// The encrypted segment of a container, of which there is one; `None` during a reencryption.
    pub fn segment(&self) -> Option<&Segment> {
        match self.segments.as_slice() {
            [segment] if !self.is_in_reencryption() => Some(segment),
            _ => None,
        }
    }

    /// The clear key, if a token holds one: the image is encrypted and not deployed.
    ///
    /// Fails where a token of that type holds no key.
    pub fn clear_key(&self) -> Result<Option<(u32, ClearKeyToken)>, Error> {
        for token in &self.tokens {
            if let Some(clear_key) = ClearKeyToken::parse(token)? {
                return Ok(Some((token.number, clear_key)));
            }
        }
        Ok(None)
    }

    /// True while a reencryption is unfinished.
    pub fn is_in_reencryption(&self) -> bool {
        let requirement = |name: &String| name.starts_with("online-reencrypt");
        self.requirements.iter().any(requirement) || self.has_reencrypt_keyslot()
    }

    /// Refuses what this program may not change: an unfinished reencryption
    /// ([`Error::UnfinishedReencryption`]), a requirement ([`Error::Requirement`]), another cipher
    /// ([`Error::CipherName`], [`Error::Integrity`]).
    pub fn check_writable(&self) -> Result<(), Error> {
        self.check_writable_under(None)
    }

    /// The same for a program that knows one requirement.
    pub(super) fn check_writable_under(&self, known: Option<&str>) -> Result<(), Error> {
        if self.is_in_reencryption() {
            return Err(Error::UnfinishedReencryption);
        }
        let mut requirements = self.requirements.iter();
        if let Some(requirement) = requirements.find(|name| Some(name.as_str()) != known) {
            let short = requirement.chars().take(40);
            return Err(Error::Requirement {
                requirement: short.flat_map(char::escape_debug).collect(),
            });
        }
        for segment in &self.segments {
            let number = segment.number;
            let Some(crypt) = &segment.crypt else {
                continue;
            };
            if crypt.has_integrity {
                return Err(Error::Integrity { number });
            }
            check_cipher(&crypt.encryption, || {
                format!("segments.{number}.encryption")
            })?;
        }
        Ok(())
    }

    fn has_reencrypt_keyslot(&self) -> bool {
        self.keyslots
            .iter()
            .any(|keyslot| keyslot.kind == KeyslotKind::Reencrypt)
    }

    fn check_areas(&self) -> Result<(), Refusal> {
        let start_bytes = self.keyslots_start_bytes();
        let end_bytes = self.header_end_bytes();
        let mut areas = Vec::new();
        for keyslot in &self.keyslots {
            let (offset_bytes, size_bytes) = (keyslot.area.offset_bytes, keyslot.area.size_bytes);
            match offset_bytes.checked_add(size_bytes) {
                Some(end) if size_bytes > 0 && offset_bytes >= start_bytes && end <= end_bytes => {
                    areas.push((offset_bytes, end, keyslot.number));
                }
                _ => {
                    return Err(Refusal::Invalid(Error::AreaBounds {
                        keyslot: keyslot.number,
                        offset_bytes,
                        size_bytes,
                        start_bytes,
                        end_bytes,
                    }));
                }
            }
        }
        areas.sort_unstable();
        for ((_, end, first), (next, _, second)) in areas.iter().zip(areas.iter().skip(1)) {
            valid(end <= next, || Error::AreaOverlap {
                first: *first,
                second: *second,
            })?;
        }
        Ok(())
    }

    fn check_digests(&self) -> Result<(), Refusal> {
        for keyslot in self
            .keyslots
            .iter()
            .filter(|keyslot| keyslot.luks2().is_some())
        {
            let number = keyslot.number;
            let of = |digest: &&Digest| digest.keyslots.contains(&number);
            let count = self.digests.iter().filter(of).count();
            valid(count == 1, || Error::Digests {
                kind: "keyslot",
                number,
                count,
            })?;
        }
        for segment in self
            .segments
            .iter()
            .filter(|segment| segment.crypt.is_some())
        {
            let number = segment.number;
            let of = |digest: &&Digest| digest.segments.contains(&number);
            let count = self.digests.iter().filter(of).count();
            let error = || Error::Digests {
                kind: "segment",
                number,
                count,
            };
            valid(count > 0, error)?;
            supported(count == 1 || self.is_in_reencryption(), error)?;
        }
        Ok(())
    }

    fn check_segments(&self) -> Result<(), Refusal> {
        for (number, _) in (0_u32..).zip(&self.segments) {
            let present = self.segments.iter().any(|segment| segment.number == number);
            valid(present, || Error::SegmentGap { number })?;
        }
        valid(!self.segments.is_empty(), || Error::SegmentGap {
            number: 0,
        })?;
        let demanded = self
            .requirements
            .iter()
            .any(|name| name.starts_with("online-reencrypt"));
        if demanded || self.has_reencrypt_keyslot() {
            // The one without the other is no state that a reencryption goes through.
            return supported(demanded && self.has_reencrypt_keyslot(), || {
                Error::UnfinishedReencryption
            });
        }
        for segment in &self.segments {
            let count = self.segments.len();
            let last = u32::try_from(count)
                .is_ok_and(|count| segment.number.checked_add(1) == Some(count));
            valid(last || segment.size_bytes.is_some(), || {
                Error::SegmentDynamic {
                    number: segment.number,
                }
            })?;
            supported(count == 1, || Error::SegmentCount { count })?;
            segment.check(self.header_end_bytes())?;
        }
        Ok(())
    }
}

/// The one cipher that this program uses, in dm-crypt's spelling.
pub(crate) const CIPHER: &str = "aes-xts-plain64";

pub(crate) fn check_cipher(cipher: &str, path: impl FnOnce() -> String) -> Result<(), Error> {
    if cipher == CIPHER {
        return Ok(());
    }
    Err(Error::CipherName {
        path: path(),
        cipher: cipher
            .chars()
            .take(40)
            .flat_map(char::escape_debug)
            .collect(),
    })
}
