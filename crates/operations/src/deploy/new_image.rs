//! Binds an image that is not written yet: its container's head and its EFI system partition are in memory.
//!
//! The steps of a deploy are written there, so what goes to the disk afterwards is the deployed image alone, and the order
//! that makes a change in place survive a crash is not needed.

use std::path::PathBuf;

use super::binding::{self, Binding, Parts, Unlocked};
use super::container::{Container, State};
use super::error::Error;
use super::esp;
use super::plan::{DeployPlan, Disk, Luks};
use super::recovery::{Recovery, RecoverySource};
use crate::common::partitions;
use crate::predict::Sealable;
use base::secret::Entropy;
use base::storage::{MemoryStorage, WriteAt};
use gpt::Table;
use image::DiskFormat;
use luks2::{ClearKeyToken, Header};

/// An image in the making.
pub struct NewImage<'a> {
    /// Its partition table.
    pub table: &'a Table,
    /// Number of the partition with the container.
    pub root: u32,
    /// Number of the EFI system partition.
    pub esp: u32,
    /// What lies before the container's segment.
    pub head: &'a MemoryStorage,
    /// The disk that the EFI system partition is copied from.
    pub disk: &'a dyn WriteAt,
    /// What opens keyslot 0, and is in no token.
    pub clear_key: &'a ClearKeyToken,
    /// The file that it is made from.
    pub source: PathBuf,
    /// The file that it will be.
    pub output: PathBuf,
    /// Length of that in bytes.
    pub file_bytes: u64,
    /// Format of that.
    pub format: DiskFormat,
}

/// A recovery key, and where it came from.
pub type RecoveryKeyOf = (RecoverySource, Recovery);

impl NewImage<'_> {
    /// Binds the image to a guest: afterwards its head and its EFI system partition are those of a deployed image.
    pub fn bind(
        self,
        binding: &Binding,
        now: i64,
        entropy: &mut dyn Entropy,
    ) -> Result<(DeployPlan, Option<RecoveryKeyOf>), Error> {
        let container = self.container()?;
        let key_object = binding::key_object_for(&container, binding.key_object)?;
        let esp = self.partition(self.esp)?;
        let esp_range = partitions::byte_range(&esp, self.table.sector_bytes());
        let esp_window = partitions::window(self.disk, &esp_range)?;
        let mut warnings = esp::warnings(&esp_window, key_object).map_err(Error::esp)?;
        let parts = Parts {
            container: &container,
            storage: self.head,
            esp: &esp_window,
            esp_start_bytes: esp_range.start,
        };
        let unlocked = Unlocked::ByClearKey(self.clear_key.clone());
        let bound = binding.plan(parts, &unlocked, now, entropy)?;
        warnings.extend(bound.warnings);
        for write in bound.steps.iter().flat_map(|step| &step.writes) {
            let at = write.offset_bytes;
            let written = if container.range.contains(&at) {
                let at = at - container.range.start;
                self.head.write_all_at(&write.bytes, at)
            } else {
                self.disk.write_all_at(&write.bytes, at)
            };
            written.map_err(crate::Error::Source)?;
        }
        let plan = DeployPlan {
            luks: Luks::after(&[], self.head, &container)?,
            disk: Disk::new(self.table, self.root, self.esp),
            source: self.source,
            output: self.output,
            file_bytes: self.file_bytes,
            format: self.format,
            completes: false,
            again: None,
            key_object,
            recovery: bound.recovery.as_ref().map(|(_, key)| key.form()),
            srk: Some(bound.srk),
            prediction: bound.prediction.map(Sealable::into_prediction),
            files: bound.files,
            written_bytes: self.file_bytes,
            warnings,
        };
        Ok((plan, bound.recovery))
    }

    fn container(&self) -> Result<Container, Error> {
        let partition = self.partition(self.root)?;
        let header = Header::read_built(self.head);
        let header = header.map_err(|error| Error::container(partition.number, error))?;
        Ok(Container {
            deployed_elsewhere: None,
            range: partitions::byte_range(&partition, self.table.sector_bytes()),
            partition,
            header,
            state: State::NotDeployed {
                clear_key: self.clear_key.clone(),
            },
        })
    }

    fn partition(&self, number: u32) -> Result<gpt::Partition, Error> {
        let mut partitions = self.table.partitions();
        let found = partitions.find(|partition| partition.number == number);
        found.ok_or_else(|| Error::NoContainer {
            found: partitions::list(self.table.partitions()),
        })
    }
}
