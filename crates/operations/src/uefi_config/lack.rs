//! What a description lacks that every guest has whose Secure Boot is on.
//!
//! Without a platform key firmware is in setup mode and verifies nothing (UEFI 2.10, section 32.3). KEK and dbx may be empty in
//! such a guest, and so may db: it starts nothing then, which the prediction says of each program.

use super::Source;
use firmware::config::{Database, UefiConfig};

/// Where the platform key is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// In a directory of signature lists and certificates: no file, or files without an entry.
    File {
        /// True where there is a file.
        is_there: bool,
    },
    /// In a copy of efivarfs.
    Copy,
    /// In Azure's description.
    Description,
    /// In `uefi-config.json`.
    Member,
}

impl Lack {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::File { is_there: true } => "the files of PK have no entry",
            Self::File { is_there: false } => "no file is the guest's PK",
            Self::Copy => "the file of PK is missing or empty",
            Self::Description => "the description sets no PK",
            Self::Member => "PK is empty",
        }
    }

    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::File { .. } => {
                "put the PK of the guest there, as PK.esl, PK.auth or PK.pem; --secure-boot off describes a guest without one"
            }
            Self::Copy => {
                "copy PK-8be4df61-93ca-11d2-aa0d-00e098032b8c from the guest as well; --secure-boot off describes a guest without one"
            }
            Self::Description => {
                "set the PK as well, or run create-uefi-config --efivars in a guest that was made so; --secure-boot off describes a guest without one"
            }
            Self::Member => {
                "describe the guest again with create-uefi-config, where it has a PK; --secure-boot off is for a guest without one"
            }
        }
    }
}

/// What of the platform key is missing; `None` where there is one.
pub(super) fn first(source: &Source, config: &UefiConfig) -> Option<Lack> {
    let content = config.get(Database::Pk);
    let has_entry = || {
        let lists = config.lists(Database::Pk).unwrap_or_default();
        lists.iter().any(|list| !list.entries.is_empty())
    };
    match source {
        // Its own reader tells by the PK whether Secure Boot is on.
        Source::OvmfVars(_) => None,
        // What a guest's own firmware has taken counts as it is.
        Source::Efivars(_) => content.is_none_or(<[u8]>::is_empty).then_some(Lack::Copy),
        _ if has_entry() => None,
        Source::Directory(_) => Some(Lack::File {
            is_there: content.is_some(),
        }),
        Source::AzDiskProfile(_) => Some(Lack::Description),
        Source::Json(_) => Some(Lack::Member),
    }
}
