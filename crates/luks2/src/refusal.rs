//! Why a header copy is not taken.
//!
//! A reader of LUKS2 skips an *invalid* copy and takes the other one. This program refuses more than
//! cryptsetup does, and skipping a copy that other programs take would mean to read, and later to overwrite,
//! another state than theirs. So what is refused here alone is *unsupported*: it ends the reading. In doubt
//! a refusal is of the second kind, which loses nothing but a fallback.

use super::Error;
use super::json::Object;

/// A copy that is not taken.
pub(crate) enum Refusal {
    /// Every reader skips this copy.
    Invalid(Error),
    /// Other readers take this copy.
    Unsupported(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Invalid(error)
    }
}

/// `Ok` where `accepted`, else a refusal of the kind that ends the reading.
pub(crate) fn supported(accepted: bool, error: impl FnOnce() -> Error) -> Result<(), Refusal> {
    if accepted {
        Ok(())
    } else {
        Err(Refusal::Unsupported(error()))
    }
}

/// `Ok` where `accepted`, else a refusal that every reader shares.
pub(crate) fn valid(accepted: bool, error: impl FnOnce() -> Error) -> Result<(), Refusal> {
    if accepted {
        Ok(())
    } else {
        Err(Refusal::Invalid(error()))
    }
}

impl Object {
    /// The member as a string that is not empty.
    pub(crate) fn name(&self, name: &str) -> Result<String, Refusal> {
        let text = self.string(name)?;
        valid(!text.is_empty(), || Error::Value {
            path: self.path_of(name),
            expected: "a string that is not empty",
        })?;
        Ok(text)
    }

    /// Checks that the member is the string `value`.
    pub(crate) fn is(&self, name: &str, value: &'static str) -> Result<(), Refusal> {
        valid(self.string(name)? == value, || Error::Value {
            path: self.path_of(name),
            expected: value,
        })
    }

    /// The member as a 32-bit number. cryptsetup takes numbers beyond 32 bits in some places and negative
    /// ones in others; this program in none.
    pub(crate) fn number(&self, name: &str) -> Result<u32, Refusal> {
        self.uint32(name).map_err(|error| match self.text(name) {
            Some(text)
                if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) =>
            {
                Refusal::Unsupported(error)
            }
            _ => Refusal::Invalid(error),
        })
    }

    /// The members as numbered objects, 32 at most: LUKS2 has no more of a kind, and their references to
    /// each other are looked up one by one. A number that is not in its shortest form is refused here:
    /// readers look such members up in different ways.
    pub(crate) fn numbered(&self) -> Result<Vec<(u32, Self)>, Refusal> {
        const LIMIT: usize = 32;
        supported(self.names().count() <= LIMIT, || Error::Count {
            path: self.path().to_owned(),
            limit: LIMIT,
        })?;
        let mut objects = Vec::new();
        for name in self.names() {
            let error = || Error::Value {
                path: self.path_of(name),
                expected: "named by a decimal number without leading zeros",
            };
            valid(name.bytes().all(|byte| byte.is_ascii_digit()), error)?;
            let number: u32 = name.parse().map_err(|_| Refusal::Unsupported(error()))?;
            supported(number.to_string() == name, error)?;
            objects.push((number, self.object(name)?));
        }
        Ok(objects)
    }

    /// An array of references to numbered members, all of which must be among `existing`.
    pub(crate) fn references(
        &self,
        name: &str,
        kind: &'static str,
        existing: &[u32],
    ) -> Result<Vec<u32>, Refusal> {
        let names = existing.iter().map(|number| (number.to_string(), *number));
        let names: Vec<(String, u32)> = names.collect();
        let mut numbers = Vec::new();
        for text in self.strings(name)? {
            match names.iter().find(|(name, _)| *name == text) {
                Some((_, number)) => numbers.push(*number),
                None => {
                    return Err(Refusal::Invalid(Error::Reference {
                        path: self.path_of(name),
                        kind,
                        number: text.chars().take(12).flat_map(char::escape_debug).collect(),
                    }));
                }
            }
        }
        Ok(numbers)
    }

    /// An array of strings that may be missing.
    pub(crate) fn optional_strings(&self, name: &str) -> Result<Vec<String>, Refusal> {
        match self.text(name) {
            Some(_) => Ok(self.strings(name)?),
            None => Ok(Vec::new()),
        }
    }
}
