//! An image that is bound to a guest in memory, before its first byte is written.

use crate::deploy::key_file::KeyFile;
use crate::deploy::{self, Binding, Error, NewImage, Recovery, RecoveryKeyOf, RecoverySource};
use crate::encrypt::{EncryptPlan, EncryptedDisk};
use base::secret::Entropy;
use base::storage::ReadAt;

/// To whom an image is bound, and how.
pub(super) struct BoundImage {
    plan: deploy::DeployPlan,
    recovery: Option<RecoveryKeyOf>,
}

impl BoundImage {
    /// Binds an image, which is that of `encrypted` and becomes a file or a device of so many bytes.
    pub fn new<S: ReadAt>(
        encrypted: &EncryptPlan,
        prepared: &EncryptedDisk<S>,
        file_bytes: u64,
        binding: &Binding,
        now: i64,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, Error> {
        let new_image = NewImage {
            table: &prepared.table,
            root: encrypted.root.number,
            esp: encrypted.esp.number,
            head: &prepared.head,
            disk: prepared.edited(),
            clear_key: &prepared.clear_key,
            source: encrypted.route.source.clone(),
            output: encrypted.route.output.clone(),
            file_bytes,
            format: encrypted.route.output_format,
        };
        let (plan, recovery) = new_image.bind(binding, now, entropy)?;
        Ok(Self { plan, recovery })
    }

    /// What was done.
    pub fn plan(&self) -> &deploy::DeployPlan {
        &self.plan
    }

    /// A recovery key that was made for this guest.
    pub fn new_recovery_key(&self) -> Option<&Recovery> {
        match &self.recovery {
            Some((RecoverySource::New(_), key)) => Some(key),
            _ => None,
        }
    }

    /// Writes a new recovery key into its file, which has no name yet.
    pub fn key_file(&self) -> Result<KeyFile, Error> {
        match &self.recovery {
            Some((from, key)) => from.create_file(key),
            None => Ok(KeyFile::none()),
        }
    }
}
