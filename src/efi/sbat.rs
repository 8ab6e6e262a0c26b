//! SBAT: the generations of a program's components, and the level below which shim refuses them.
//!
//! shim's SBAT.md. A `.sbat` section is a CSV text up to its first NUL, six fields a line (component,
//! generation, vendor's name, package, version, address) with RFC 4180 quotes; blank lines are skipped;
//! the component `sbat` is the format itself,
//! whose generation must be 1. A level is the text of the variable
//! `SbatLevel`: lines of component and generation; the first, of the component `sbat`, has a date as its
//! third field and orders levels by age.

use super::{Error, Result};

/// One component of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// As `grub` or `systemd.ubuntu`.
    pub name: String,
    /// Counts security fixes.
    pub generation: u64,
}

/// The components in a `.sbat` section.
pub fn components(section: &[u8]) -> Result<Vec<Component>> {
    let text = text_of(section);
    let mut found = Vec::new();
    for (number, record) in (1_usize..).zip(records(&text)) {
        let Some(fields) = record else {
            return Err(Error::SbatQuote { record: number });
        };
        let [name, generation, _, _, _, _] = fields.as_slice() else {
            return Err(Error::SbatFields {
                record: number,
                count: fields.len(),
            });
        };
        let Ok(generation) = generation.parse() else {
            return Err(Error::SbatGeneration {
                record: number,
                text: generation.clone(),
            });
        };
        if name == "sbat" && generation != 1 {
            return Err(Error::SbatVersion { generation });
        }
        found.push(Component {
            name: name.clone(),
            generation,
        });
    }
    Ok(found)
}

/// What a level forbids: the generation that a component must have at least. Lines that are none of a
/// level are left out, as shim leaves them out.
pub fn minimum_generations(level: &str) -> Vec<Component> {
    let lines = level
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>());
    lines
        .filter_map(|fields| match fields.as_slice() {
            [name, generation, ..] => Some(Component {
                name: (*name).to_owned(),
                generation: generation.parse().ok()?,
            }),
            _ => None,
        })
        .collect()
}

/// The first component that a level forbids, with the generation that would be needed.
pub fn forbidden<'a>(components: &'a [Component], level: &str) -> Option<(&'a Component, u64)> {
    let minimum = minimum_generations(level);
    components.iter().find_map(|component| {
        let needed = minimum
            .iter()
            .find(|needed| needed.name == component.name)?;
        (component.generation < needed.generation).then_some((component, needed.generation))
    })
}

/// True where the level `own` is newer than the level `other`: the second, then the third field of the
/// first line, compared as bytes.
pub fn is_newer(own: &str, other: &str) -> Result<bool> {
    Ok(age(own)? > age(other)?)
}

fn age(level: &str) -> Result<(&str, &str)> {
    let first = level.lines().next().unwrap_or_default();
    let mut fields = first.split(',').skip(1);
    match (fields.next(), fields.next()) {
        (Some(version), Some(date)) => Ok((version, date)),
        _ => Err(Error::LevelFields {
            line: first.to_owned(),
        }),
    }
}

/// Bytes up to the first NUL, as text.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// The records of a CSV text, blank lines skipped; `None` for one with a quote in a wrong place, which
/// ends the text.
fn records(text: &str) -> Vec<Option<Vec<String>>> {
    let mut found = Vec::new();
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut was_quoted = false;
    let mut characters = text.chars().peekable();
    loop {
        let character = characters.next();
        match character {
            Some('"') if field.is_empty() && !was_quoted => {
                was_quoted = true;
                loop {
                    match characters.next() {
                        Some('"') if characters.next_if_eq(&'"').is_some() => field.push('"'),
                        Some('"') => break,
                        Some(character) => field.push(character),
                        None => {
                            found.push(None);
                            return found;
                        }
                    }
                }
            }
            Some('"') => {
                found.push(None);
                return found;
            }
            Some('\r') if characters.peek() == Some(&'\n') => {}
            Some(',' | '\n') | None => {
                let ends_line = character != Some(',');
                let is_blank = fields.is_empty() && field.is_empty() && !was_quoted;
                if !(ends_line && is_blank) {
                    fields.push(std::mem::take(&mut field));
                }
                was_quoted = false;
                if ends_line && !fields.is_empty() {
                    found.push(Some(std::mem::take(&mut fields)));
                }
                if character.is_none() {
                    return found;
                }
            }
            Some(_) if was_quoted => {
                found.push(None);
                return found;
            }
            Some(character) => field.push(character),
        }
    }
}
