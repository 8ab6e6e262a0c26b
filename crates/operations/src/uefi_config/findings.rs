//! What the databases hold, for people to read.

use uuid::Uuid;

use firmware::authority::{self, Date};
use firmware::config::{Database, UefiConfig};
use firmware::{SignatureList, guid, signature_list};

/// What a database holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which one.
    pub database: Database,
    /// Bytes of its content.
    pub len_bytes: usize,
    /// The content.
    pub lists: FoundLists,
}

/// The content of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundLists {
    /// Entries, in the order of the content.
    Lists(Vec<FoundEntries>),
    /// No signature lists; only under the reference's rules.
    Unreadable(signature_list::Error),
}

/// A certificate, or neighbouring entries of another type in one list with one owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundEntries {
    /// Name of their type, or its GUID.
    pub kind: String,
    /// Who put them there.
    pub owner: Uuid,
    /// Who that is, where it is known.
    pub owner_name: Option<&'static str>,
    /// How many.
    pub count: usize,
    /// Whose certificate it is and the last day of its validity; `None` for other types, and for what is
    /// no certificate.
    pub certificate: Option<(String, Date)>,
}

/// What each database of a configuration holds.
pub(super) fn found(config: &UefiConfig) -> Vec<Found> {
    let lists = |database| match config.lists(database) {
        Ok(lists) => FoundLists::Lists(lists.iter().flat_map(entries).collect()),
        Err(problem) => FoundLists::Unreadable(problem),
    };
    Database::ALL
        .map(|database| Found {
            database,
            len_bytes: config.content(database).len(),
            lists: lists(database),
        })
        .into()
}

fn entries(list: &SignatureList) -> Vec<FoundEntries> {
    let kind = signature_list::type_name(list.kind);
    let kind = kind.map_or_else(|| list.kind.to_string(), str::to_owned);
    let mut found: Vec<FoundEntries> = Vec::new();
    for entry in &list.entries {
        let is_certificate = list.kind == signature_list::X509;
        match found.last_mut() {
            Some(before) if !is_certificate && before.owner == entry.owner => before.count += 1,
            _ => found.push(FoundEntries {
                kind: kind.clone(),
                owner: entry.owner,
                owner_name: guid::owner_name(entry.owner),
                count: 1,
                certificate: authority::describe(&entry.data)
                    .ok()
                    .filter(|_| is_certificate)
                    .map(|certificate| (certificate.subject, certificate.valid_to)),
            }),
        }
    }
    found
}
