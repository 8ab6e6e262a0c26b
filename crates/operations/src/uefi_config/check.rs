//! What will bite, as far as the databases themselves tell.

use uuid::Uuid;

use super::Options;
use super::remark::Warning;
use firmware::authority::{self, Microsoft};
use firmware::config::{Database, UefiConfig};
use firmware::{Certificate, SignatureList, guid, signature_list};

/// Where the owners of the entries come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owners {
    /// From a guest, or from the one who sets them: they are what they are.
    Exact,
    /// From whoever put the files together, or from our guess.
    PutTogether,
}

/// The warnings about a configuration. A database that cannot be read has none.
pub(super) fn warnings(config: &UefiConfig, options: &Options, owners: Owners) -> Vec<Warning> {
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
            if owners == Owners::PutTogether {
                of_owners(database, &lists, &mut warnings);
            }
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
    if database == Database::Db && !options.secure_boot_is_off {
        let holds = |wanted| {
            let certificates = lists
                .iter()
                .filter(|list| list.kind == signature_list::X509);
            let mut entries = certificates.flat_map(|list| &list.entries);
            entries.any(|entry| microsoft(&entry.data) == Some(wanted))
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
        match Certificate::parse_first(&entry.data) {
            Ok((_, 0)) => {}
            Ok(_) => warnings.push(Warning::BytesBehindCertificate {
                database,
                offset_bytes: entry.offset_bytes,
            }),
            Err(_) => warnings.push(Warning::NoCertificate {
                database,
                offset_bytes: entry.offset_bytes,
            }),
        }
    }
}

/// Which of Microsoft's certificates an entry begins with.
fn microsoft(entry: &[u8]) -> Option<Microsoft> {
    let (certificate, _) = Certificate::parse_first(entry).ok()?;
    authority::microsoft(certificate.as_der())
}

/// Owners that no guest is known to have.
fn of_owners(database: Database, lists: &[SignatureList], warnings: &mut Vec<Warning>) {
    let certificates = lists
        .iter()
        .filter(|list| list.kind == signature_list::X509);
    for entry in certificates.flat_map(|list| &list.entries) {
        let is_known = [guid::MICROSOFT, guid::GOOGLE].contains(&entry.owner);
        if microsoft(&entry.data).is_none() || is_known {
            continue;
        }
        if let Ok(certificate) = authority::describe(&entry.data) {
            warnings.push(Warning::MicrosoftOwner {
                database,
                subject: certificate.subject,
                owner: entry.owner,
            });
        }
    }
    let mut entries = lists.iter().flat_map(|list| &list.entries);
    if entries.any(|entry| entry.owner == Uuid::nil()) {
        warnings.push(Warning::ZeroOwner { database });
    }
}
