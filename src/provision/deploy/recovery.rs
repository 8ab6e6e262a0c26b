//! Where the recovery key comes from, and where a new one goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Error;
use crate::keyobject::RecoveryKey;
use crate::provision::{self, recovery_key};
use crate::secret::Entropy;

/// Where the recovery key comes from.
#[derive(Clone)]
pub enum RecoverySource {
    /// `--recovery-key-file`: 16 raw bytes.
    File(PathBuf),
    /// `--recovery-key-text`: the digits.
    Text(Zeroizing<String>),
    /// `--recovery-key-out`: a new key, which goes into this file.
    New(PathBuf),
}

impl RecoverySource {
    /// The key. A new one is not written yet.
    pub fn key(&self, entropy: &mut dyn Entropy) -> Result<RecoveryKey, Error> {
        match self {
            Self::File(path) => Ok(recovery_key::read(path)?),
            Self::Text(text) => RecoveryKey::from_text(text).map_err(Error::RecoveryKeyText),
            Self::New(path) => {
                check_folder(path).map_err(|source| Error::RecoveryKeyOut {
                    path: path.clone(),
                    source,
                })?;
                if fs::symlink_metadata(path).is_ok() {
                    return Err(Error::RecoveryKeyExists { path: path.clone() });
                }
                let key = RecoveryKey::random(entropy);
                Ok(key.map_err(provision::Error::Entropy)?)
            }
        }
    }

    /// Makes a new key durable in its file, with mode 0600; nothing for a key that was there.
    pub fn store(&self, key: &RecoveryKey) -> Result<(), Error> {
        let Self::New(path) = self else {
            return Ok(());
        };
        write(path, key).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::RecoveryKeyExists { path: path.clone() },
            _ => Error::RecoveryKeyOut {
                path: path.clone(),
                source,
            },
        })
    }
}

/// A file can be made there, as far as can be told without making it.
fn check_folder(path: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    Ok(access(folder(path), Access::WRITE_OK | Access::EXEC_OK)?)
}

fn folder(path: &Path) -> &Path {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn write(path: &Path, key: &RecoveryKey) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file
        .write_all(key.passphrase().expose())
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(folder(path))?.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}
