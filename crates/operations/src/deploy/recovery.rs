//! Where the recovery key comes from, in which form its reader wants it, and where a new one goes.
//!
//! Ubuntu's initramfs turns the digits that are typed into 16 bytes, and these are the passphrase. systemd's prompt takes
//! what is typed as the passphrase: there a key that was given opens by its printed digits, with their dashes, and a new
//! one is made in systemd's own form.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::Error;
use super::sealing::KeyObject;
use crate::common::recovery_key;
use crate::deploy::key_file::KeyFile;
use base::secret::{Entropy, SecretBytes};
use keyobject::{RecoveryKey, recovery_token, systemd_recovery};
use luks2::Hash;

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

/// The form of a recovery key's passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryForm {
    /// 16 bytes, which the guest makes of the digits that are typed.
    Bytes,
    /// The digits as they are printed, dashes included.
    Digits,
    /// Letters, in systemd's own form.
    Letters,
}

/// A recovery key as its reader wants it.
#[derive(Clone)]
pub struct Recovery {
    form: RecoveryForm,
    passphrase: SecretBytes,
    text: Zeroizing<String>,
}

impl Recovery {
    fn new(key: &RecoveryKey, key_object: KeyObject) -> Self {
        let text = key.text();
        match key_object {
            KeyObject::Secboot => Self {
                form: RecoveryForm::Bytes,
                passphrase: key.passphrase().clone(),
                text,
            },
            KeyObject::SystemdTpm2 { .. } => Self::typed(RecoveryForm::Digits, text),
        }
    }

    /// One whose passphrase is what is typed.
    fn typed(form: RecoveryForm, text: Zeroizing<String>) -> Self {
        Self {
            form,
            passphrase: SecretBytes::new(text.as_bytes().to_vec()),
            text,
        }
    }

    /// The form of the passphrase.
    pub fn form(&self) -> RecoveryForm {
        self.form
    }

    /// What opens the keyslot.
    pub fn passphrase(&self) -> &SecretBytes {
        &self.passphrase
    }

    /// What a person types.
    pub fn text(&self) -> Zeroizing<String> {
        self.text.clone()
    }

    /// The hash function of its keyslot, as the reader's own writer has it.
    pub(super) fn hash(&self) -> Hash {
        match self.form {
            RecoveryForm::Bytes => Hash::Sha256,
            RecoveryForm::Digits | RecoveryForm::Letters => Hash::Sha512,
        }
    }

    /// The token that makes its keyslot known.
    pub(super) fn token(&self, keyslot: u32) -> String {
        match self.form {
            RecoveryForm::Bytes => recovery_token(keyslot),
            RecoveryForm::Digits | RecoveryForm::Letters => systemd_recovery::token(keyslot),
        }
    }
}

impl RecoverySource {
    /// The key. A new one is not written yet.
    pub(super) fn key(
        &self,
        key_object: KeyObject,
        entropy: &mut dyn Entropy,
    ) -> Result<Recovery, Error> {
        let key = match self {
            Self::File(path) => recovery_key::read(path)?,
            Self::Text(text) => RecoveryKey::from_text(text).map_err(Error::RecoveryKeyText)?,
            Self::New(path) => {
                if fs::symlink_metadata(path).is_ok() {
                    return Err(Error::RecoveryKeyExists { path: path.clone() });
                }
                check_folder(path).map_err(|source| Error::RecoveryKeyOut {
                    path: path.clone(),
                    source,
                })?;
                if let KeyObject::SystemdTpm2 { .. } = key_object {
                    let text = systemd_recovery::random(entropy);
                    let text = text.map_err(crate::Error::Entropy)?;
                    return Ok(Recovery::typed(RecoveryForm::Letters, text));
                }
                RecoveryKey::random(entropy).map_err(crate::Error::Entropy)?
            }
        };
        Ok(Recovery::new(&key, key_object))
    }

    /// Writes a new key into a file that has no name yet; nothing for a key that was there.
    pub(crate) fn create_file(&self, key: &Recovery) -> Result<KeyFile, Error> {
        match self {
            Self::New(path) => KeyFile::create(path, key.passphrase()),
            Self::File(_) | Self::Text(_) => Ok(KeyFile::none()),
        }
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
