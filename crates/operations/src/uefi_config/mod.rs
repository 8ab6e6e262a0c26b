//! A guest's UEFI configuration, from whatever an operator has: `create-uefi-config`, and what `deploy` and
//! `predict` are given.
//!
//! A [`Source`] is a directory of signature lists, certificates and signed updates, a variable store of edk2,
//! efivarfs or a copy of it, Azure's description of a disk, or `uefi-config.json`. [`load`] reads it, refuses
//! what no guest has (UEFI 2.10, section 32: content that is no signature list, no variable at all, no PK, Secure
//! Boot switched off) and tells what was found and what will bite. [`Output::write`] writes the result. The host's
//! own variables are read only where the source says so. A description of a kind that is not read (AWS's `uefi-data`, a
//! store in JSON, `VMware`'s nvram) is refused by its name.

mod certificate_file;
mod check;
mod defect;
mod directory;
mod efivars;
mod error;
mod findings;
mod lack;
mod output;
mod remark;
mod store;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use uuid::Uuid;

pub use defect::Defect;
pub use error::Error;
pub use findings::{Found, FoundEntries, FoundLists};
pub use lack::Lack;
pub use output::Output;
pub use remark::{Note, Warning};

pub use firmware::config::{Database, Rules, UefiConfig};
pub use firmware::efivarfs::MOUNT_POINT as EFIVARFS;

use check::Owners;

use firmware::azure;
use firmware::config::MAX_FILE_BYTES;
use firmware::foreign::{self, Format};
use image::open_regular;

/// What describes a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory of files `PK.esl`, `KEK-*.esl`, `db-*.esl`, `dbx-*.esl`, certificates and updates.
    Directory(PathBuf),
    /// A variable store of edk2, raw or qcow2.
    OvmfVars(PathBuf),
    /// Linux's efivarfs, or a copy of it.
    Efivars(PathBuf),
    /// Azure's description of a disk or an image version.
    AzDiskProfile(PathBuf),
    /// `uefi-config.json`.
    Json(PathBuf),
}

impl Source {
    /// The file or directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::Directory(path)
            | Self::OvmfVars(path)
            | Self::Efivars(path)
            | Self::AzDiskProfile(path)
            | Self::Json(path) => path,
        }
    }

    /// The files that may be read of it, those of a directory by their names; none where it cannot be listed.
    pub fn files(&self) -> Vec<PathBuf> {
        let (folder, is_read): (_, fn(&OsStr) -> bool) = match self {
            Self::Directory(folder) => (folder, directory::is_read),
            Self::Efivars(folder) => (folder, efivars::is_read),
            Self::OvmfVars(path) | Self::AzDiskProfile(path) | Self::Json(path) => {
                return vec![path.clone()];
            }
        };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let read = entries.filter(|entry| is_read(&entry.file_name()));
        read.map(|entry| entry.path()).collect()
    }
}

/// How a source is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Whose rules count where ours and the reference's differ.
    pub rules: Rules,
    /// The guest's Secure Boot is off, and that is meant.
    pub secure_boot_is_off: bool,
    /// Owner of certificates in files that tell none, Microsoft's certificates among them.
    pub certificate_owner: Option<Uuid>,
    /// The guest's firmware does not measure that it calls the boot option's program; for sources that do
    /// not tell.
    pub omits_ready_to_boot_event: bool,
}

/// A configuration, and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: UefiConfig,
    /// What the databases hold, in the order of [`Database::ALL`].
    pub found: Vec<Found>,
    /// How the source was read, where that is not plain.
    pub notes: Vec<Note>,
    /// What will bite.
    pub warnings: Vec<Warning>,
}

/// What a source holds, before it is looked at as a whole.
#[derive(Debug, Default)]
struct Reading {
    config: UefiConfig,
    notes: Vec<Note>,
    warnings: Vec<Warning>,
}

/// Reads the configuration that a source describes.
pub fn load(source: &Source, options: &Options) -> Result<Loaded, Error> {
    let path = source.path();
    let Reading {
        mut config,
        notes,
        mut warnings,
    } = match source {
        Source::Directory(_) => directory::read(path, options)?,
        Source::OvmfVars(_) => store::read(path, options)?,
        Source::Efivars(_) => efivars::read(path, options)?,
        Source::AzDiskProfile(_) => az_disk_profile(path, options)?,
        Source::Json(_) => json(path, options)?,
    };
    config.omits_ready_to_boot_event |= options.omits_ready_to_boot_event;
    let found = findings::found(&config);
    if options.rules == Rules::Ours {
        for found in &found {
            if let FoundLists::Unreadable(problem) = found.lists {
                let (path, database) = (path.to_owned(), found.database);
                return Err(Error::Variable {
                    path,
                    database,
                    problem,
                });
            }
        }
        refuse_defects(source, &config)?;
        if config.is_empty() && !options.secure_boot_is_off {
            return Err(Error::Empty {
                path: path.to_owned(),
            });
        }
        if let (false, Some(lack)) = (options.secure_boot_is_off, lack::first(source, &config)) {
            return Err(Error::NoPlatformKey {
                path: path.to_owned(),
                lack,
            });
        }
    }
    let owners = match source {
        Source::Directory(_) => Owners::PutTogether,
        _ => Owners::Exact,
    };
    warnings.extend(check::warnings(&config, options, owners));
    Ok(Loaded {
        config,
        found,
        notes,
        warnings,
    })
}

/// Refuses what no firmware takes, in descriptions. What a guest's own store holds its firmware has.
fn refuse_defects(source: &Source, config: &UefiConfig) -> Result<(), Error> {
    if matches!(source, Source::OvmfVars(_) | Source::Efivars(_)) {
        return Ok(());
    }
    for database in Database::ALL {
        let lists = config.lists(database).unwrap_or_default();
        if let Some(defect) = defect::first(database, &lists) {
            return Err(Error::Entry {
                path: source.path().to_owned(),
                database: Some(database),
                defect,
            });
        }
    }
    Ok(())
}

/// Reads the configuration that a source describes, to be written to an output: `create-uefi-config`.
pub fn load_for(output: &Output, source: &Source, options: &Options) -> Result<Loaded, Error> {
    if options.rules == Rules::Ours {
        output.check()?;
    }
    load(source, options)
}

fn json(path: &Path, options: &Options) -> Result<Reading, Error> {
    let text = read_file(path)?;
    refuse_other_format(&text, Format::UefiConfig, "--uefi-config", path, options)?;
    let read = UefiConfig::from_json(&text, options.rules).map_err(|problem| Error::Json {
        path: path.to_owned(),
        problem,
    })?;
    let mut warnings = Vec::new();
    if !read.unknown_members.is_empty() {
        warnings.push(Warning::UnknownMembers(read.unknown_members));
    }
    Ok(Reading {
        config: read.config,
        notes: Vec::new(),
        warnings,
    })
}

fn az_disk_profile(path: &Path, options: &Options) -> Result<Reading, Error> {
    let text = read_file(path)?;
    refuse_other_format(&text, Format::Azure, "--az-disk-profile", path, options)?;
    let read = azure::from_json(&text, options.rules).map_err(|problem| Error::Azure {
        path: path.to_owned(),
        problem,
    })?;
    let mut warnings = Vec::new();
    if read.digests > azure::MAX_DIGESTS {
        warnings.push(Warning::TooManyDigests {
            count: read.digests,
        });
    }
    if !read.shims_lists.is_empty() {
        warnings.push(Warning::ShimsLists(read.shims_lists));
    }
    if !read.unknown_members.is_empty() {
        warnings.push(Warning::UnknownMembers(read.unknown_members));
    }
    let notes = match &read.other_variables[..] {
        [] => Vec::new(),
        _ => vec![Note::OtherVariables(read.other_variables)],
    };
    Ok(Reading {
        config: read.config,
        notes,
        warnings,
    })
}

/// Refuses a file that is another description than `option` takes, by its name. Under the reference's rules each file is
/// read as what it is given as.
fn refuse_other_format(
    bytes: &[u8],
    format: Format,
    option: &'static str,
    path: &Path,
    options: &Options,
) -> Result<(), Error> {
    match foreign::recognise(bytes) {
        Some(found) if found != format && options.rules == Rules::Ours => Err(Error::OtherFormat {
            path: path.to_owned(),
            found,
            wanted: option,
        }),
        _ => Ok(()),
    }
}

/// The names in a directory, in the order of their bytes.
fn names_in(folder: &Path, option: &'static str) -> Result<Vec<OsString>, Error> {
    let failed = |source| Error::Read {
        path: folder.to_owned(),
        source,
    };
    if folder.is_file() {
        let path = folder.to_owned();
        return Err(match other_format(folder) {
            Some(found) => Error::OtherFormat {
                path,
                found,
                wanted: option,
            },
            None => Error::NoDirectory { path },
        });
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    names.sort();
    Ok(names)
}

/// What the start of a file tells of its format; of one that cannot be read, nothing. What a pipe holds is left in it.
fn other_format(path: &Path) -> Option<Format> {
    let mut bytes = Vec::new();
    let file = open_regular(path).ok()?;
    file.take(MAX_FILE_BYTES as u64)
        .read_to_end(&mut bytes)
        .ok()?;
    foreign::recognise(&bytes)
}

/// The whole of a file of at most 4 MiB, which was named: a pipe is read to its end.
fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    read_opened(path, File::open(path))
}

/// The same for a file that lies in a directory.
fn read_regular_file(path: &Path) -> Result<Vec<u8>, Error> {
    read_opened(path, open_regular(path))
}

fn read_opened(path: &Path, opened: io::Result<File>) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let file = opened.map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Error::FileTooLong {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}
