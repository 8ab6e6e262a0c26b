//! A small output file that appears whole or not at all.
//!
//! It is written beside its name, flushed and renamed, so that a longer old file leaves no tail and a reader never
//! sees a half. A file that is replaced keeps its mode, a symbolic link stays and the file behind it is replaced. What
//! is no plain file (`/dev/stdout`, a pipe) is written as it is.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Mode of new files, before the process's mask.
const MODE: u32 = 0o644;

/// A file that is written and has no name yet.
pub enum Staged {
    /// A file beside its name to be.
    Beside {
        /// The temporary file.
        file: NamedTempFile,
        /// Its name.
        path: PathBuf,
    },
    /// Something that is no plain file, not written to yet.
    AsItIs {
        /// What was opened.
        file: File,
        /// What it will get.
        bytes: Vec<u8>,
    },
}

impl Staged {
    /// Writes the file under a name that vanishes again, unless it is published.
    pub fn new(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let old = match fs::metadata(path) {
            Ok(old) if !old.is_file() => {
                let file = OpenOptions::new().write(true).open(path)?;
                return Ok(Self::AsItIs {
                    file,
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
            .prefix(".encrypt-cloud-image.")
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(folder)?;
        if let Some(permissions) = old {
            file.as_file().set_permissions(permissions)?;
        }
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(Self::Beside { file, path })
    }

    /// Gives the file its name.
    pub fn publish(self) -> io::Result<()> {
        match self {
            Self::Beside { file, path } => match file.persist(&path) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.error),
            },
            Self::AsItIs { mut file, bytes } => file.write_all(&bytes),
        }
    }
}
