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
mod tests;
