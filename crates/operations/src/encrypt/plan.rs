//! What was decided, told.

use std::path::PathBuf;

use super::customise::Edit;
use super::encrypted_disk::EncryptedDisk;
use super::profile::ChosenProfile;
use crate::common::layout::Layout;
use gpt::Partition;
use image::{DiskFormat, Packing, SourceFormat};

/// Where an image comes from, and where it goes.
#[derive(Debug, Clone)]
pub struct Route {
    /// The image to encrypt.
    pub source: PathBuf,
    /// How it is packed, if it is.
    pub packing: Option<Packing>,
    /// Its format.
    pub source_format: SourceFormat,
    /// Length of its disk in bytes.
    pub source_bytes: u64,
    /// The files below it, from the top down, each with its format.
    pub backing_files: Vec<(PathBuf, SourceFormat)>,
    /// Where the encrypted image goes.
    pub output: PathBuf,
    /// Its format.
    pub output_format: DiskFormat,
    /// The source is changed itself.
    pub in_place: bool,
}

/// What will be done, for people to read.
#[derive(Debug, Clone)]
pub struct EncryptPlan {
    /// Where it comes from, and where it goes.
    pub route: Route,
    /// Sector size of the disk in bytes.
    pub sector_bytes: u64,
    /// The root partition, as it is in the source.
    pub root: Partition,
    /// The EFI system partition.
    pub esp: Partition,
    /// Whose habits the image has.
    pub profile: ChosenProfile,
    /// Label of the container; empty for none.
    pub label: &'static str,
    /// Where everything goes.
    pub layout: Layout,
    /// What is written into the filesystems.
    pub edits: Vec<Edit>,
    /// True where the container has a keyslot for cloud-init.
    pub has_growpart_key: bool,
    /// What the operator should know before relying on the result.
    pub warnings: Vec<String>,
}

impl<S> EncryptedDisk<S> {
    /// What will be done with this disk on this route.
    pub(crate) fn plan(&self, route: Route, warnings: Vec<String>) -> EncryptPlan {
        EncryptPlan {
            route,
            sector_bytes: self.sector_bytes,
            root: self.chosen.root.clone(),
            esp: self.chosen.esp.clone(),
            label: self.profile.profile.label(),
            profile: self.profile.clone(),
            layout: self.layout,
            edits: self.edits.clone(),
            has_growpart_key: self.has_growpart_key,
            warnings,
        }
    }
}
