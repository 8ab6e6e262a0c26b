//! `encrypt` onto a block device: everything is decided first, then the device is overwritten, its partition table last.

use std::sync::Arc;

use super::encrypted_disk::{EncryptedDisk, Options, UnlockKey};
use super::plan::Route;
use super::{EncryptPlan, Job, OpenedSource};
use crate::common::backing::BackingFiles;
use crate::common::data_pass::{FreeSpace, threads};
use crate::common::error::Error;
use crate::common::observer::{Control, Observer, StopFlag};
use base::secret::Entropy;
use base::storage::{FileStorage, ReadAt};
use image::{self, Device, DiskFormat, Lock, Source};

/// A job with a device as its output that was found feasible; nothing is written yet.
pub struct ReadyOnDevice {
    plan: EncryptPlan,
    source: Arc<Source>,
    prepared: EncryptedDisk<Arc<dyn ReadAt>>,
    device: Device,
    threads: usize,
}

impl Job {
    /// Opens source and device, and decides everything. `now` is the time of all changes, in seconds since 1970.
    ///
    /// Nothing is written. The device is refused where it is in use or too short, has sectors of another size than the
    /// source's partition table, or is not blank and not to be overwritten.
    pub fn prepare_onto_device(
        self,
        entropy: &mut dyn Entropy,
        now: i64,
        observer: &dyn Observer,
        stop: &StopFlag,
    ) -> Result<ReadyOnDevice, Error> {
        self.prepare_with_key(UnlockKey::InToken, entropy, now, Control { observer, stop })
    }

    /// The same, where the unlock key goes elsewhere.
    pub(crate) fn prepare_with_key(
        self,
        unlock_key: UnlockKey,
        entropy: &mut dyn Entropy,
        now: i64,
        control: Control<'_>,
    ) -> Result<ReadyOnDevice, Error> {
        let output = self.output.as_ref().unwrap_or(&self.source).clone();
        if self.choices.free_space == FreeSpace::Skip {
            return Err(Error::HasNoHoles);
        }
        if matches!(self.output_format, Some(DiskFormat::FixedVhd)) {
            return Err(Error::KeepsFormat);
        }
        let source = Arc::new(Source::open(&self.source, Lock::Shared).map_err(Error::SourceFile)?);
        let backing = BackingFiles::open(&self.backing_files)?;
        source
            .refuse_as_output(&output)
            .map_err(Error::OutputFile)?;
        backing.refuse_as_output(&output)?;
        let beside = |packing| Err(Error::PackedOntoDevice { packing });
        let opened = OpenedSource::new(source, backing, beside, control.observer, control.stop)?;
        let device = Device::open(&output, self.overwrite).map_err(Error::OutputFile)?;
        let options = Options {
            unlock_key,
            device_bytes: Some(device.storage().len_bytes()),
            ..self.options()?
        };
        let prepared = EncryptedDisk::new(Arc::clone(&opened.disk), &options, now, entropy)?;
        if device.sector_bytes() != prepared.sector_bytes {
            return Err(Error::OutputFile(image::Error::DeviceSectors {
                device_bytes: device.sector_bytes(),
                table_bytes: prepared.sector_bytes,
            }));
        }
        let mut warnings = opened.warnings.clone();
        warnings.extend_from_slice(&prepared.warnings);
        let route = Route {
            source: self.source,
            packing: None,
            source_format: opened.format,
            source_bytes: opened.disk.len_bytes(),
            backing_files: opened.named_below(self.backing_files),
            output,
            output_format: DiskFormat::Raw,
            in_place: false,
        };
        let plan = prepared.plan(route, warnings);
        Ok(ReadyOnDevice {
            plan,
            source: opened.source,
            prepared,
            device,
            threads: threads(self.threads),
        })
    }
}

impl ReadyOnDevice {
    /// What will be done.
    pub fn plan(&self) -> &EncryptPlan {
        &self.plan
    }

    /// The file that it is made from.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// The image in memory.
    pub(crate) fn prepared(&self) -> &EncryptedDisk<Arc<dyn ReadAt>> {
        &self.prepared
    }

    /// What is written to.
    pub(crate) fn device(&self) -> &FileStorage {
        self.device.storage()
    }

    /// Does it. What ends it early leaves a device without a partition table, and a part of the image on it.
    pub fn run(&self, observer: &dyn Observer, stop: &StopFlag) -> Result<(), Error> {
        go_on(stop)?;
        let written =
            self.prepared
                .write_to_device(self.device.storage(), self.threads, observer, stop);
        written.map_err(on_device)
    }

    /// The first half: everything but the partition table, made durable.
    pub(crate) fn write_data(&self, observer: &dyn Observer, stop: &StopFlag) -> Result<(), Error> {
        go_on(stop)?;
        let device = self.device.storage();
        let written = self
            .prepared
            .write_data_to_device(device, self.threads, observer, stop);
        written.map_err(on_device)
    }

    /// The second half: the partition table, with which the device is the image. An error says that it has none, unless it is
    /// [`Error::TableOnDevice`].
    pub(crate) fn write_table(&self) -> Result<(), Error> {
        let written = self.prepared.write_table_to_device(self.device.storage());
        written.map_err(on_device)
    }
}

/// Nothing is written yet.
fn go_on(stop: &StopFlag) -> Result<(), Error> {
    if stop.is_raised() {
        Err(Error::Interrupted)
    } else {
        Ok(())
    }
}

/// An error that ends the writing, with what is on the device then.
fn on_device(error: Error) -> Error {
    match error {
        Error::Interrupted => Error::InterruptedOnDevice,
        error @ (Error::NotBlanked(_) | Error::TableOnDevice(_)) => error,
        error => Error::PartOnDevice(Box::new(error)),
    }
}
