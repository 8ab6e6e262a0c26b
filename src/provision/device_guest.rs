//! The use case `provision` onto a block device, for one guest.
//!
//! As onto a file, the unlock key is sealed in memory, so the device holds it at no time, not in the blocks that its medium
//! sets aside either. A device has no name to get at the end: its partition table is what comes last.

use super::deploy::{self, Binding, Digests, Error, NewImage, Recovery, RecoverySource};
use super::encrypt::{Plan, ReadyOnDevice, UnlockKey};
use super::{Job, Observer, Phase, StopFlag};
use crate::secret::Entropy;
use crate::storage::ReadAt as _;

/// A guest's device that was found feasible; nothing is written yet.
pub struct DeviceGuest {
    ready: ReadyOnDevice,
    binding: deploy::Plan,
    recovery: Option<(RecoverySource, Recovery)>,
}

impl DeviceGuest {
    /// Opens source and device, and plans everything down to the header. `now` is the time of all changes, in seconds since
    /// 1970.
    ///
    /// Nothing is written; whatever can be found wrong with image, device, guest and flags is found here.
    pub fn prepare(
        job: Job,
        binding: &Binding,
        entropy: &mut dyn Entropy,
        now: i64,
        (observer, stop): (&dyn Observer, &StopFlag),
    ) -> Result<Self, Error> {
        let ready = job.prepare_with_key(UnlockKey::InMemory, entropy, now, (observer, stop))?;
        let (plan, prepared) = (ready.plan(), ready.prepared());
        let new_image = NewImage {
            table: &prepared.table,
            root: plan.root.number,
            esp: plan.esp.number,
            head: &prepared.head,
            disk: prepared.edited(),
            clear_key: &prepared.clear_key,
            source: plan.source.clone(),
            output: plan.output.clone(),
            file_bytes: ready.device().len_bytes(),
            format: plan.output_format,
        };
        let (binding, recovery) = new_image.bind(binding, now, entropy)?;
        Ok(Self {
            ready,
            binding,
            recovery,
        })
    }

    /// What is encrypted, and how.
    pub fn plan(&self) -> &Plan {
        self.ready.plan()
    }

    /// To whom it is bound, and how.
    pub fn binding(&self) -> &deploy::Plan {
        &self.binding
    }

    /// A recovery key that was made for this guest.
    pub fn new_recovery_key(&self) -> Option<&Recovery> {
        match &self.recovery {
            Some((RecoverySource::New(_), key)) => Some(key),
            _ => None,
        }
    }

    /// Makes a new recovery key durable in its file, then writes the device. What ends it early leaves neither that file
    /// nor a partition table on the device.
    pub fn run(&self, observer: &dyn Observer, stop: &StopFlag) -> Result<(), Error> {
        let Some((from, key)) = &self.recovery else {
            return Ok(self.ready.run(observer, stop)?);
        };
        from.store(key)?;
        let written = self.ready.run(observer, stop);
        Ok(written.inspect_err(|_| from.take_back())?)
    }

    /// Length of the source's file in bytes.
    pub fn source_bytes(&self) -> u64 {
        self.ready.source().len_bytes()
    }

    /// SHA-256 of the source's file and of the device, when that is written. Both are read whole.
    pub fn digests(&self, observer: &dyn Observer, stop: &StopFlag) -> Result<Digests, Error> {
        let (source, device) = (self.ready.source(), self.ready.device());
        observer.begin(Phase::Digest, source.len_bytes() + device.len_bytes());
        Ok(Digests {
            input: deploy::digest(source, observer, stop)?,
            output: deploy::digest(device, observer, stop)?,
        })
    }
}
