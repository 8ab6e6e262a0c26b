//! The UEFI configuration of a guest: its Secure Boot databases byte for byte, and `uefi-config.json`, the
//! file that holds it.
//!
//! | member | content |
//! | --- | --- |
//! | `PK`, `KEK`, `db`, `dbx` | base64 of the variable's content: signature lists, no attributes |
//! | `omitsReadyToBootEvent` | true where firmware does not measure "Calling EFI Application from Boot Option" |
//!
//! An absent member, `null` and `""` all stand for a variable without content, which is measured with zero
//! bytes. Reading takes names in any ASCII case, line ends in base64 and members that are not known (the
//! caller is told their names). It refuses members given twice, arrays of numbers in place of base64, data
//! behind the object, more than 4 MiB of text or 1 MiB of a variable. Writing has one form, to the byte that
//! of the reference. Whether the content is a sequence of signature lists, [`UefiConfig::lists`] tells.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use uuid::Uuid;

use super::json::{self, Members, Problem};
pub use super::rules::Rules;
use super::{guid, signature_list};

/// Most bytes of a file that describes a guest.
pub const MAX_FILE_BYTES: usize = 4 << 20;

/// Most bytes of a variable. Firmware itself has room for a few hundred KiB of variables.
pub const MAX_VARIABLE_BYTES: usize = 1 << 20;

const OMITS_READY_TO_BOOT_EVENT: &str = "omitsReadyToBootEvent";

/// A variable that says what firmware may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Database {
    /// The platform key: its owner may change KEK. Without one Secure Boot is off.
    Pk,
    /// Key exchange keys: their owners may change db and dbx.
    Kek,
    /// What is allowed.
    Db,
    /// What is forbidden.
    Dbx,
}

impl Database {
    /// In the order in which firmware measures them.
    pub const ALL: [Self; 4] = [Self::Pk, Self::Kek, Self::Db, Self::Dbx];

    /// The variable's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pk => "PK",
            Self::Kek => "KEK",
            Self::Db => "db",
            Self::Dbx => "dbx",
        }
    }

    /// The namespace of the name.
    pub fn vendor(self) -> Uuid {
        match self {
            Self::Pk | Self::Kek => guid::GLOBAL_VARIABLE,
            Self::Db | Self::Dbx => guid::IMAGE_SECURITY_DATABASE,
        }
    }
}

/// What a guest's firmware measures before it starts anything, as far as it is the operator's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UefiConfig {
    /// The contents in the order of [`Database::ALL`]; `None` for a variable that nobody spoke of.
    contents: [Option<Vec<u8>>; 4],
    /// The firmware does not measure that it calls the boot option's program.
    pub omits_ready_to_boot_event: bool,
}

/// Why a text is no UEFI configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than [`MAX_FILE_BYTES`].
    #[error("no UEFI configuration: {len_bytes} bytes, which is more than 4 MiB")]
    FileTooLong {
        /// Length of the text.
        len_bytes: usize,
    },
    /// No JSON, no object, or something behind it.
    #[error("no UEFI configuration in JSON: {0}")]
    Json(String),
    /// A member stands twice.
    #[error("the member {0} stands twice, perhaps in different letter case")]
    Twice(String),
    /// An array of numbers, which the reference takes.
    #[error("the member {0} is an array of numbers; base64 text is expected")]
    Numbers(&'static str),
    /// A member has another type.
    #[error("the member {0} is no {1}")]
    Not(String, &'static str),
    /// A text is no base64.
    #[error("the member {name} is no base64: {problem}")]
    Base64 {
        /// The member.
        name: &'static str,
        /// What is wrong with it.
        problem: base64::DecodeError,
    },
    /// More than [`MAX_VARIABLE_BYTES`].
    #[error("the variable {name} has {len_bytes} bytes, which is more than 1 MiB")]
    VariableTooLong {
        /// The member.
        name: &'static str,
        /// Length of the content.
        len_bytes: usize,
    },
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Twice(name) => Self::Twice(name),
            Problem::Not(name, what) => Self::Not(name, what),
        }
    }
}

/// A configuration that was read, and the members that were not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromJson {
    /// The configuration.
    pub config: UefiConfig,
    /// Names of members that are not known, and were passed over.
    pub unknown_members: Vec<String>,
}

impl UefiConfig {
    /// The content of a database; `None` where nobody spoke of it, which firmware measures as no bytes.
    pub fn get(&self, database: Database) -> Option<&[u8]> {
        let [pk, kek, db, dbx] = &self.contents;
        let content = match database {
            Database::Pk => pk,
            Database::Kek => kek,
            Database::Db => db,
            Database::Dbx => dbx,
        };
        content.as_deref()
    }

    /// The bytes of a database that firmware measures.
    pub fn content(&self, database: Database) -> &[u8] {
        self.get(database).unwrap_or_default()
    }

    /// Gives a database this content.
    pub fn set(&mut self, database: Database, content: Option<Vec<u8>>) {
        let [pk, kek, db, dbx] = &mut self.contents;
        *match database {
            Database::Pk => pk,
            Database::Kek => kek,
            Database::Db => db,
            Database::Dbx => dbx,
        } = content;
    }

    /// True where no database has a byte.
    pub fn is_empty(&self) -> bool {
        self.contents.iter().flatten().all(Vec::is_empty)
    }

    /// The signature lists of a database.
    pub fn lists(
        &self,
        database: Database,
    ) -> Result<Vec<signature_list::SignatureList>, signature_list::Error> {
        signature_list::parse(self.content(database))
    }

    /// Reads `uefi-config.json`.
    pub fn from_json(text: &[u8], rules: Rules) -> Result<FromJson, Error> {
        if text.len() > MAX_FILE_BYTES {
            return Err(Error::FileTooLong {
                len_bytes: text.len(),
            });
        }
        let members =
            Members::document(text, rules).map_err(|error| Error::Json(error.to_string()))?;
        let mut config = Self::default();
        for database in Database::ALL {
            config.set(database, variable(&members, database.name(), rules)?);
        }
        if let Some(omits) = members.get(OMITS_READY_TO_BOOT_EVENT, rules)? {
            config.omits_ready_to_boot_event = match omits.get() {
                "true" => true,
                "false" => false,
                _ => return Err(Error::Not(OMITS_READY_TO_BOOT_EVENT.to_owned(), "boolean")),
            };
        }
        let known = [
            &Database::ALL.map(Database::name)[..],
            &[OMITS_READY_TO_BOOT_EVENT],
        ]
        .concat();
        Ok(FromJson {
            config,
            unknown_members: members.others(&known),
        })
    }

    /// Writes `uefi-config.json`, the same bytes as the reference.
    pub fn to_json(&self) -> String {
        let members = Database::ALL
            .map(|database| {
                let value = self.get(database).map(json::text);
                let value = value.map_or("null".to_owned(), |text| format!("\"{text}\""));
                format!("  \"{}\": {value},\n", database.name())
            })
            .concat();
        let omits = self.omits_ready_to_boot_event;
        format!("{{\n{members}  \"{OMITS_READY_TO_BOOT_EVENT}\": {omits}\n}}\n")
    }
}

/// The content of a variable in a member of this name.
fn variable(members: &Members, name: &'static str, rules: Rules) -> Result<Option<Vec<u8>>, Error> {
    let Some(value) = members.get(name, rules)? else {
        return Ok(None);
    };
    let content = match serde_json::from_str::<String>(value.get()) {
        Ok(text) => json::bytes(&text).map_err(|problem| Error::Base64 { name, problem })?,
        Err(_) => match (serde_json::from_str::<Vec<u8>>(value.get()), rules) {
            (Ok(bytes), Rules::Reference) => bytes,
            (Ok(_), Rules::Ours) => return Err(Error::Numbers(name)),
            (Err(_), _) => return Err(Error::Not(name.to_owned(), "base64 text")),
        },
    };
    if content.len() > MAX_VARIABLE_BYTES {
        return Err(Error::VariableTooLong {
            name,
            len_bytes: content.len(),
        });
    }
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> UefiConfig {
        UefiConfig::from_json(text.as_bytes(), Rules::Ours)
            .unwrap()
            .config
    }

    fn message(text: &str) -> String {
        UefiConfig::from_json(text.as_bytes(), Rules::Ours)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn nothing_and_everything_are_written_as_the_reference_does() {
        assert_eq!(
            UefiConfig::default().to_json(),
            "{\n  \"PK\": null,\n  \"KEK\": null,\n  \"db\": null,\n  \"dbx\": null,\n  \"omitsReadyToBootEvent\": false\n}\n"
        );
        let text = "{\n  \"PK\": \"+/8=\",\n  \"KEK\": \"\",\n  \"db\": \"AA==\",\n  \"dbx\": null,\n  \"omitsReadyToBootEvent\": true\n}\n";
        let config = read(text);
        assert_eq!(config.content(Database::Pk), [0xfb, 0xff]);
        assert_eq!(config.get(Database::Kek), Some(&[][..]));
        assert_eq!(config.get(Database::Dbx), None);
        assert_eq!(config.to_json(), text);
        assert!(!config.is_empty() && read("{\"db\":\"\"}").is_empty());
    }

    #[test]
    fn names_in_any_case_escapes_nulls_and_line_ends_are_taken() {
        let config = read(
            "{\"pk\":\"AA\\r\\n==\",\"\\u004bEK\":null,\"DBX\":\"UEt=\",\"OMITSreadyToBootEvent\":null}",
        );
        assert_eq!(config.content(Database::Pk), [0]);
        assert_eq!(
            config.content(Database::Dbx),
            b"PK",
            "surplus bits may be anything"
        );
        assert!(!config.omits_ready_to_boot_event);
        assert_eq!(read("null"), UefiConfig::default());
        let read = UefiConfig::from_json(b"{\"PK\":\"\",\"x\":[1],\"Y\":2}", Rules::Ours).unwrap();
        assert_eq!(read.unknown_members, ["x", "Y"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, expected) in [
            (
                "",
                "no UEFI configuration in JSON: EOF while parsing a value at line 1 column 0",
            ),
            (
                "\u{feff}{}",
                "no UEFI configuration in JSON: expected value at line 1 column 1",
            ),
            (
                "[]",
                "no UEFI configuration in JSON: invalid type: sequence, expected an object at line 1 column 0",
            ),
            (
                "7",
                "no UEFI configuration in JSON: invalid type: integer `7`, expected an object at line 1 column 1",
            ),
            (
                "{} {}",
                "no UEFI configuration in JSON: trailing characters at line 1 column 4",
            ),
            (
                "{\"db\":\"\",\"DB\":null}",
                "the member db stands twice, perhaps in different letter case",
            ),
            (
                "{\"db\":[1,2]}",
                "the member db is an array of numbers; base64 text is expected",
            ),
            ("{\"db\":[1,256]}", "the member db is no base64 text"),
            ("{\"db\":7}", "the member db is no base64 text"),
            (
                "{\"db\":\"A A=\"}",
                "the member db is no base64: Invalid symbol 32, offset 1.",
            ),
            (
                "{\"db\":\"-_8=\"}",
                "the member db is no base64: Invalid symbol 45, offset 0.",
            ),
            (
                "{\"db\":\"AA\"}",
                "the member db is no base64: Invalid padding",
            ),
            (
                "{\"omitsReadyToBootEvent\":\"true\"}",
                "the member omitsReadyToBootEvent is no boolean",
            ),
        ] {
            assert_eq!(message(text), expected, "{text}");
        }
    }

    #[test]
    fn the_reference_takes_more() {
        let read = |text: &str| {
            UefiConfig::from_json(text.as_bytes(), Rules::Reference)
                .unwrap()
                .config
        };
        assert_eq!(
            read("{\"db\":\"AA==\",\"DB\":\"AQ==\"} junk").content(Database::Db),
            [1]
        );
        assert_eq!(
            read("{\"db\":\"AA==\",\"db\":null}").get(Database::Db),
            None
        );
        assert_eq!(read("{\"db\":[1,255]}").content(Database::Db), [1, 255]);
        assert_eq!(read("null"), UefiConfig::default());
        for error in [
            "",
            "[]",
            "7",
            "{\"db\":\"AA\"}",
            "{\"db\":7}",
            "{\"db\":[256]}",
        ] {
            assert!(
                UefiConfig::from_json(error.as_bytes(), Rules::Reference).is_err(),
                "{error}"
            );
        }
    }

    #[test]
    fn sizes_have_limits() {
        let content = |len: usize| format!("{{\"db\":\"{}\"}}", json::text(&vec![0; len]));
        assert_eq!(
            read(&content(MAX_VARIABLE_BYTES))
                .content(Database::Db)
                .len(),
            1 << 20
        );
        assert_eq!(
            message(&content(MAX_VARIABLE_BYTES + 1)),
            "the variable db has 1048577 bytes, which is more than 1 MiB"
        );
        let spaces = |len| format!("{{}}{}", " ".repeat(len - 2));
        assert!(read(&spaces(MAX_FILE_BYTES)).is_empty());
        assert_eq!(
            message(&spaces(MAX_FILE_BYTES + 1)),
            "no UEFI configuration: 4194305 bytes, which is more than 4 MiB"
        );
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(
            contents in proptest::array::uniform4(proptest::option::of(proptest::collection::vec(proptest::num::u8::ANY, 0..80))),
            omits_ready_to_boot_event: bool,
        ) {
            let config = UefiConfig { contents, omits_ready_to_boot_event };
            let json = config.to_json();
            for rules in [Rules::Ours, Rules::Reference] {
                assert_eq!(UefiConfig::from_json(json.as_bytes(), rules).unwrap().config, config);
            }
        }

        #[test]
        fn any_text_is_a_configuration_or_an_error(text in "\\{(\"(PK|db)\":(\"[A-Z=+/ ]{0,8}\"|null|[0-9],?|\\[),?){0,3}\\}?") {
            let _ = UefiConfig::from_json(text.as_bytes(), Rules::Ours);
            let _ = UefiConfig::from_json(text.as_bytes(), Rules::Reference);
        }
    }
}
