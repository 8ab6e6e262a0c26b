//! The configuration in a variable store of edk2.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Error, Options, Reading, Warning, other_format};
use base::storage::{self, FileStorage};
use firmware::config::{Database, MAX_VARIABLE_BYTES, UefiConfig};
use firmware::foreign::Format;
use firmware::variable_store::{self, SecureBoot, VariableStore};
use firmware::{Record, State};

/// Reads a store, raw or in a qcow2 image.
pub(super) fn read(path: &Path, options: &Options) -> Result<Reading, Error> {
    let store = open(path).map_err(|error| by_name(path, error))?;
    let mut warnings = Vec::new();
    match (store.secure_boot(), options.secure_boot_is_off) {
        (SecureBoot::On, false) | (SecureBoot::SetupMode | SecureBoot::SwitchedOff, true) => {}
        (SecureBoot::On, true) => warnings.push(Warning::SecureBootIsOn),
        (SecureBoot::SetupMode, false) if !store.records().iter().any(Record::is_live) => {
            return Err(store_error(path, variable_store::Error::Blank));
        }
        (state, false) => {
            return Err(Error::SecureBootOff {
                path: path.to_owned(),
                state,
            });
        }
    }

    let mut config = UefiConfig::default();
    for database in Database::ALL {
        let Some(record) = store.variable(database.name(), database.vendor()) else {
            continue;
        };
        if record.state == State::InDeleteTransition {
            warnings.push(Warning::InTransition(database));
        }
        let len_bytes = record.data.len();
        if len_bytes > MAX_VARIABLE_BYTES {
            return Err(Error::VariableTooLong {
                path: path.to_owned(),
                database,
                len_bytes,
            });
        }
        config.set(database, Some(record.data.clone()));
    }
    Ok(Reading {
        config,
        notes: Vec::new(),
        warnings,
    })
}

/// A file that is no store is called by its name, where it has one.
fn by_name(path: &Path, error: Error) -> Error {
    match error {
        Error::Store {
            problem: variable_store::Error::NoVolume,
            ..
        } => match other_format(path) {
            Some(found) if !matches!(found, Format::Edk2Store | Format::Qcow2) => {
                Error::OtherFormat {
                    path: path.to_owned(),
                    found,
                    wanted: "--ovmf-vars",
                }
            }
            _ => error,
        },
        error => error,
    }
}

/// The records of a store, raw or in a qcow2 image.
fn open(path: &Path) -> Result<VariableStore, Error> {
    let unreadable = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = image::open_regular(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let file = FileStorage::new(file).map_err(|error| store_error(path, error.into()))?;
    let file = Arc::new(file);
    let disk = image::open_qcow2(Arc::clone(&file)).map_err(|problem| match problem {
        image::Error::Storage(error) => qcow2_error(path, error),
        problem => Error::Qcow2 {
            path: path.to_owned(),
            problem,
        },
    })?;
    let Some(disk) = disk else {
        return VariableStore::read(&file).map_err(|problem| store_error(path, problem));
    };
    VariableStore::read(&disk).map_err(|problem| match problem {
        variable_store::Error::Storage(error) => qcow2_error(path, error),
        problem => store_error(path, problem),
    })
}

/// A read of the disk in a qcow2 image failed: by the operating system, or because the image leads nowhere.
fn qcow2_error(path: &Path, error: storage::Error) -> Error {
    if error.io().and_then(io::Error::raw_os_error).is_some() {
        return store_error(path, error.into());
    }
    Error::Qcow2Damaged {
        path: path.to_owned(),
        problem: error,
    }
}

/// What the operating system said keeps its own line below the message.
fn store_error(path: &Path, problem: variable_store::Error) -> Error {
    let path = path.to_owned();
    match problem {
        variable_store::Error::Storage(error) => Error::Read {
            path,
            source: io::Error::other(error),
        },
        problem => Error::Store { path, problem },
    }
}
