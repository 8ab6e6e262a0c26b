//! How a configuration is written: each file whole or not at all.
//!
//! A file is written beside its name and renamed, so that a longer old file leaves no tail and a reader never
//! sees a half. What is no plain file (`/dev/stdout`, a pipe) is written as it is.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::Error;
use crate::efi::config::{Database, Rules, UefiConfig};

/// Mode of new files, before the process's mask.
const MODE: u32 = 0o644;

/// Where a configuration is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The file `uefi-config.json`.
    pub json: PathBuf,
    /// A directory for four files `PK`, `KEK`, `db`, `dbx` with the contents as they are.
    pub databases: Option<PathBuf>,
}

impl Output {
    /// Checks what can be checked before anything is read.
    pub(super) fn check(&self) -> Result<(), Error> {
        match &self.databases {
            Some(path) if !path.is_dir() => Err(Error::NoSaveDirectory { path: path.clone() }),
            _ => Ok(()),
        }
    }

    /// Writes the files. All are written before the first gets its name; the reference, whose rules may
    /// count, writes the configuration before it looks for the directory.
    pub(super) fn write(&self, config: &UefiConfig, rules: Rules) -> Result<(), Error> {
        let json = Staged::new(&self.json, config.to_json().as_bytes())?;
        if rules == Rules::Reference {
            json.publish()?;
            self.check()?;
            return self
                .stage_databases(config)?
                .into_iter()
                .try_for_each(Staged::publish);
        }
        let databases = self.stage_databases(config)?;
        json.publish()?;
        databases.into_iter().try_for_each(Staged::publish)
    }

    fn stage_databases(&self, config: &UefiConfig) -> Result<Vec<Staged>, Error> {
        let Some(folder) = &self.databases else {
            return Ok(Vec::new());
        };
        let stage = |database: Database| {
            Staged::new(&folder.join(database.name()), config.content(database))
        };
        Database::ALL.into_iter().map(stage).collect()
    }
}

/// A file that is written and has no name yet.
enum Staged {
    Beside {
        file: NamedTempFile,
        path: PathBuf,
    },
    AsItIs {
        file: File,
        path: PathBuf,
        bytes: Vec<u8>,
    },
}

impl Staged {
    fn new(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        Self::stage(path, bytes).map_err(|source| Error::Write {
            path: path.to_owned(),
            source,
        })
    }

    fn stage(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let old = match fs::metadata(path) {
            Ok(old) if !old.is_file() => {
                let file = OpenOptions::new().write(true).open(path)?;
                return Ok(Self::AsItIs {
                    file,
                    path: path.to_owned(),
                    bytes: bytes.to_vec(),
                });
            }
            Ok(old) => Some(old.permissions()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // Behind a symbolic link the file that it names is replaced, and the link stays.
        let path = if old.is_some() {
            fs::canonicalize(path)?
        } else {
            path.to_owned()
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::metadata(folder)?; // its error does not name a temporary file
        let mut file = tempfile::Builder::new()
            .prefix(".uefi-config-")
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(folder)?;
        if let Some(permissions) = old {
            file.as_file().set_permissions(permissions)?;
        }
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(Self::Beside { file, path })
    }

    fn publish(self) -> Result<(), Error> {
        match self {
            Self::Beside { file, path } => match file.persist(&path) {
                Ok(_) => Ok(()),
                Err(error) => Err(Error::Write {
                    path,
                    source: error.error,
                }),
            },
            Self::AsItIs {
                mut file,
                path,
                bytes,
            } => file
                .write_all(&bytes)
                .map_err(|source| Error::Write { path, source }),
        }
    }
}
