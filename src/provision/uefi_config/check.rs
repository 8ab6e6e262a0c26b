//! What will bite, as far as the databases themselves tell.

use uuid::Uuid;

use super::Options;
use super::remark::Warning;
use crate::efi::authority::{self, Microsoft};
use crate::efi::config::{Database, UefiConfig};
use crate::efi::{SignatureList, guid, signature_list};

/// The warnings about a configuration. A database that cannot be read has none.
pub(super) fn warnings(config: &UefiConfig, options: &Options) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for database in Database::ALL {
        if config.content(database).is_empty() {
            if !options.secure_boot_is_off {
                warnings.push(Warning::EmptyDatabase(database));
            }
        } else if let Ok(lists) = config.lists(database) {
            for list in &lists {
                of_list(database, list, &mut warnings);
            }
            of_database(database, &lists, options, &mut warnings);
        }
    }
    warnings
}

fn of_database(
    database: Database,
    lists: &[SignatureList],
    options: &Options,
    warnings: &mut Vec<Warning>,
) {
    let entries = || lists.iter().flat_map(|list| &list.entries);
    if database == Database::Pk && entries().count() > 1 {
        warnings.push(Warning::SeveralPk(entries().count()));
    }
    if entries().any(|entry| entry.owner == Uuid::nil()) {
        warnings.push(Warning::ZeroOwner { database });
    }
    if database == Database::Db && !options.secure_boot_is_off {
        let holds = |wanted| {
            let certificates = lists
                .iter()
                .filter(|list| list.kind == signature_list::X509);
            let mut entries = certificates.flat_map(|list| &list.entries);
            entries.any(|entry| authority::microsoft(&entry.data) == Some(wanted))
        };
        match (holds(Microsoft::UefiCa2011), holds(Microsoft::UefiCa2023)) {
            (true, true) => {}
            (true, false) => warnings.push(Warning::Only2011),
            (false, true) => warnings.push(Warning::Only2023),
            (false, false) => warnings.push(Warning::NoMicrosoftCa),
        }
    }
}

fn of_list(database: Database, list: &SignatureList, warnings: &mut Vec<Warning>) {
    let Some(kind) = signature_list::type_name(list.kind) else {
        warnings.push(Warning::UnknownType {
            database,
            kind: list.kind,
        });
        return;
    };
    if list.kind == signature_list::X509 {
        of_certificates(database, list, warnings);
        return;
    }
    let Some(first) = list.entries.first() else {
        return;
    };
    match signature_list::type_data_bytes(list.kind) {
        Some(expected) if expected != first.data.len() => {
            let found = first.data.len();
            warnings.push(Warning::EntrySize {
                database,
                kind,
                found,
                expected,
            });
        }
        _ => {}
    }
    if list
        .entries
        .iter()
        .any(|entry| entry.data.iter().all(|byte| *byte == 0))
    {
        warnings.push(Warning::ZeroDigest { database });
    }
}

fn of_certificates(database: Database, list: &SignatureList, warnings: &mut Vec<Warning>) {
    if list.entries.len() > 1 && database == Database::Db {
        warnings.push(Warning::SeveralInOneList {
            database,
            count: list.entries.len(),
        });
    }
    for entry in &list.entries {
        let Ok(certificate) = authority::describe(&entry.data) else {
            warnings.push(Warning::NoCertificate {
                database,
                offset_bytes: entry.offset_bytes,
            });
            continue;
        };
        let is_microsofts = authority::microsoft(&entry.data).is_some();
        if is_microsofts && entry.owner != guid::MICROSOFT {
            let (subject, owner) = (certificate.subject, entry.owner);
            warnings.push(Warning::MicrosoftOwner {
                database,
                subject,
                owner,
            });
        }
    }
}
