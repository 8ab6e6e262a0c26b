//! What carries the key on the EFI system partition: the sealed key and the template of the SRK.
//!
//! A file that cannot be read is told, and does not keep the rest from being told.

use super::{KeyObjectKind, State};
use crate::deploy::esp::{self, SEALED_KEY, SRK_TEMPLATE};
use base::storage::ReadAt;
use filesystem::{self, fat::Fat};
use keyobject::secboot::{self, SealedKey};
use tpm::{Bank, KeyKind, SrkTemplate};

/// Bytes of a seed that is encrypted to an RSA key; to a point on a curve it has fewer.
const RSA_SEED_BYTES: usize = 256;
/// The longest template that is read; one has some 300 bytes.
const MAX_TEMPLATE_BYTES: u64 = 4096;

/// The files; none that is not there.
#[derive(Debug, Clone, Default)]
pub struct KeyFiles {
    /// The sealed key.
    pub sealed_key: Option<SealedKeyFacts>,
    /// The template of the SRK.
    pub template: Option<TemplateFacts>,
    /// What is unusual about the partition for the reader of these files.
    unusual: Vec<String>,
}

/// A sealed key.
#[derive(Debug, Clone)]
pub struct SealedKeyFacts {
    /// Its length.
    pub len_bytes: usize,
    /// SHA-256 of it, in hex.
    pub sha256: String,
    /// What it says, or why it cannot be read.
    pub content: Result<SealedKey, String>,
    /// Why no reader would get the key out of it, where that shows.
    pub flaw: Option<String>,
}

/// A template.
#[derive(Debug, Clone)]
pub struct TemplateFacts {
    /// Its length.
    pub len_bytes: usize,
    /// SHA-256 of it, in hex.
    pub sha256: String,
    /// What it says, or why it cannot be read.
    pub content: Result<SrkTemplate, String>,
}

impl SealedKeyFacts {
    fn new(bytes: &[u8]) -> Self {
        let content = SealedKey::read(bytes);
        let flaw = content.as_ref().ok().and_then(|key| key.check().err());
        Self {
            len_bytes: bytes.len(),
            sha256: hex::encode(Bank::Sha256.digest(bytes)),
            content: content.map_err(|problem| with_causes(&problem)),
            flaw: flaw.map(|flaw| flaw.to_string()),
        }
    }

    /// The kind of the SRK that it is sealed to, where it was not imported yet.
    pub fn parent(&self) -> Option<KeyKind> {
        let seed = self.content.as_ref().ok()?.import_seed.as_ref()?;
        Some(match seed.len() {
            RSA_SEED_BYTES => KeyKind::Rsa,
            _ => KeyKind::Ecc,
        })
    }
}

impl KeyFiles {
    pub(super) fn read(storage: &dyn ReadAt, warnings: &mut Vec<String>) -> Self {
        let read = || -> filesystem::Result<Self> {
            let fat = Fat::open_read_only(storage)?;
            let file = |path, limit_bytes| match fat.read_file(path, limit_bytes) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(filesystem::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            };
            let sealed_key = file(SEALED_KEY, secboot::MAX_FILE_BYTES as u64)?;
            let template = file(SRK_TEMPLATE, MAX_TEMPLATE_BYTES)?;
            Ok(Self {
                sealed_key: sealed_key.map(|bytes| SealedKeyFacts::new(&bytes)),
                template: template.map(|bytes| TemplateFacts {
                    len_bytes: bytes.len(),
                    sha256: hex::encode(Bank::Sha256.digest(&bytes)),
                    content: SrkTemplate::read(&bytes).map_err(|problem| problem.to_string()),
                }),
                unusual: esp::warnings(storage, KeyObjectKind::Secboot)?,
            })
        };
        read().unwrap_or_else(|problem| {
            warnings.push(format!("the EFI system partition: {problem}"));
            Self::default()
        })
    }

    pub(super) fn warnings(&self, state: State) -> Vec<String> {
        let mut warnings = Vec::new();
        if let State::Deployed(KeyObjectKind::Secboot) = state {
            warnings.extend(self.unusual.iter().cloned());
        }
        if let Some(key) = &self.sealed_key {
            let problem = key.content.as_ref().err().or(key.flaw.as_ref());
            warnings.extend(problem.map(|problem| format!("{SEALED_KEY}: {problem}")));
        }
        if let Some(Err(problem)) = self.template.as_ref().map(|template| &template.content) {
            warnings.push(format!("{SRK_TEMPLATE}: {problem}"));
        }
        warnings
    }
}

/// An error with what is behind it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
