//! What a file of cloud-init's configuration says, as `PyYAML`'s safe loader reads it (YAML 1.1), as far as merging asks:
//! which keys there are, and whether a value is a mapping, a list, a text or something else.
//!
//! Anchors, aliases and merge keys (`<<`) are resolved. What the loader refuses (a second document, a tag that it does
//! not know, a key that is no scalar) is an error here as well: cloud-init then passes over the whole file.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

/// Deeper nesting than that is refused.
const MOST_LEVELS: usize = 64;
/// More values than that are refused; merge keys could make any number of a small file.
const MOST_VALUES: usize = 1 << 18;

type Members = BTreeMap<String, Rc<Value>>;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number, a boolean, a date or null, as it is written.
    Other(String),
    /// A list.
    List(Vec<Rc<Value>>),
    /// A mapping; of a key that stands there twice, the last value. Keys are kept as they are written.
    Map(Members),
}

impl Value {
    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Rc<Self>> {
        match self {
            Self::Map(members) => members.get(key),
            _ => None,
        }
    }

    /// True for null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Other(words) if is_null(words))
    }

    /// The words of a text, number or boolean; `None` for a list or a mapping.
    pub fn words(&self) -> Option<&str> {
        match self {
            Self::Text(words) | Self::Other(words) => Some(words),
            Self::List(_) | Self::Map(_) => None,
        }
    }
}

/// Reads a file; nothing in it is an empty mapping. `Err` says in words why nothing of it counts.
pub fn read(text: &str) -> Result<Value, String> {
    refuse_characters(text)?;
    let mut building = Building::default();
    for event in Parser::new_from_str(text) {
        // Its words may hold what the file holds.
        let printable = |one: char| if one.is_control() { '\u{fffd}' } else { one };
        let words = |problem: ScanError| {
            problem
                .to_string()
                .chars()
                .map(printable)
                .collect::<String>()
        };
        let (event, _) = event.map_err(words)?;
        building.take(event)?;
    }
    match building.root.as_deref() {
        Some(root @ Value::Map(_)) => Ok(root.clone()),
        Some(other) if !other.is_null() => Err("it is no mapping".to_owned()),
        _ => Ok(Value::Map(Members::new())),
    }
}

/// What the loader takes nowhere, and tabs, which it takes within a scalar alone, as YAML 1.2 does not.
fn refuse_characters(text: &str) -> Result<(), String> {
    let is_taken = |one: char| matches!(one, '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..);
    let mut lines = text
        .lines()
        .filter(|line| !line.trim_start_matches(' ').starts_with('#'));
    match lines.find_map(|line| line.chars().find(|one| !is_taken(*one))) {
        Some(one) => Err(format!("it holds the character {one:?}")),
        None => Ok(()),
    }
}

/// A list or a mapping that has begun.
enum Open {
    List(Vec<Rc<Value>>),
    Map {
        /// From merge keys; members count before them.
        merged: Members,
        members: Members,
        key: Option<Key>,
    },
}

enum Key {
    Name(String),
    Merge,
}

/// What has begun, the number of its anchor or 0, and how many levels lie below it. Levels that an alias brings count:
/// whoever walks the value, or drops it, needs a frame of the stack for each.
struct Begun {
    open: Open,
    anchor: usize,
    below: usize,
}

#[derive(Default)]
struct Building {
    documents: usize,
    values: usize,
    open: Vec<Begun>,
    /// Each value that has an anchor, with the number of its levels.
    anchors: HashMap<usize, (Rc<Value>, usize)>,
    root: Option<Rc<Value>>,
}

impl Building {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::DocumentStart(_) => {
                self.documents = self.documents.saturating_add(1);
                if self.documents > 1 {
                    return Err("it holds more than one document".to_owned());
                }
                Ok(())
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned();
                let (value, levels) = value.ok_or("an alias stands in front of its anchor")?;
                self.put(value, levels, false)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain;
                let is_text = match core_tag(tag.as_deref())? {
                    Some(kind) => kind == "str",
                    None => !is_plain || !is_other(&text),
                };
                let is_merge = is_plain && tag.is_none() && text == "<<";
                let value = Rc::new(if is_text {
                    Value::Text(text.into_owned())
                } else {
                    Value::Other(text.into_owned())
                });
                self.note(anchor, &value, 0);
                self.put(value, 0, is_merge)
            }
            Event::SequenceStart(anchor, tag) => {
                core_tag(tag.as_deref())?;
                self.begin(Open::List(Vec::new()), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                core_tag(tag.as_deref())?;
                let open = Open::Map {
                    merged: Members::new(),
                    members: Members::new(),
                    key: None,
                };
                self.begin(open, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, open: Open, anchor: usize) -> Result<(), String> {
        check_levels(self.open.len().saturating_add(1))?;
        self.open.push(Begun {
            open,
            anchor,
            below: 0,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(begun) = self.open.pop() else {
            return Err("it ends what has not begun".to_owned());
        };
        let levels = begun.below.saturating_add(1);
        check_levels(levels)?;
        let value = match begun.open {
            Open::List(items) => Value::List(items),
            Open::Map {
                merged, members, ..
            } => {
                let mut all = merged;
                all.extend(members);
                Value::Map(all)
            }
        };
        let value = Rc::new(value);
        self.note(begun.anchor, &value, levels);
        self.put(value, levels, false)
    }

    fn note(&mut self, anchor: usize, value: &Rc<Value>, levels: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, (Rc::clone(value), levels));
        }
    }

    /// Puts a value where it belongs: into the list, behind its key, or in the place of a key.
    fn put(&mut self, value: Rc<Value>, levels: usize, is_merge: bool) -> Result<(), String> {
        count(&mut self.values, 1)?;
        let Some(begun) = self.open.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        begun.below = begun.below.max(levels);
        match &mut begun.open {
            Open::List(items) => items.push(value),
            Open::Map {
                merged,
                members,
                key,
            } => match key.take() {
                None if is_merge => *key = Some(Key::Merge),
                None => {
                    let name = value.words().ok_or("a key is no scalar")?;
                    *key = Some(Key::Name(name.to_owned()));
                }
                Some(Key::Name(name)) => {
                    members.insert(name, value);
                }
                Some(Key::Merge) => {
                    merge(merged, &value, &mut self.values)?;
                }
            },
        }
        Ok(())
    }
}

fn check_levels(levels: usize) -> Result<(), String> {
    if levels > MOST_LEVELS {
        return Err(format!("it is nested more than {MOST_LEVELS} levels deep"));
    }
    Ok(())
}

/// Takes the members of a merge key's value: of several mappings the first that has a key counts.
fn merge(merged: &mut Members, value: &Value, values: &mut usize) -> Result<(), String> {
    const NEITHER: &str = "a merge key has a value that is no mapping";
    match value {
        Value::Map(members) => {
            count(values, members.len())?;
            let members = members.iter();
            merged.extend(members.map(|(key, value)| (key.clone(), Rc::clone(value))));
            Ok(())
        }
        Value::List(items) => items.iter().rev().try_for_each(|item| match &**item {
            Value::Map(_) => merge(merged, item, values),
            _ => Err(NEITHER.to_owned()),
        }),
        _ => Err(NEITHER.to_owned()),
    }
}

fn count(values: &mut usize, more: usize) -> Result<(), String> {
    *values = values.saturating_add(more);
    if *values > MOST_VALUES {
        return Err(format!("it holds more than {MOST_VALUES} values"));
    }
    Ok(())
}

/// The name behind `!!`; `None` without a tag.
fn core_tag(tag: Option<&Tag>) -> Result<Option<&str>, String> {
    const KNOWN: [&str; 8] = [
        "str",
        "int",
        "float",
        "bool",
        "null",
        "map",
        "seq",
        "timestamp",
    ];
    let Some(tag) = tag else {
        return Ok(None);
    };
    let suffix = tag.suffix.as_str();
    if tag.handle == "tag:yaml.org,2002:" && KNOWN.contains(&suffix) {
        Ok(Some(suffix))
    } else {
        let name = format!("{}{suffix}", tag.handle);
        Err(format!("the tag {} is unknown", name.escape_debug()))
    }
}

fn is_null(words: &str) -> bool {
    matches!(words, "" | "~" | "null" | "Null" | "NULL")
}

/// True for a plain scalar that the loader does not take for a text.
fn is_other(words: &str) -> bool {
    const BOOLEANS: [&str; 6] = ["yes", "no", "true", "false", "on", "off"];
    let is_cased = |word: &str| {
        let upper = word.to_ascii_uppercase();
        let title = upper.get(..1).zip(word.get(1..));
        words == word || words == upper || title.is_some_and(|(a, b)| words == format!("{a}{b}"))
    };
    is_null(words) || words == "=" || BOOLEANS.into_iter().any(is_cased) || is_number(words)
}

/// True for what is written as a number or a date. A text of digits and dots that is neither may be taken for one.
fn is_number(words: &str) -> bool {
    let digits = words.strip_prefix(['-', '+']).unwrap_or(words);
    if matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    if let Some(hex) = digits.strip_prefix("0x") {
        return hex
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'_');
    }
    let starts = digits.trim_start_matches('.').as_bytes();
    let plain = |byte: &u8| {
        matches!(
            byte,
            b'0'..=b'9' | b'_' | b'.' | b':' | b'e' | b'E' | b'+' | b'-'
        )
    };
    starts.first().is_some_and(u8::is_ascii_digit) && digits.as_bytes().iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: &str) -> Rc<Value> {
        Rc::new(Value::Text(words.to_owned()))
    }

    #[test]
    fn scalars_are_texts_or_something_else() {
        for other in [
            "off",
            "Off",
            "OFF",
            "no",
            "~",
            "null",
            "12",
            "-0x1f",
            "1.5",
            "2001-01-01",
            "=",
            "12:30",
        ] {
            assert!(is_other(other), "{other}");
        }
        for text in ["oFF", "Azure", "None", "e1", "-", ".", "x12", "0xg"] {
            assert!(!is_other(text), "{text}");
        }
        let read = read("a: off\nb: 'off'\nc: !!str off\nd: \"x\\x5fy\"\n").unwrap();
        assert_eq!(**read.get("a").unwrap(), Value::Other("off".to_owned()));
        assert_eq!(read.get("b"), Some(&text("off")));
        assert_eq!(read.get("c"), Some(&text("off")));
        assert_eq!(read.get("d"), Some(&text("x_y")));
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let read =
            read("x: &a {k: 1st, l: y}\ny: &b {k: 2nd}\n<<: [*b, *a]\nl: own\nz: *a\n").unwrap();
        assert_eq!(read.get("k"), Some(&text("2nd")));
        assert_eq!(read.get("l"), Some(&text("own")));
        assert_eq!(read.get("z"), read.get("x"));
    }

    #[test]
    fn what_the_loader_refuses_is_refused() {
        for (file, why) in [
            ("- a\n", "it is no mapping"),
            ("a\n", "it is no mapping"),
            ("a: 1\n---\nb: 2\n", "it holds more than one document"),
            ("[a]: b\n", "a key is no scalar"),
            ("<<: b\n", "a merge key has a value that is no mapping"),
            ("a:\tb\n", "it holds the character '\\t'"),
            ("a: \x01\n", "it holds the character '\\u{1}'"),
            ("a: !mine b\n", "the tag !mine is unknown"),
        ] {
            assert_eq!(read(file), Err(why.to_owned()), "{file}");
        }
        assert!(read("a: [\n").is_err() && read("a: *b\n").is_err());
        let deep = "[".repeat(100_000);
        assert!(read(&deep).is_err());
        let chain: Vec<_> = (1..20_000)
            .map(|one| format!(",&a{one} [*a{}]", one - 1))
            .collect();
        let chained = format!("a: [&a0 []{}]\n", chain.concat());
        let told = "it is nested more than 64 levels deep".to_owned();
        assert_eq!(read(&chained), Err(told));
        let many: Vec<_> = (0..2000).map(|number| format!(" k{number}: v\n")).collect();
        let many = many.concat();
        let many = format!("a: &a\n{many}{}", "b: {<<: *a}\n".repeat(2000));
        assert_eq!(
            read(&many),
            Err("it holds more than 262144 values".to_owned())
        );
        for nothing in ["", "# x\n", "~\n", "---\n"] {
            assert_eq!(read(nothing), Ok(Value::Map(Members::new())), "{nothing:?}");
        }
    }
}
