//! The Secure Boot databases in Azure's descriptions of a guest: `properties.uefiSettings` of a disk
//! (`Microsoft.Compute/disks`), and `properties.securityProfile.uefiSettings` of an image version in a compute
//! gallery (`Microsoft.Compute/galleries/images/versions`). Azure Resource Manager's models of these types.
//!
//! | disk | image version | |
//! | --- | --- | --- |
//! | `signatureMode` | `signatureTemplateNames` | `Replace` and `NoSignatureTemplate`: no others are added |
//! | `signatures` | `additionalSignatures` | the databases `PK`, `KEK`, `db`, `dbx` |
//!
//! A database is an array of `{"type": "x509" or "sha256", "value": [base64, …]}`, PK one such object. Each
//! certificate becomes a list of its own, all digests of an object one list, and the owner of every entry is
//! Microsoft. Beside them may stand `MokList` and `MokListX`, of the same form: lists of shim's, which are no part of
//! the configuration and are told. Settings that build upon a template of the service are refused: its bytes are not here. Names of
//! members may have any letter case. A document that holds resources, as a template does, is looked through
//! for the one with UEFI settings.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use serde_json::value::RawValue;

use super::config::{Database, MAX_FILE_BYTES, MAX_VARIABLE_BYTES, Rules, UefiConfig};
use super::json::{self, Members, Problem};
use super::signature_list::{self, SignatureList};
use super::{authority, guid};

/// Most digests that the service takes in one set of settings.
pub const MAX_DIGESTS: usize = 256;

const DISK: &str = "Microsoft.Compute/disks";
const IMAGE_VERSION: &str = "Microsoft.Compute/galleries/images/versions";
const NO_TEMPLATE: &str = "NoSignatureTemplate";

/// Why there is no configuration in a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than 4 MiB.
    #[error("no description of an Azure disk: {len_bytes} bytes, which is more than 4 MiB")]
    FileTooLong {
        /// Length of the text.
        len_bytes: usize,
    },
    /// No JSON.
    #[error("no description of an Azure disk in JSON: {0}")]
    Json(String),
    /// A member stands twice.
    #[error("the member {0} stands twice in one object, perhaps in different letter case")]
    Twice(String),
    /// A member has another type.
    #[error("the member {0} is no {1}")]
    Not(String, &'static str),
    /// A member that must be there is not.
    #[error("no {0}: this describes no guest with UEFI settings of its own")]
    Missing(String),
    /// No resource, or not one alone, has UEFI settings.
    #[error("{0} resources with UEFI settings; one is needed")]
    Resources(usize),
    /// A resource of another kind.
    #[error("a resource of the type {0:?}; {DISK} and {IMAGE_VERSION} are known")]
    ResourceType(String),
    /// Entries are added to a template of the service.
    #[error(
        "the settings build upon signatures of the service ({}), whose bytes are not known here",
        .0.escape_debug()
    )]
    Template(String),
    /// No mode that is known.
    #[error("the signatureMode {0:?} is not known; only Replace can be computed")]
    Mode(String),
    /// A list of an unknown type.
    #[error("a list in {database} has the type {found:?}; x509 and sha256 are known")]
    ListType {
        /// The database.
        database: &'static str,
        /// What stands there.
        found: String,
    },
    /// A list without an entry.
    #[error("a list in {database} has no value")]
    NoValue {
        /// The database.
        database: &'static str,
    },
    /// A value is an expression of a template.
    #[error("the template expression {0:?} is no value: expand the template first")]
    Expression(String),
    /// A value is no base64.
    #[error("a value in {database} is no base64: {problem}")]
    Base64 {
        /// The database.
        database: &'static str,
        /// What is wrong with it.
        problem: base64::DecodeError,
    },
    /// A certificate cannot be read.
    #[error("a value in {database} is {problem}")]
    Certificate {
        /// The database.
        database: &'static str,
        /// What is wrong with it.
        problem: authority::NoCertificate,
    },
    /// A digest has another length.
    #[error("a digest in {database} has {len_bytes} bytes; SHA-256 has 32")]
    Digest {
        /// The database.
        database: &'static str,
        /// Its length.
        len_bytes: usize,
    },
    /// Entries that do not form a list.
    #[error("a list in {database} cannot be made: {problem}")]
    List {
        /// The database.
        database: &'static str,
        /// Why not.
        problem: signature_list::Error,
    },
    /// No PK beside `NoSignatureTemplate`.
    #[error("no PK, and {NO_TEMPLATE} gives the guest none: Secure Boot would be off")]
    NoPk,
    /// More than 1 MiB.
    #[error("{database} has {len_bytes} bytes, which is more than 1 MiB")]
    VariableTooLong {
        /// The database.
        database: &'static str,
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

/// A description that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromAzure {
    /// The databases; the firmware of Azure measures that it calls the boot option's program.
    pub config: UefiConfig,
    /// Digests in all databases; the service refuses more than [`MAX_DIGESTS`].
    pub digests: usize,
    /// Which of shim's lists the description sets (`MokList`, `MokListX`), as it writes their names. What shim trusts
    /// by them is not predicted.
    pub shims_lists: Vec<String>,
    /// Members among the databases that are none.
    pub unknown_members: Vec<String>,
    /// Members beside the signatures, each a variable that the description sets. PCR 4, 7 and 12 do not
    /// measure them.
    pub other_variables: Vec<String>,
}

/// Reads a description.
pub fn from_json(text: &[u8], rules: Rules) -> Result<FromAzure, Error> {
    if text.len() > MAX_FILE_BYTES {
        return Err(Error::FileTooLong {
            len_bytes: text.len(),
        });
    }
    let document =
        Members::document(text, rules).map_err(|error| Error::Json(error.to_string()))?;
    if rules == Rules::Reference {
        return disk(&document, rules);
    }
    match document.array::<Box<RawValue>>("resources", "array", rules)? {
        None => resource(&document, rules),
        Some(resources) => {
            let resources: Vec<Members> = resources
                .iter()
                .filter_map(|resource| serde_json::from_str(resource.get()).ok())
                .filter(has_settings)
                .collect();
            let [one] = &resources[..] else {
                return Err(Error::Resources(resources.len()));
            };
            resource(one, rules)
        }
    }
}

/// True where a resource of a template has UEFI settings of either form.
fn has_settings(resource: &Members) -> bool {
    let object = |members: &Members, name: &str| members.object(name, Rules::Ours).ok().flatten();
    object(resource, "properties").is_some_and(|properties| {
        object(&properties, "uefiSettings").is_some()
            || object(&properties, "securityProfile")
                .is_some_and(|profile| object(&profile, "uefiSettings").is_some())
    })
}

fn resource(resource: &Members, rules: Rules) -> Result<FromAzure, Error> {
    match resource.text("type", rules)? {
        Some(kind) if kind == IMAGE_VERSION => image_version(resource, rules),
        // A request's body for an image version does not repeat its type; its settings stand elsewhere.
        None if is_image_version(resource) => image_version(resource, rules),
        _ => disk(resource, rules),
    }
}

fn is_image_version(resource: &Members) -> bool {
    let properties = resource.object("properties", Rules::Ours).ok().flatten();
    properties.is_some_and(|properties| {
        properties
            .get("securityProfile", Rules::Ours)
            .is_ok_and(|profile| profile.is_some())
    })
}

fn disk(resource: &Members, rules: Rules) -> Result<FromAzure, Error> {
    match resource.text("type", rules)? {
        Some(kind) if kind == DISK => {}
        other => return Err(Error::ResourceType(other.unwrap_or_default())),
    }
    let settings = match resource.object("properties", rules)? {
        Some(properties) => properties.object("uefiSettings", rules)?,
        None => None,
    };
    let Some(settings) = settings else {
        return missing("properties.uefiSettings", rules);
    };
    match settings.text("signatureMode", rules)?.unwrap_or_default() {
        mode if mode == "Replace" => {}
        mode if mode == "Append" || mode == "Default" => {
            return Err(Error::Template(format!("signatureMode {mode}")));
        }
        mode => return Err(plain(mode, Error::Mode)),
    }
    let Some(signatures) = settings.object("signatures", rules)? else {
        return missing("properties.uefiSettings.signatures", rules);
    };
    let other_variables = settings.others(&["signatureMode", "signatures"]);
    databases(&signatures, rules, other_variables)
}

fn image_version(resource: &Members, rules: Rules) -> Result<FromAzure, Error> {
    let missing = |name: &str| Error::Missing(name.to_owned());
    let properties = resource
        .object("properties", rules)?
        .ok_or_else(|| missing("properties"))?;
    let profile = properties
        .object("securityProfile", rules)?
        .ok_or_else(|| missing("properties.securityProfile"))?;
    let settings = profile
        .object("uefiSettings", rules)?
        .ok_or_else(|| missing("properties.securityProfile.uefiSettings"))?;
    let templates = settings
        .array::<String>("signatureTemplateNames", "array of texts", rules)?
        .unwrap_or_default();
    if templates != [NO_TEMPLATE] {
        let names = if templates.is_empty() {
            "no template named, hence the default".to_owned()
        } else {
            templates.join(", ")
        };
        return Err(
            match templates.into_iter().find(|name| name.starts_with('[')) {
                Some(expression) => Error::Expression(expression),
                None => Error::Template(format!("signatureTemplateNames: {names}")),
            },
        );
    }
    let signatures = settings
        .object("additionalSignatures", rules)?
        .ok_or_else(|| missing("properties.securityProfile.uefiSettings.additionalSignatures"))?;
    let other_variables = settings.others(&["signatureTemplateNames", "additionalSignatures"]);
    let found = databases(&signatures, rules, other_variables)?;
    if found.config.content(Database::Pk).is_empty() {
        return Err(Error::NoPk);
    }
    Ok(found)
}

/// The reference takes a description without settings for one of a guest without databases.
fn missing(name: &str, rules: Rules) -> Result<FromAzure, Error> {
    match rules {
        Rules::Ours => Err(Error::Missing(name.to_owned())),
        Rules::Reference => Ok(FromAzure {
            config: UefiConfig::default(),
            digests: 0,
            shims_lists: Vec::new(),
            unknown_members: Vec::new(),
            other_variables: Vec::new(),
        }),
    }
}

/// A text that is an expression of a template is another error than a wrong text.
fn plain(text: String, wrong: impl FnOnce(String) -> Error) -> Error {
    if text.starts_with('[') {
        Error::Expression(text)
    } else {
        wrong(text)
    }
}

fn databases(
    signatures: &Members,
    rules: Rules,
    other_variables: Vec<String>,
) -> Result<FromAzure, Error> {
    let mut config = UefiConfig::default();
    let mut digests = 0_usize;
    for database in Database::ALL {
        let name = database.name();
        let lists = match database {
            Database::Pk => signatures.object(name, rules)?.into_iter().collect(),
            _ => signatures
                .array::<Members>(name, "array of objects", rules)?
                .unwrap_or_default(),
        };
        if lists.is_empty() {
            continue;
        }
        let mut content = Vec::new();
        for list in lists {
            for list in entries(&list, name, rules)? {
                if list.kind == signature_list::SHA256 {
                    digests = digests.saturating_add(list.entries.len());
                }
                content.extend(list.to_bytes());
            }
        }
        if content.len() > MAX_VARIABLE_BYTES {
            return Err(Error::VariableTooLong {
                database: name,
                len_bytes: content.len(),
            });
        }
        config.set(database, Some(content));
    }
    let (shims_lists, unknown_members) = signatures
        .others(&Database::ALL.map(Database::name))
        .into_iter()
        .partition(|name| is_shims_list(name));
    Ok(FromAzure {
        config,
        digests,
        shims_lists,
        unknown_members,
        other_variables,
    })
}

fn is_shims_list(name: &str) -> bool {
    let names = ["MokList", "MokListX"];
    names.iter().any(|list| list.eq_ignore_ascii_case(name))
}

/// The lists that one `{"type": …, "value": […]}` stands for.
fn entries(
    list: &Members,
    database: &'static str,
    rules: Rules,
) -> Result<Vec<SignatureList>, Error> {
    let kind = list.text("type", rules)?.unwrap_or_default();
    if kind != "x509" && kind != "sha256" {
        return Err(plain(kind, |found| Error::ListType { database, found }));
    }
    let mut values = Vec::new();
    for value in list
        .array::<String>("value", "array of texts", rules)?
        .unwrap_or_default()
    {
        if value.starts_with('[') {
            return Err(Error::Expression(value));
        }
        values.push(json::bytes(&value).map_err(|problem| Error::Base64 { database, problem })?);
    }
    if rules == Rules::Ours {
        if values.is_empty() {
            return Err(Error::NoValue { database });
        }
        check(&kind, &values, database)?;
    }
    let made = |list: Result<_, _>| list.map_err(|problem| Error::List { database, problem });
    if kind == "sha256" {
        let digests = values.iter().map(Vec::as_slice);
        let list = made(SignatureList::new(
            signature_list::SHA256,
            guid::MICROSOFT,
            digests,
        ))?;
        return Ok(vec![list]);
    }
    values
        .iter()
        .map(|der| made(SignatureList::x509(guid::MICROSOFT, der)))
        .collect()
}

fn check(kind: &str, values: &[Vec<u8>], database: &'static str) -> Result<(), Error> {
    for value in values {
        if kind == "x509" {
            authority::describe(value)
                .map_err(|problem| Error::Certificate { database, problem })?;
        } else if value.len() != 32 {
            return Err(Error::Digest {
                database,
                len_bytes: value.len(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> String {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/data/certificates/"
        );
        json::text(&std::fs::read(format!("{folder}microsoft-uefi-ca-2011.der")).unwrap())
    }

    fn digest(byte: u8) -> String {
        json::text(&[byte; 32])
    }

    /// A disk with these members in `signatures`.
    fn disk(signatures: &str) -> String {
        format!(
            r#"{{"type":"Microsoft.Compute/disks","properties":{{"uefiSettings":{{"signatureMode":"Replace","signatures":{{{signatures}}}}}}}}}"#
        )
    }

    fn image_version(settings: &str) -> String {
        format!(
            r#"{{"type":"Microsoft.Compute/galleries/images/versions","properties":{{"securityProfile":{{"uefiSettings":{{{settings}}}}}}}}}"#
        )
    }

    fn read(text: &str) -> FromAzure {
        from_json(text.as_bytes(), Rules::Ours).unwrap()
    }

    fn message(text: &str) -> String {
        from_json(text.as_bytes(), Rules::Ours)
            .unwrap_err()
            .to_string()
    }

    fn reference(text: &str) -> Result<FromAzure, Error> {
        from_json(text.as_bytes(), Rules::Reference)
    }

    #[test]
    fn each_certificate_is_a_list_and_digests_share_one() {
        let (a, one, two) = (certificate(), digest(1), digest(2));
        let two_values = read(&disk(&format!(
            r#""DB":[{{"type":"x509","value":["{a}","{a}"]}}],"dbx":[{{"TYPE":"sha256","Value":["{one}","{two}"]}}]"#
        )));
        let two_objects = read(&disk(&format!(
            r#""db":[{{"type":"x509","value":["{a}"]}},{{"type":"x509","value":["{a}"]}}],"dbx":[{{"type":"sha256","value":["{one}","{two}"]}}],"other":1"#
        )));
        assert_eq!(two_objects.unknown_members, ["other"]);
        assert_eq!(
            two_values,
            FromAzure {
                unknown_members: Vec::new(),
                ..two_objects
            }
        );
        let sizes = |database| {
            let lists = two_values.config.lists(database).unwrap();
            lists
                .iter()
                .map(|list| list.entries.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(Database::Db), [1, 1]);
        assert_eq!(sizes(Database::Dbx), [2]);
        assert_eq!(two_values.config.get(Database::Pk), None);
        assert_eq!(two_values.digests, 2);
        let owners = two_values
            .config
            .lists(Database::Dbx)
            .unwrap()
            .remove(0)
            .entries;
        assert!(owners.iter().all(|entry| entry.owner == guid::MICROSOFT));
    }

    #[test]
    fn the_value_of_a_certificate_is_taken_as_it_is_by_the_reference() {
        let found = reference(&disk(r#""db":[{"type":"x509","value":["AAEC"]}]"#)).unwrap();
        assert_eq!(
            hex::encode(found.config.content(Database::Db)),
            "a159c0a5e494a74a87b5ab155c2bf0722f0000000000000013000000bd9afa775903324dbd6028f4e78f784b000102"
        );
        assert!(
            message(&disk(r#""db":[{"type":"x509","value":["AAEC"]}]"#))
                .starts_with("a value in db is not exactly one certificate in DER: ")
        );
    }

    #[test]
    fn types_and_modes_are_exact() {
        let a = certificate();
        for (text, expected) in [
            (
                disk(&format!(r#""PK":[{{"type":"x509","value":["{a}"]}}]"#)),
                "the member PK is no object",
            ),
            (
                disk(&format!(r#""db":{{"type":"x509","value":["{a}"]}}"#)),
                "the member db is no array of objects",
            ),
            (
                disk(&format!(r#""db":[{{"type":"x509","value":"{a}"}}]"#)),
                "the member value is no array of texts",
            ),
            (
                disk(&format!(r#""db":[{{"type":"X509","value":["{a}"]}}]"#)),
                "a list in db has the type \"X509\"; x509 and sha256 are known",
            ),
            (
                disk(r#""db":[{"type":"x509","value":["-_8="]}]"#),
                "a value in db is no base64: Invalid symbol 45, offset 0.",
            ),
            (
                disk("").replace("disks", "Disks"),
                "a resource of the type \"Microsoft.Compute/Disks\"; Microsoft.Compute/disks and Microsoft.Compute/galleries/images/versions are known",
            ),
            (
                disk("").replace("Replace", "replace"),
                "the signatureMode \"replace\" is not known; only Replace can be computed",
            ),
            (
                disk("").replace("\"signatureMode\":\"Replace\",", ""),
                "the signatureMode \"\" is not known; only Replace can be computed",
            ),
            (
                disk("").replace("Replace", "Append"),
                "the settings build upon signatures of the service (signatureMode Append), whose bytes are not known here",
            ),
            (
                disk("").replace("Replace", "Default"),
                "the settings build upon signatures of the service (signatureMode Default), whose bytes are not known here",
            ),
            (
                "[]".to_owned(),
                "no description of an Azure disk in JSON: invalid type: sequence, expected an object at line 1 column 0",
            ),
        ] {
            assert_eq!(message(&text), expected, "{text}");
            assert!(reference(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_reference_overlooks_is_refused() {
        let (one, short) = (digest(1), json::text(&[1; 31]));
        for (text, expected) in [
            (
                r#"{"type":"Microsoft.Compute/disks"}"#.to_owned(),
                "no properties.uefiSettings: this describes no guest with UEFI settings of its own",
            ),
            (
                disk("").replace("uefiSettings", "other"),
                "no properties.uefiSettings: this describes no guest with UEFI settings of its own",
            ),
            (
                disk("").replace("signatures", "other"),
                "no properties.uefiSettings.signatures: this describes no guest with UEFI settings of its own",
            ),
            (
                disk(r#""dbx":[{"type":"sha256","value":[]}]"#),
                "a list in dbx has no value",
            ),
            (
                disk(r#""db":[{"type":"x509","value":[]}]"#),
                "a list in db has no value",
            ),
            (
                disk(&format!(
                    r#""dbx":[{{"type":"sha256","value":["{short}"]}}]"#
                )),
                "a digest in dbx has 31 bytes; SHA-256 has 32",
            ),
            (
                disk(r#""db":[],"DB":[]"#),
                "the member db stands twice in one object, perhaps in different letter case",
            ),
        ] {
            assert_eq!(message(&text), expected, "{text}");
            assert!(reference(&text).is_ok(), "{text}");
        }
        let mixed = disk(&format!(
            r#""dbx":[{{"type":"sha256","value":["{one}","{short}"]}}]"#
        ));
        assert_eq!(
            reference(&mixed).unwrap_err().to_string(),
            "a list in dbx cannot be made: the entries of one signature list have one size, but there are 32 bytes and 31 bytes"
        );
        let empty = reference(&disk(r#""dbx":[{"type":"sha256","value":[]}]"#)).unwrap();
        assert_eq!(empty.config.content(Database::Dbx).len(), 28);
    }

    #[test]
    fn an_image_version_says_the_same_in_other_words() {
        let (a, one) = (certificate(), digest(1));
        let additional = |template: &str| {
            image_version(&format!(
                r#""signatureTemplateNames":[{template}],"additionalSignatures":{{"pk":{{"type":"x509","value":["{a}"]}},"dbx":[{{"type":"sha256","value":["{one}"]}}]}}"#
            ))
        };
        let same = read(&disk(&format!(
            r#""PK":{{"type":"x509","value":["{a}"]}},"dbx":[{{"type":"sha256","value":["{one}"]}}]"#
        )));
        let whole = additional("\"NoSignatureTemplate\"");
        assert_eq!(read(&whole), same);
        assert_eq!(
            read(&whole.replacen(
                "\"type\":\"Microsoft.Compute/galleries/images/versions\",",
                "",
                1
            )),
            same
        );
        let template = format!(
            r#"{{"resources":[{{"type":"Microsoft.Compute/virtualMachines","properties":{{}}}},{whole}]}}"#
        );
        assert_eq!(read(&template), same);
        assert_eq!(
            message(&additional("\"MicrosoftUefiCertificateAuthorityTemplate\"")),
            "the settings build upon signatures of the service (signatureTemplateNames: MicrosoftUefiCertificateAuthorityTemplate), whose bytes are not known here"
        );
        assert_eq!(
            message(&additional("")),
            "the settings build upon signatures of the service (signatureTemplateNames: no template named, hence the default), whose bytes are not known here"
        );
        assert_eq!(
            message(&whole.replace("\"pk\"", "\"x\"")),
            "no PK, and NoSignatureTemplate gives the guest none: Secure Boot would be off"
        );
        assert_eq!(
            message(&whole.replace("additionalSignatures", "x")),
            "no properties.securityProfile.uefiSettings.additionalSignatures: this describes no guest with UEFI settings of its own"
        );
    }

    #[test]
    fn one_resource_of_a_template_has_settings() {
        assert_eq!(
            message(r#"{"resources":[]}"#),
            "0 resources with UEFI settings; one is needed"
        );
        let two = format!(r#"{{"resources":[{0},{0}]}}"#, disk(""));
        assert_eq!(
            message(&two),
            "2 resources with UEFI settings; one is needed"
        );
    }

    #[test]
    fn expressions_of_a_template_are_to_be_expanded_first() {
        let expected =
            "the template expression \"[parameters('x')]\" is no value: expand the template first";
        for text in [
            disk(r#""db":[{"type":"x509","value":["[parameters('x')]"]}]"#),
            disk(r#""db":[{"type":"[parameters('x')]","value":[]}]"#),
            disk("").replace("Replace", "[parameters('x')]"),
            image_version(r#""signatureTemplateNames":["[parameters('x')]"]"#),
        ] {
            assert_eq!(message(&text), expected, "{text}");
        }
    }

    #[test]
    fn digests_are_counted_and_sizes_have_limits() {
        let digests = |count: usize| {
            let values = vec![format!("\"{}\"", digest(1)); count].join(",");
            disk(&format!(
                r#""dbx":[{{"type":"sha256","value":[{values}]}}]"#
            ))
        };
        assert_eq!(read(&digests(257)).digests, 257);
        assert_eq!(
            message(&digests(21846)),
            "dbx has 1048636 bytes, which is more than 1 MiB"
        );
        assert_eq!(
            message(&" ".repeat(MAX_FILE_BYTES + 1)),
            "no description of an Azure disk: 4194305 bytes, which is more than 4 MiB"
        );
    }

    #[test]
    fn other_variables_are_named() {
        let with = disk("").replacen(
            "\"signatures\"",
            "\"Boot0001\":{\"guid\":\"\"},\"signatures\"",
            1,
        );
        assert_eq!(read(&with).other_variables, ["Boot0001"]);
    }
}
