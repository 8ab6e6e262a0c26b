//! The use case `provision` onto a block device, for one guest.
//!
//! As onto a file, the unlock key is sealed in memory, so the device holds it at no time, not in the blocks that its medium
//! sets aside either. A device has no name to get at the end: its partition table is what comes last.

use crate::deploy::{self, Binding, Digests, Error, Recovery};
use crate::encrypt::Job;
use crate::encrypt::{EncryptPlan, ReadyOnDevice, UnlockKey};
use crate::provision::bound::BoundImage;
use crate::{Control, Error as CommonError, Observer, Phase, StopFlag};
use base::secret::Entropy;
use base::storage::ReadAt as _;

/// A guest's device that was found feasible; nothing is written yet.
pub struct DeviceGuest {
    ready: ReadyOnDevice,
    bound: BoundImage,
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
        control: Control<'_>,
    ) -> Result<Self, Error> {
        let ready = job.prepare_with_key(UnlockKey::InMemory, entropy, now, control)?;
        let (plan, disk, bytes) = (ready.plan(), ready.prepared(), ready.device().len_bytes());
        let bound = BoundImage::new(plan, disk, bytes, binding, now, entropy)?;
        Ok(Self { ready, bound })
    }

    /// What is encrypted, and how.
    pub fn plan(&self) -> &EncryptPlan {
        self.ready.plan()
    }

    /// To whom it is bound, and how.
    pub fn binding(&self) -> &deploy::DeployPlan {
        self.bound.plan()
    }

    /// A recovery key that was made for this guest.
    pub fn new_recovery_key(&self) -> Option<&Recovery> {
        self.bound.new_recovery_key()
    }

    /// Writes the device. A new recovery key is durable in its file before the partition table is written. What ends it early
    /// leaves neither that file nor a partition table on the device; where the table's writes fail and it cannot be taken away
    /// again, the file stays.
    pub fn run(&self, observer: &dyn Observer, stop: &StopFlag) -> Result<(), Error> {
        let mut key = self.bound.key_file()?;
        self.ready.write_data(observer, stop)?;
        let made = key.give_name();
        match made.and_then(|()| Ok(self.ready.write_table()?)) {
            Ok(()) => Ok(()),
            Err(error @ Error::Common(CommonError::TableOnDevice(_))) => Err(key.kept(error)),
            Err(error) => Err(key.take_back(error)),
        }
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
