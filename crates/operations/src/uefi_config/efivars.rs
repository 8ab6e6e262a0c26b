//! The configuration in efivarfs, or in a copy of it.
//!
//! The kernel makes a file's content anew for each read, so a file is read by one call.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Error, Note, Options, Reading, Warning, names_in};
use firmware::config::{Database, MAX_VARIABLE_BYTES, UefiConfig};
use firmware::efivarfs::{self, ATTRIBUTES_BYTES, Content};
use firmware::guid;
use firmware::variable_store::SecureBoot;
use image::open_regular;
use uuid::Uuid;

/// Shim's variables that an operator should know of.
const SHIM_VARIABLES: [&str; 4] = ["MokListRT", "MokListXRT", "MokListTrustedRT", "SbatLevelRT"];

/// True for the name of a variable's file.
pub(super) fn is_read(name: &OsStr) -> bool {
    let vendor = |name: &str| name.get(name.len().checked_sub(36)?..).map(str::to_owned);
    let vendor = name.to_str().and_then(vendor);
    vendor.is_some_and(|vendor| Uuid::try_parse(&vendor).is_ok())
}

/// Reads a directory of files `NAME-GUID`.
pub(super) fn read(folder: &Path, options: &Options) -> Result<Reading, Error> {
    let names = names_in(folder, "--efivars")?;
    let mut read = Reading::default();
    let mut is_there = false;
    for database in Database::ALL {
        let Some(path) = find(folder, &names, database.name(), database.vendor())? else {
            continue;
        };
        is_there = true;
        let content =
            match efivarfs::content(&read_at_once(&path)?).map_err(|problem| Error::Attributes {
                path: path.clone(),
                problem,
            })? {
                Content::Absent => continue,
                Content::Variable { data, .. } => data,
                Content::BareList(data) => {
                    read.notes.push(Note::BareList(path.display().to_string()));
                    data
                }
            };
        read.config.set(database, Some(content));
    }
    if !is_there && !options.secure_boot_is_off {
        return Err(Error::NoVariables {
            path: folder.to_owned(),
        });
    }
    if !options.secure_boot_is_off
        && is_one(folder, &names, "SetupMode")? == Some(true)
        && !read.config.content(Database::Pk).is_empty()
    {
        return Err(Error::SetupMode {
            path: folder.to_owned(),
        });
    }
    match secure_boot(folder, &names, &read.config)? {
        Some(SecureBoot::On) if options.secure_boot_is_off => {
            read.warnings.push(Warning::SecureBootIsOn);
        }
        None | Some(SecureBoot::On) => {}
        Some(_) if options.secure_boot_is_off => {}
        Some(state) => {
            return Err(Error::SecureBootOff {
                path: folder.to_owned(),
                state,
            });
        }
    }
    let of_shim: Vec<_> = SHIM_VARIABLES
        .into_iter()
        .filter(|name| matches!(find(folder, &names, name, guid::SHIM_LOCK), Ok(Some(_))))
        .map(str::to_owned)
        .collect();
    if !of_shim.is_empty() {
        read.notes.push(Note::ShimVariables(of_shim));
    }
    Ok(read)
}

/// The one file of a variable.
fn find(
    folder: &Path,
    names: &[OsString],
    name: &str,
    vendor: Uuid,
) -> Result<Option<PathBuf>, Error> {
    let mut found = names
        .iter()
        .filter(|file| file.to_str().and_then(efivarfs::split_file_name) == Some((name, vendor)));
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => Err(Error::TwoFiles {
            path: folder.join(first),
            other: second.display().to_string(),
        }),
        (first, _) => Ok(first.map(|first| folder.join(first))),
    }
}

/// Whether Secure Boot is on, as far as the files tell.
fn secure_boot(
    folder: &Path,
    names: &[OsString],
    config: &UefiConfig,
) -> Result<Option<SecureBoot>, Error> {
    let off = match config.content(Database::Pk) {
        [] => SecureBoot::SetupMode,
        _ => SecureBoot::SwitchedOff,
    };
    let is_on = is_one(folder, names, "SecureBoot")?;
    Ok(is_on.map(|is_on| if is_on { SecureBoot::On } else { off }))
}

/// Whether one of the firmware's own variables is 1; `None` where there is none.
fn is_one(folder: &Path, names: &[OsString], name: &str) -> Result<Option<bool>, Error> {
    let Some(path) = find(folder, names, name, guid::GLOBAL_VARIABLE)? else {
        return Ok(None);
    };
    Ok(match efivarfs::content(&read_at_once(&path)?) {
        Ok(Content::Variable { data, .. }) => Some(data == [1]),
        _ => None,
    })
}

/// The whole of a file by one call; a file that is not there is one without content.
fn read_at_once(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = match open_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut buffer = vec![0; MAX_VARIABLE_BYTES + ATTRIBUTES_BYTES + 1];
    let mut filled = 0;
    // A second call follows only where a file system other than efivarfs returned less than there is.
    loop {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                if file
                    .metadata()
                    .is_ok_and(|file| file.len() <= filled as u64)
                {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    if filled == buffer.len() {
        return Err(Error::FileTooLong {
            path: path.to_owned(),
        });
    }
    buffer.truncate(filled);
    Ok(buffer)
}
