//! The text of the metadata: strict JSON, kept member for member.
//!
//! An [`Object`] is the list of its members in the order in which they stand, each value as the text that
//! was found: numbers such as `1.10` or `1e3` and members that nobody here knows go back as they came.
//! [`check`] refuses what RFC 8259 does not allow, and what readers take in different ways: two members of
//! one name, a NUL within a string, more than 32 levels. Everything else in this crate works on checked text.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Error;
use base::json::Members;

/// Levels of nesting that readers of LUKS2 allow, the outer object and the innermost value counted.
const LEVELS: usize = 32;

/// Checks the whole text; the errors name the member.
pub(crate) fn check(text: &str) -> Result<(), Error> {
    let value = serde_json::from_str(text).map_err(|reason| Error::Json {
        path: "the metadata".to_owned(),
        reason,
    })?;
    walk(value, &mut "the metadata".to_owned(), 1)
}

fn walk(value: &RawValue, path: &mut String, level: usize) -> Result<(), Error> {
    if level > LEVELS {
        return Err(Error::TooDeep {
            path: path.clone(),
            limit: LEVELS,
        });
    }
    let path_bytes = path.len();
    match value.get().as_bytes().first() {
        Some(b'{') => {
            let Members(members) = parse::<Members<&RawValue>>(value, path)?;
            let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
            names.sort_unstable();
            if let Some(twice) = names.windows(2).find(|pair| pair.first() == pair.last()) {
                return Err(Error::DuplicateMember {
                    path: path.clone(),
                    name: shown(twice.first().copied().unwrap_or_default()),
                });
            }
            for (name, member) in &members {
                path.push('.');
                path.push_str(&shown(name));
                no_nul(name, path)?;
                walk(member, path, level.saturating_add(1))?;
                path.truncate(path_bytes);
            }
        }
        Some(b'[') => {
            for element in parse::<Vec<&RawValue>>(value, path)? {
                path.push_str("[]");
                walk(element, path, level.saturating_add(1))?;
                path.truncate(path_bytes);
            }
        }
        Some(b'"') if value.get().contains(r"\u") => {
            let text: String = parse(value, path)?;
            no_nul(&text, path)?;
        }
        _ => {}
    }
    Ok(())
}

/// A reader in C takes a string up to its first NUL, so two readers would see two strings.
fn no_nul(text: &str, path: &str) -> Result<(), Error> {
    if text.contains('\0') {
        return Err(Error::NulCharacter {
            path: path.to_owned(),
        });
    }
    Ok(())
}

fn parse<'a, T: Deserialize<'a>>(value: &'a RawValue, path: &str) -> Result<T, Error> {
    serde_json::from_str(value.get()).map_err(|reason| Error::Json {
        path: path.to_owned(),
        reason,
    })
}

/// A name as a message may show it: short, control characters escaped.
fn shown(name: &str) -> String {
    name.chars().take(40).flat_map(char::escape_debug).collect()
}

/// An object of the metadata with its place, for reading and for editing.
pub(crate) struct Object {
    path: String,
    members: Vec<(String, Box<RawValue>)>,
}

impl Object {
    /// The outermost object of checked text.
    pub(crate) fn outermost(text: &str) -> Result<Self, Error> {
        let Members(members) = serde_json::from_str(text).map_err(|_| Error::Value {
            path: "the metadata".to_owned(),
            expected: AN_OBJECT,
        })?;
        let path = String::new();
        Ok(Self { path, members })
    }

    /// The path of the object itself; empty for the outermost.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The path of a member.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            shown(name)
        } else {
            format!("{}.{}", self.path, shown(name))
        }
    }

    /// The members' names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(name, _)| name.as_str())
    }

    /// The text of a member, if there is one of that name.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.members.iter().find(|(member, _)| member == name)?;
        Some(value.get())
    }

    /// The member as an object.
    pub(crate) fn object(&self, name: &str) -> Result<Self, Error> {
        let Members(members) = self.typed(name, AN_OBJECT)?;
        let path = self.path_of(name);
        Ok(Self { path, members })
    }

    /// The member as an object, if it is there.
    pub(crate) fn optional_object(&self, name: &str) -> Result<Option<Self>, Error> {
        self.text(name).map(|_| self.object(name)).transpose()
    }

    /// The member as a string.
    pub(crate) fn string(&self, name: &str) -> Result<String, Error> {
        self.typed(name, "a string")
    }

    /// The member as an array of strings.
    pub(crate) fn strings(&self, name: &str) -> Result<Vec<String>, Error> {
        self.typed(name, "an array of strings")
    }

    /// The member as a 32-bit number, which LUKS2 writes as a JSON number.
    pub(crate) fn uint32(&self, name: &str) -> Result<u32, Error> {
        self.typed(name, "a number from 0 to 4294967295")
    }

    /// The member as a 64-bit number, which LUKS2 writes as a string of decimal digits.
    pub(crate) fn uint64(&self, name: &str) -> Result<u64, Error> {
        const EXPECTED: &str = "a string of decimal digits below 2^64";
        let text: String = self.typed(name, EXPECTED)?;
        decimal(&text).ok_or_else(|| Error::Value {
            path: self.path_of(name),
            expected: EXPECTED,
        })
    }

    fn typed<'a, T: Deserialize<'a>>(
        &'a self,
        name: &str,
        expected: &'static str,
    ) -> Result<T, Error> {
        let path = || self.path_of(name);
        let text = self
            .text(name)
            .ok_or_else(|| Error::Missing { path: path() })?;
        serde_json::from_str(text).map_err(|_| Error::Value {
            path: path(),
            expected,
        })
    }

    /// Gives a member a value: in its place where it is there, else at the end.
    pub(crate) fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.members.iter_mut().find(|(member, _)| member == name) {
            Some((_, old)) => *old = value,
            None => self.members.push((name.to_owned(), value)),
        }
    }

    /// Takes a member out.
    pub(crate) fn remove(&mut self, name: &str) {
        self.members.retain(|(member, _)| member != name);
    }

    /// The text of the object, without spaces between its members.
    pub(crate) fn to_raw(&self) -> Box<RawValue> {
        let mut text = "{".to_owned();
        for (name, value) in &self.members {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(raw(&serde_json::Value::from(name.as_str())).get());
            text.push(':');
            text.push_str(value.get());
        }
        text.push('}');
        from_text(text)
    }

    /// Changes the object at `path` below this one; members on the way must be objects.
    pub(crate) fn edit(
        &mut self,
        path: &[&str],
        change: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some((name, rest)) = path.split_first() else {
            return change(self);
        };
        let mut member = self.object(name)?;
        member.edit(rest, change)?;
        self.set(name, member.to_raw());
        Ok(())
    }
}

const AN_OBJECT: &str = "an object";

/// A number of decimal digits alone; leading zeros are allowed.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// A value as it is written: on one line, without spaces.
pub(crate) fn raw(value: &serde_json::Value) -> Box<RawValue> {
    from_text(value.to_string())
}

#[expect(
    clippy::expect_used,
    reason = "the texts come from values and from checked text alone"
)]
fn from_text(text: String) -> Box<RawValue> {
    RawValue::from_string(text).expect("BUG: text put together from JSON is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        check(text).unwrap_err().to_string()
    }

    #[test]
    fn the_text_of_members_survives_an_edit() {
        let text = r#"{"b": 1.10,"a":{"x":1e3,"é\u00e9":-0, "deep":{"z":[ 1 ]}},"c":"\/"}"#;
        check(text).unwrap();
        let mut object = Object::outermost(text).unwrap();
        let change = |deep: &mut Object| {
            deep.set("new", raw(&serde_json::json!({"k": 1})));
            Ok(())
        };
        object.edit(&["a", "deep"], change).unwrap();
        assert_eq!(
            object.to_raw().get(),
            r#"{"b":1.10,"a":{"x":1e3,"éé":-0,"deep":{"z":[ 1 ],"new":{"k":1}}},"c":"\/"}"#
        );
        object.remove("a");
        object.set("b", raw(&serde_json::Value::Null));
        assert_eq!(object.to_raw().get(), r#"{"b":null,"c":"\/"}"#);
    }

    #[test]
    fn what_readers_take_in_different_ways_is_refused() {
        assert_eq!(
            message(r#"{"a":{"b":1,"c":2,"b":3}}"#),
            "the metadata.a: two members named b"
        );
        assert_eq!(
            message(r#"{"a":{"b":1,"\u0062":3}}"#),
            "the metadata.a: two members named b"
        );
        assert_eq!(
            message(r#"{"a":[1,"x\u0000y"]}"#),
            "the metadata.a[]: a string with a NUL character"
        );
        assert_eq!(
            message(r#"{"\u0000":1}"#),
            "the metadata.\\0: a string with a NUL character"
        );
        check(r#"{"a":"x\\u0000y"}"#).unwrap();
    }

    #[test]
    fn what_rfc_8259_does_not_allow_is_refused() {
        for text in [
            "{'a':1}",
            r#"{"a":1,}"#,
            r#"{"a":NaN}"#,
            r#"{"a":01}"#,
            r#"{"a":1} x"#,
            r#"{"a":/**/1}"#,
            "{\"a\":\"\t\"}",
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\x"}"#,
            "{",
            "",
        ] {
            assert!(matches!(check(text), Err(Error::Json { .. })), "{text}");
        }
        assert_eq!(
            message(r#"{"a":1,}"#),
            "the metadata: not valid JSON (key must be a string at line 1 column 8)"
        );
    }

    #[test]
    fn thirty_two_levels_are_allowed_and_no_more() {
        let nested =
            |levels: usize| format!("{}{}", "{\"a\":".repeat(levels), "[]") + &"}".repeat(levels);
        check(&nested(31)).unwrap();
        let error = check(&nested(32)).unwrap_err();
        assert!(matches!(error, Error::TooDeep { limit: 32, .. }));
        // Far beyond any limit: neither time nor stack may run out.
        let many = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(check(&many), Err(Error::TooDeep { .. })));
    }

    #[test]
    fn numbers_have_the_form_that_luks2_gives_them() {
        let object = Object::outermost(
            r#"{"plain":7,"text":"7","zeros":"007","sign":"+7","empty":"","point":7.0,"large":4294967296,"huge":"18446744073709551616"}"#,
        )
        .unwrap();
        assert_eq!(object.uint32("plain").unwrap(), 7);
        assert_eq!(object.uint64("text").unwrap(), 7);
        assert_eq!(object.uint64("zeros").unwrap(), 7);
        for name in ["plain", "sign", "empty", "huge"] {
            assert_eq!(
                object.uint64(name).unwrap_err().to_string(),
                format!("{name} must be a string of decimal digits below 2^64")
            );
        }
        for name in ["text", "point", "large"] {
            assert_eq!(
                object.uint32(name).unwrap_err().to_string(),
                format!("{name} must be a number from 0 to 4294967295")
            );
        }
        assert_eq!(object.uint32("x").unwrap_err().to_string(), "x is missing");
    }
}
