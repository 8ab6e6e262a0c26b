//! How a configuration is written: each file whole or not at all.

use std::path::{Path, PathBuf};

use super::Error;
use crate::common::staged::Staged;
use firmware::config::{Database, Rules, UefiConfig};

/// Where a configuration is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The file `uefi-config.json`; `None` where the caller writes it elsewhere.
    pub json: Option<PathBuf>,
    /// A directory for four files `PK`, `KEK`, `db`, `dbx` with the contents as they are.
    pub databases: Option<PathBuf>,
}

impl Output {
    /// The files of `databases`.
    pub fn database_files(&self) -> Vec<PathBuf> {
        let folder = self.databases.iter();
        let files =
            folder.flat_map(|folder| Database::ALL.map(|database| folder.join(database.name())));
        files.collect()
    }

    /// Checks what can be checked before anything is read.
    pub(super) fn check(&self) -> Result<(), Error> {
        match &self.databases {
            Some(path) if !path.is_dir() => Err(Error::NoSaveDirectory { path: path.clone() }),
            _ => Ok(()),
        }
    }

    /// True where something is written that is no plain file, whose reader may be waited for.
    pub fn waits(&self) -> bool {
        let databases = self.databases.iter();
        let databases = databases.flat_map(|folder| Database::ALL.map(|of| folder.join(of.name())));
        let mut paths = databases.chain(self.json.clone());
        paths.any(|path| path.exists() && !path.is_file())
    }

    /// Writes the files. All are written before the first gets its name; the reference, whose rules may
    /// count, writes the configuration before it looks for the directory.
    pub fn write(&self, config: &UefiConfig, rules: Rules) -> Result<(), Error> {
        let json = self.json.as_ref();
        let json = json.map(|path| File::new(path, config.to_json().as_bytes()));
        let json = json.transpose()?;
        if rules == Rules::Reference {
            json.map_or(Ok(()), File::publish)?;
            self.check()?;
            return self
                .stage_databases(config)?
                .into_iter()
                .try_for_each(File::publish);
        }
        let databases = self.stage_databases(config)?;
        json.map_or(Ok(()), File::publish)?;
        databases.into_iter().try_for_each(File::publish)
    }

    fn stage_databases(&self, config: &UefiConfig) -> Result<Vec<File>, Error> {
        let Some(folder) = &self.databases else {
            return Ok(Vec::new());
        };
        let stage =
            |database: Database| File::new(&folder.join(database.name()), config.content(database));
        Database::ALL.into_iter().map(stage).collect()
    }
}

/// One of the files, written but not named yet.
struct File {
    path: PathBuf,
    staged: Staged,
}

impl File {
    fn new(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        match Staged::new(path, bytes) {
            Ok(staged) => Ok(Self {
                path: path.to_owned(),
                staged,
            }),
            Err(source) => Err(Error::Write {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn publish(self) -> Result<(), Error> {
        let Self { path, staged } = self;
        staged
            .publish()
            .map_err(|source| Error::Write { path, source })
    }
}
