//! The use case `inspect`: what an image is, and whether a guest would open it.
//!
//! [`Job::run`] reads an image of any state, plain ones as well, and tells what the partition table, both header
//! copies and the EFI system partition say; nothing is written, and no key is used. [`Question::answer`] predicts what
//! a guest measures and holds that against what the key is sealed to: the leaves of a policy are digests of
//! predicted values, so no TPM is needed. Which TPM the key is for does not show, but for tokens that name its SRK.
//!
//! An image that cannot be read as far as its header is an error; what is wrong with the files on the EFI system
//! partition, or with a token, is told with the rest.

mod answer;
mod container;
mod error;
mod key_files;
mod lock;
mod mismatch;
mod report;

use std::path::PathBuf;

use uuid::Uuid;

pub use answer::{Answer, Outcome, Question, Way};
pub use container::{
    ContainerFacts, CopyFacts, CopyState, KeyslotFacts, KeyslotRole, RecoveryFacts, RecoveryKind,
    TokenFacts, TokenRole, Tpm2Facts,
};
pub use error::Error;
pub use key_files::{KeyFiles, SealedKeyFacts, TemplateFacts};
pub use lock::Opener;
pub use mismatch::Mismatch;

pub use crate::deploy::KeyObjectKind;
pub use keyobject::secboot::SealedKey;
pub use keyobject::systemd_tpm2::Tpm2Token;
pub use probe::Content;
pub use tpm::{KeyKind, SrkTemplate};

use crate::Error as CommonError;
use crate::common::backing::BackingFiles;
use crate::common::content::{self, PartitionContent, Plain};
use crate::common::partitions::{self, Named, byte_range, window};
use crate::deploy::container::{Container, State as Deployment};
use crate::deploy::{self};
use base::storage::{ReadAt, Slice};
use filesystem::ext4::{BlockBitmap, Filesystem, Superblock};
use gpt::{self, Partition, Table};
use image::{self, Lock, Source, SourceFormat};

/// What is to be looked at.
#[derive(Debug, Clone)]
pub struct Job {
    /// The image.
    pub source: PathBuf,
    /// The files below it, from the top down, where it holds the changes to another one.
    pub backing_files: Vec<PathBuf>,
    /// The partitions, where they are not found by what they hold.
    pub partitions: Option<Named>,
}

/// How far an image is on its way to one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The root is not encrypted.
    Plain,
    /// Encrypted; the key lies in the header, in clear.
    Encrypted,
    /// A deploy has ended between the two header copies.
    Interrupted(KeyObjectKind),
    /// Bound to one guest's TPM.
    Deployed(KeyObjectKind),
    /// Encrypted, with neither a clear key nor a sealed one that is known here.
    Other,
}

/// What was found in an image. Nothing in it is secret.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The image.
    pub source: PathBuf,
    /// The files below it, from the top down, each with its format.
    pub backing_files: Vec<(PathBuf, SourceFormat)>,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Its format.
    pub format: SourceFormat,
    /// The disk's GUID.
    pub disk_guid: Uuid,
    /// Sector size of the disk in bytes.
    pub sector_bytes: u64,
    /// Its length in sectors.
    pub sectors: u64,
    /// The partitions, each with what its magic numbers say.
    pub partitions: Vec<(Partition, Content)>,
    /// The EFI system partition, where there is one.
    pub esp: Option<Partition>,
    /// How far the image is.
    pub state: State,
    /// The container of the root.
    pub container: Option<ContainerFacts>,
    /// What carries the key on the EFI system partition.
    pub key_files: KeyFiles,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

impl Inspection {
    /// What carries the key to the guest, where one is sealed.
    pub fn key_object(&self) -> Option<KeyObjectKind> {
        match self.state {
            State::Interrupted(key_object) | State::Deployed(key_object) => Some(key_object),
            State::Plain | State::Encrypted | State::Other => None,
        }
    }
}

impl Job {
    /// Reads the image. Nothing is written.
    pub fn run(&self) -> Result<Inspection, Error> {
        let source = Source::open(&self.source, Lock::Shared).map_err(CommonError::SourceFile)?;
        let backing = BackingFiles::open(&self.backing_files)?;
        let disk_end_bytes = gpt::disk_end_bytes(source.storage()).map_err(CommonError::Gpt)?;
        let file_bytes = source.len_bytes();
        let opened = image::open_disk_over(source, disk_end_bytes, backing.files());
        let opened = opened.map_err(CommonError::SourceFile)?;
        let disk = opened.disk;
        let (table, found) = Table::read(&disk).map_err(CommonError::Gpt)?;
        let mut warnings: Vec<_> = opened.warnings.iter().map(ToString::to_string).collect();
        warnings.extend(found.iter().map(ToString::to_string));

        let partitions = contents(&disk, &table, &mut warnings)?;
        let mut is_root_plain = false;
        let container = match Container::find(&disk, &table, self.partitions) {
            Ok(container) => Some(container),
            Err(deploy::Error::NoContainer { .. }) => None,
            Err(error @ deploy::Error::NotTheRoot { .. }) => {
                warnings.push(error.to_string());
                is_root_plain = true;
                None
            }
            Err(error) => return Err(error.into()),
        };
        let esp = self.esp(&table, &mut warnings)?;
        let key_files = match &esp {
            Some(esp) => {
                let range = byte_range(esp, table.sector_bytes());
                KeyFiles::read(&window(&disk, &range)?, &mut warnings)
            }
            None => KeyFiles::default(),
        };
        let state = match state(container.as_ref(), &key_files, &partitions) {
            State::Other if is_root_plain => State::Plain,
            state => state,
        };
        let container = match &container {
            Some(container) => Some(ContainerFacts::read(container, &disk, state)?),
            None => None,
        };
        let of_container = container.iter();
        warnings.extend(of_container.flat_map(|facts| facts.warnings(state)));
        warnings.extend(key_files.warnings(state));
        Ok(Inspection {
            source: self.source.clone(),
            backing_files: self
                .backing_files
                .iter()
                .cloned()
                .zip(opened.below)
                .collect(),
            file_bytes,
            format: opened.format,
            disk_guid: table.disk_guid(),
            sector_bytes: table.sector_bytes(),
            sectors: table.disk_sectors(),
            partitions,
            esp,
            state,
            container,
            key_files,
            warnings,
        })
    }

    /// The EFI system partition. A plain image needs none.
    fn esp(&self, table: &Table, warnings: &mut Vec<String>) -> Result<Option<Partition>, Error> {
        let named = self.partitions.map(|named| named.esp);
        match partitions::choose_esp(table, named) {
            Ok(esp) => Ok(Some(esp)),
            Err(
                error @ (CommonError::NamedPartitionMissing { .. }
                | CommonError::SeveralPartitionsNamed { .. }),
            ) => Err(error.into()),
            Err(error) => {
                warnings.push(error.to_string());
                Ok(None)
            }
        }
    }
}

/// What each partition holds.
fn contents<S: ReadAt>(
    disk: &S,
    table: &Table,
    warnings: &mut Vec<String>,
) -> Result<Vec<(Partition, Content)>, Error> {
    let content = |partition: Partition| {
        let window = window(disk, &byte_range(&partition, table.sector_bytes()))?;
        let found = PartitionContent::of(&window)?;
        if let PartitionContent::Plain(plain) = &found
            && let Some(places) = content::places(&plain.old_copies)
        {
            let number = partition.number;
            let whose = whose(&window, plain);
            warnings.push(format!(
                "partition {number} holds {} and, of an earlier container, {places}{whose}: programs that look for it there (libblkid) take the partition for an encrypted one",
                plain.content
            ));
        }
        Ok((partition, found.content()))
    };
    table.partitions().map(content).collect()
}

/// Whether the filesystem uses the blocks with old header copies, as its own bitmap says.
fn whose(partition: &dyn ReadAt, plain: &Plain) -> &'static str {
    if plain.content != Content::Ext {
        return "";
    }
    let Some(used) = used_blocks(partition) else {
        return "";
    };
    let (in_use, free): (Vec<&u64>, Vec<&u64>) =
        plain.old_copies.iter().partition(|at| used.is_used(**at));
    match (in_use.is_empty(), free.is_empty()) {
        (true, _) => ", in blocks that the filesystem does not use",
        (_, true) => ", in blocks that the filesystem uses",
        _ => ", some of them in blocks that the filesystem uses",
    }
}

/// What a filesystem uses, where it can be read.
fn used_blocks(partition: &dyn ReadAt) -> Option<BlockBitmap> {
    let superblock = Superblock::read(partition).ok()?;
    let filesystem = Slice::new(partition, 0, superblock.len_bytes()).ok()?;
    let filesystem = Filesystem::open_read_only(&filesystem).ok()?;
    filesystem.used_blocks().ok()
}

fn state(
    container: Option<&Container>,
    key_files: &KeyFiles,
    partitions: &[(Partition, Content)],
) -> State {
    let Some(container) = container else {
        let any = partitions.iter().any(|(_, content)| content.is_encrypted());
        return if any { State::Other } else { State::Plain };
    };
    let key_object = if container.has_tpm2_token() {
        Some(KeyObjectKind::SystemdTpm2)
    } else {
        key_files
            .sealed_key
            .as_ref()
            .map(|_| KeyObjectKind::Secboot)
    };
    match (&container.state, key_object) {
        (Deployment::NotDeployed { .. }, _) => State::Encrypted,
        (_, Some(key_object)) if !container.half_replaced().is_empty() => {
            State::Interrupted(key_object)
        }
        (Deployment::Interrupted, Some(key_object)) => State::Interrupted(key_object),
        (Deployment::Deployed, Some(key_object)) => State::Deployed(key_object),
        (_, None) => State::Other,
    }
}
