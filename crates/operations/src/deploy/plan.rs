//! What a deploy will do, for people and reports to read. Nothing in it is secret.

use std::path::PathBuf;

use super::container::Container;
use super::error::Error;
use super::header::UNLOCK_KEYSLOT;
use super::recovery::RecoveryForm;
use super::sealing::{Access, KeyObject, Srk, SrkOptions, TemplateChoice};
use super::step::Step;
use crate::predict::Prediction;
use base::number::to_usize;
use base::storage::ReadAt;
use gpt::{Partition, Table};
use image::DiskFormat;
use keyobject::systemd_tpm2::{self, Parent};
use keyobject::{RecoveryToken, reseal_token, systemd_recovery};
use luks2::{Header, Kdf, Token};
use tpm::Bank;

/// What a deploy will do.
#[derive(Debug, Clone)]
pub struct DeployPlan {
    /// The encrypted image.
    pub source: PathBuf,
    /// The image that is written: the source itself, or a copy.
    pub output: PathBuf,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Its format.
    pub format: DiskFormat,
    /// The partition table.
    pub disk: Disk,
    /// What carries the key to the guest.
    pub key_object: KeyObjectKind,
    /// The form of the recovery key, where there is a new keyslot for one.
    pub recovery: Option<RecoveryForm>,
    /// True where an interrupted deploy is completed, and nothing is sealed.
    pub completes: bool,
    /// Where a deployed image is sealed again: with which keyslot, and which go.
    pub again: Option<Again>,
    /// The container as it will be.
    pub luks: Luks,
    /// To whom the key is sealed; `None` where nothing is sealed.
    pub srk: Option<SrkFacts>,
    /// In which states; `None` where any will do, or where nothing is sealed.
    pub prediction: Option<Prediction>,
    /// Files on the EFI system partition.
    pub files: Vec<FileFacts>,
    /// Bytes that are written to an image in place.
    pub written_bytes: u64,
    /// What the operator should know before relying on the result.
    pub warnings: Vec<String>,
}

/// What happens to the keyslots of an image that is sealed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// The one that opened it. It stays as it is.
    pub unlocked: u32,
    /// Those that go, by their old numbers.
    pub replaced: Vec<u32>,
}

/// A partition table.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Sector size in bytes.
    pub sector_bytes: u64,
    /// Length in sectors.
    pub sectors: u64,
    /// The disk's GUID.
    pub guid: uuid::Uuid,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// Number of the one with the container.
    pub root: u32,
    /// Number of the EFI system partition.
    pub esp: u32,
}

impl Disk {
    pub(super) fn new(table: &Table, root: u32, esp: u32) -> Self {
        Self {
            sector_bytes: table.sector_bytes(),
            sectors: table.disk_sectors(),
            guid: table.disk_guid(),
            partitions: table.partitions().collect(),
            root,
            esp,
        }
    }
}

/// What carries the key to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyObjectKind {
    /// The sealed-key file on the EFI system partition.
    Secboot,
    /// Tokens in the LUKS2 header.
    SystemdTpm2,
}

impl KeyObjectKind {
    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secboot => "secboot",
            Self::SystemdTpm2 => "systemd-tpm2",
        }
    }
}

impl From<KeyObject> for KeyObjectKind {
    fn from(key_object: KeyObject) -> Self {
        match key_object {
            KeyObject::Secboot => Self::Secboot,
            KeyObject::SystemdTpm2 { .. } => Self::SystemdTpm2,
        }
    }
}

/// A guest's SRK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrkFacts {
    /// Its name: algorithm and digest of its public area, in hex.
    pub name: String,
    /// RSA or ECC.
    pub kind: String,
    /// Key bits of the cipher with which it encrypts its objects.
    pub aes_bits: u16,
    /// `objectAttributes`.
    pub attributes: u32,
    /// True where the guest makes it by the standard template.
    pub standard_template: bool,
    /// How systemd's reader gets at it, where it does.
    pub parent: Option<Parent>,
}

impl SrkFacts {
    pub(super) fn new(options: &SrkOptions, srk: &Srk) -> Self {
        Self {
            name: srk.parent.name().to_string(),
            kind: srk.parent.kind().to_string(),
            aes_bits: srk.parent.aes_bits(),
            attributes: srk.parent.attributes(),
            standard_template: options.template == TemplateChoice::Standard,
            parent: match srk.access {
                Access::Template(_) => None,
                Access::Token(parent) => Some(parent),
            },
        }
    }
}

/// A file on the EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// Its path.
    pub path: &'static str,
    /// Length in bytes and SHA-256 in hex; `None` for a file that may not be there.
    pub content: Option<(usize, String)>,
}

impl FileFacts {
    pub(super) fn new(path: &'static str, content: Option<&[u8]>) -> Self {
        Self {
            path,
            content: content.map(|bytes| (bytes.len(), sha256(bytes))),
        }
    }
}

/// A container.
#[derive(Debug, Clone)]
pub struct Luks {
    /// UUID in the header.
    pub uuid: String,
    /// Label in the header.
    pub label: String,
    /// Sequence id of both copies.
    pub sequence_id: u64,
    /// SHA-256 over both copies of the header, the primary first, in hex.
    pub header_sha256: String,
    /// Cipher of the segment, in the kernel's words.
    pub cipher: String,
    /// Sector size of the segment in bytes.
    pub sector_bytes: u32,
    /// Offset of the segment in the partition, in bytes.
    pub segment_offset_bytes: u64,
    /// The keyslots.
    pub keyslots: Vec<KeyslotFacts>,
    /// Number and type of every token.
    pub tokens: Vec<(u32, String)>,
}

/// A keyslot.
#[derive(Debug, Clone)]
pub struct KeyslotFacts {
    /// Its number.
    pub number: u32,
    /// What it is for, as far as the header tells.
    pub purpose: Purpose,
    /// Where its material lies in the container, in bytes.
    pub offset_bytes: u64,
    /// Its key derivation, and what it costs.
    pub kdf: String,
}

/// What a keyslot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It takes the sealed key.
    Unlock,
    /// It takes the key in the image with which cloud-init grows the root.
    Growpart,
    /// It takes a recovery key.
    Recovery,
    /// It is somebody else's.
    Other,
}

impl Luks {
    /// A container, which lies in `storage`, as it is.
    pub(crate) fn of(container: &Container, storage: &dyn ReadAt) -> Result<Self, Error> {
        Self::of_header(&container.header, storage)
    }

    /// A container, which lies in `storage`, with steps written.
    pub(crate) fn after(
        steps: &[Step],
        storage: &dyn ReadAt,
        container: &Container,
    ) -> Result<Self, Error> {
        let built = container.with(steps, storage)?;
        let problem = |error| Error::container(container.partition.number, error);
        let header = Header::read_built(&built).map_err(problem)?;
        Self::of_header(&header, &built)
    }

    fn of_header(header: &Header, storage: &dyn ReadAt) -> Result<Self, Error> {
        let metadata = header.metadata();
        let copies_bytes = to_usize(metadata.keyslots_start_bytes());
        let copies = storage.read_vec(0, copies_bytes);
        let copies = copies.map_err(crate::Error::Source)?;
        let segment = metadata.segment();
        let crypt = segment.and_then(|segment| segment.crypt.as_ref());
        let purposes = Purposes::of(&metadata.tokens);
        let keyslots = metadata.keyslots.iter().map(|keyslot| KeyslotFacts {
            number: keyslot.number,
            purpose: purposes.of_keyslot(keyslot.number),
            offset_bytes: keyslot.area.offset_bytes,
            kdf: match keyslot.luks2().map(|luks2| &luks2.kdf) {
                Some(Kdf::Pbkdf2 {
                    hash, iterations, ..
                }) => format!("pbkdf2-{hash}, {iterations} iterations"),
                Some(Kdf::Argon2 { variant, .. }) => variant.clone(),
                None => "none".to_owned(),
            },
        });
        Ok(Self {
            uuid: header.current().uuid().to_owned(),
            label: header.current().label().to_owned(),
            sequence_id: header.current().sequence_id(),
            header_sha256: sha256(&copies),
            cipher: crypt.map_or_else(String::new, |crypt| crypt.encryption.clone()),
            sector_bytes: crypt.map_or(0, |crypt| crypt.sector_size_bytes),
            segment_offset_bytes: segment.map_or(0, |segment| segment.offset_bytes),
            keyslots: keyslots.collect(),
            tokens: metadata
                .tokens
                .iter()
                .map(|token| (token.number, token.kind.clone()))
                .collect(),
        })
    }
}

/// The keyslots that tokens name.
struct Purposes {
    unlock: Vec<u32>,
    recovery: Vec<u32>,
}

impl Purposes {
    fn of(tokens: &[Token]) -> Self {
        let named = |kind: &'static str| {
            let tokens = tokens.iter().filter(move |token| token.kind == kind);
            tokens.flat_map(|token| token.keyslots.clone())
        };
        let mut unlock: Vec<u32> = named(systemd_tpm2::TOKEN_TYPE).collect();
        if unlock.is_empty() {
            unlock.push(UNLOCK_KEYSLOT); // the sealed-key file's, which no token names
        }
        unlock.extend(named(reseal_token::TOKEN_TYPE));
        let ubuntu = tokens.iter().filter_map(RecoveryToken::parse);
        let ubuntu = ubuntu.filter_map(|token| token.keyslot);
        let recovery = ubuntu.chain(named(systemd_recovery::TOKEN_TYPE)).collect();
        Self { unlock, recovery }
    }

    fn of_keyslot(&self, number: u32) -> Purpose {
        match number {
            number if self.unlock.contains(&number) => Purpose::Unlock,
            crate::encrypt::GROWPART_KEYSLOT => Purpose::Growpart,
            number if self.recovery.contains(&number) => Purpose::Recovery,
            _ => Purpose::Other,
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Bank::Sha256.digest(bytes))
}
