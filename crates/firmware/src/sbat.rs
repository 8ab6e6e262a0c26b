//! SBAT: the generations of a program's components, and the level below which shim refuses them.
//!
//! shim's SBAT.md. A `.sbat` section is a CSV text up to its first NUL, six fields a line (component,
//! generation, vendor's name, package, version, address) with RFC 4180 quotes; blank lines are skipped;
//! the component `sbat` is the format itself,
//! whose generation must be 1. A level is the text of the variable
//! `SbatLevel`: lines of component and generation; the first, of the component `sbat`, has a date as its
//! third field and orders levels by age.

use std::collections::HashMap;

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
    let mut minimum = HashMap::new();
    for needed in minimum_generations(level) {
        // Of two lines for a component the first counts.
        minimum.entry(needed.name).or_insert(needed.generation);
    }
    components.iter().find_map(|component| {
        let needed = *minimum.get(&component.name)?;
        (component.generation < needed).then_some((component, needed))
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

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str =
        "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n";

    fn read(text: &str) -> Vec<(String, u64)> {
        let components = components(text.as_bytes()).unwrap();
        components
            .into_iter()
            .map(|one| (one.name, one.generation))
            .collect()
    }

    #[test]
    fn a_record_has_six_fields_which_quotes_may_enclose() {
        let all = format!(
            "{FIRST}\r\n\n\"grub\",4,\"Free, \"\"Software\"\"\nFoundation\",grub,2.06,url\r\nx,18446744073709551615,,,,"
        );
        let wanted = [("sbat", 1), ("grub", 4), ("x", u64::MAX)];
        assert_eq!(
            read(&all),
            wanted.map(|(name, number)| (name.to_owned(), number))
        );
        assert_eq!(read(""), []);
        // What follows the first NUL is padding.
        assert_eq!(read(&format!("{FIRST}\0no,record")).len(), 1);
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_number() {
        for (text, message) in [
            ("a,1,b,c,d\n", "record 2 has 5 fields, not 6"),
            ("a,1,b,c,d,e,\n", "record 2 has 7 fields, not 6"),
            (" \n", "record 2 has 1 fields, not 6"),
            (
                "a,x,b,c,d,e\n",
                "the generation in record 2 is \"x\", not a number",
            ),
            (
                "a,,b,c,d,e\n",
                "the generation in record 2 is \"\", not a number",
            ),
            (
                "a,-1,b,c,d,e\n",
                "the generation in record 2 is \"-1\", not a number",
            ),
            (
                "a,18446744073709551616,b,c,d,e\n",
                "the generation in record 2 is \"18446744073709551616\", not a number",
            ),
            ("a,1,\"b,c,d,e\n", "a quote in a wrong place in record 2"),
            ("a,1,b\",c,d,e\n", "a quote in a wrong place in record 2"),
            ("a,1,\"b\"c,c,d,e\n", "a quote in a wrong place in record 2"),
        ] {
            let error = components(format!("{FIRST}{text}").as_bytes()).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the section .sbat: {message}"),
                "{text:?}"
            );
        }
        assert_eq!(
            components(FIRST.replacen('1', "2", 1).as_bytes())
                .unwrap_err()
                .to_string(),
            "the section .sbat is of version 2; only 1 is known"
        );
    }

    #[test]
    fn a_level_forbids_what_is_below_it_and_speaks_of_nothing_else() {
        let level =
            "sbat,1,2024010900\nshim,4\ngrub,3\nno line of a level\nshim,9\ngrub.debian,x\n";
        let of = |name: &str, generation| Component {
            name: name.to_owned(),
            generation,
        };
        let good = [
            of("sbat", 1),
            of("shim", 4),
            of("grub.debian", 0),
            of("other", 0),
        ];
        assert_eq!(forbidden(&good, level), None);
        let bad = [of("shim", 4), of("grub", 2), of("sbat", 0)];
        assert_eq!(forbidden(&bad, level), Some((&bad[1], 3)));
        assert_eq!(forbidden(&bad, ""), None);
    }

    /// Each of the components would be compared with each line of the level.
    #[test]
    fn many_components_under_a_long_level_take_no_more_than_a_moment() {
        let components: Vec<_> = (0..80_000)
            .map(|number| Component {
                name: format!("a{number}"),
                generation: 1,
            })
            .collect();
        let lines: Vec<_> = (0..200_000).map(|number| format!("b{number},1")).collect();
        let level = lines.join("\n");
        assert_eq!(forbidden(&components, &level), None);
    }

    #[test]
    fn the_second_and_third_field_tell_the_age_as_bytes() {
        let newer = |own: &str, other: &str| is_newer(own, other).unwrap();
        assert!(newer("sbat,1,2024\nx,1\n", "sbat,1,2023\ny,1\n"));
        assert!(!newer("sbat,1,2023\n", "sbat,1,2023\nmore,1\n"));
        // As bytes, not as numbers.
        assert!(newer("sbat,2,0\n", "sbat,10,9\n"));
        assert_eq!(
            is_newer("sbat,1,2\n", "sbat,1\n").unwrap_err().to_string(),
            "the SBAT level's first line is \"sbat,1\", without three fields"
        );
    }
}
