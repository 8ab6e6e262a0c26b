//! JSON objects as the descriptions of guests are written: names in any letter case, bytes as base64.
//!
//! [`Members`] keeps every member with the text of its value, so that one given twice is seen. What Go's
//! decoder does, which the reference uses, is had by [`Rules::Reference`]: of several the last one counts,
//! and nothing behind the first value is looked at.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::rules::Rules;
use base::json;

/// Standard alphabet and padding; bits that the last character has too many may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The members of an object in their order.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Members(json::Members<Box<RawValue>>);

/// Why a member is not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// The member stands twice, perhaps in different letter case.
    Twice(String),
    /// The member is no object, array, text.
    Not(String, &'static str),
}

impl Members {
    /// The object that a whole document is. `null` is an object without members.
    pub(super) fn document(text: &[u8], rules: Rules) -> serde_json::Result<Self> {
        let members = match rules {
            Rules::Ours => serde_json::from_slice::<Option<Self>>(text)?,
            Rules::Reference => {
                Option::deserialize(&mut serde_json::Deserializer::from_slice(text))?
            }
        };
        Ok(members.unwrap_or_default())
    }

    /// The text of a member's value; `None` where there is no such member or it is `null`.
    pub(super) fn get(&self, name: &str, rules: Rules) -> Result<Option<&RawValue>, Problem> {
        let mut found = self
            .0
            .0
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = match rules {
            Rules::Ours => {
                let first = found.next();
                if found.next().is_some() {
                    return Err(Problem::Twice(name.to_owned()));
                }
                first
            }
            Rules::Reference => found.next_back(),
        };
        Ok(value
            .map(|(_, value)| &**value)
            .filter(|value| value.get() != "null"))
    }

    /// A member that is an object, where it is there.
    pub(super) fn object(&self, name: &str, rules: Rules) -> Result<Option<Self>, Problem> {
        self.parsed(name, "object", rules)
    }

    /// A member that is a text, where it is there.
    pub(super) fn text(&self, name: &str, rules: Rules) -> Result<Option<String>, Problem> {
        self.parsed(name, "text", rules)
    }

    /// A member that is an array of `what`, where it is there.
    pub(super) fn array<T: for<'a> Deserialize<'a>>(
        &self,
        name: &str,
        what: &'static str,
        rules: Rules,
    ) -> Result<Option<Vec<T>>, Problem> {
        self.parsed(name, what, rules)
    }

    fn parsed<T: for<'a> Deserialize<'a>>(
        &self,
        name: &str,
        what: &'static str,
        rules: Rules,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.get(name, rules)? else {
            return Ok(None);
        };
        let parsed = serde_json::from_str(value.get());
        parsed
            .map(Some)
            .map_err(|_| Problem::Not(name.to_owned(), what))
    }

    /// The names that are none of these.
    pub(super) fn others(&self, known: &[&str]) -> Vec<String> {
        let is_known = |name: &str| known.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.0
            .0
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !is_known(name))
            .cloned()
            .collect()
    }
}

/// The bytes that a text stands for; line ends within it are passed over.
pub(super) fn bytes(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    let text: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    BASE64.decode(text)
}

/// The text that stands for bytes, in one line.
pub(super) fn text(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}
