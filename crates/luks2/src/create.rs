//! A new container: everything before its segment.
//!
//! The layout is the one that `cryptsetup reencrypt --encrypt` leaves when asked for 512 KiB of metadata and
//! 15360 KiB of keyslots: two header copies of 512 KiB, the keyslots area, and the segment at 16 MiB. The
//! whole keyslots area is random before key material is put into it, so unused room does not show.
//!
//! Random bytes are drawn in this order: the keyslots area; the digest's salt; for each keyslot its salt and
//! its stripes; the salts of the primary and the secondary header.

use serde_json::json;
use uuid::Uuid;

use super::binary_header::{BINARY_HEADER_BYTES, BinaryHeader, SALT_BYTES};
use super::document::Document;
use super::metadata::CIPHER;
use super::{Digest, Error, Hash, Position, SectorSize, VolumeKey};
use base::number::to_usize;
use base::secret::{Entropy, SecretBytes};

/// Length of everything before the segment: 16 MiB.
pub const HEAD_BYTES: u64 = 16 << 20;
const HEADER_BYTES: u64 = 512 << 10;
const JSON_AREA_BYTES: u64 = HEADER_BYTES - BINARY_HEADER_BYTES as u64;
const KEYSLOTS_BYTES: u64 = 15360 << 10;

/// What a new container shall be like.
pub struct NewContainer {
    label: String,
    uuid: Uuid,
    sector_size: SectorSize,
    keyslots: Vec<(u32, SecretBytes)>,
    tokens: Vec<String>,
    requirements: Vec<String>,
}

impl NewContainer {
    /// A container with that label (at most 47 bytes), UUID and sector size, without keyslots, tokens and requirements.
    pub fn new(label: &str, uuid: Uuid, sector_size: SectorSize) -> Self {
        Self {
            label: label.to_owned(),
            uuid,
            sector_size,
            keyslots: Vec::new(),
            tokens: Vec::new(),
            requirements: Vec::new(),
        }
    }

    /// Adds a keyslot that opens with `passphrase`, whose bytes are taken as they are.
    pub fn add_keyslot(&mut self, number: u32, passphrase: SecretBytes) -> &mut Self {
        self.keyslots.push((number, passphrase));
        self
    }

    /// Adds a token with the lowest free number; see [`ClearKeyToken::to_json`](super::ClearKeyToken::to_json).
    pub fn add_token(&mut self, json: String) -> &mut Self {
        self.tokens.push(json);
        self
    }

    /// Adds a requirement: programs that do not know it may look at the container, and neither open nor change it.
    pub fn add_requirement(&mut self, name: &str) -> &mut Self {
        self.requirements.push(name.to_owned());
        self
    }

    /// The first 16 MiB of the container. The segment, encrypted with `volume_key`, follows; its tweaks
    /// count from 0.
    pub fn head(
        &self,
        volume_key: &VolumeKey,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, Error> {
        let binary = BinaryHeader::new(HEADER_BYTES, &self.label, &self.uuid)?;
        let mut keyslots_area = vec![0; to_usize(KEYSLOTS_BYTES)];
        entropy.fill(&mut keyslots_area)?;
        let mut document = self.empty(volume_key, entropy)?;
        let mut materials = Vec::new();
        for (number, passphrase) in &self.keyslots {
            let number = Some(*number);
            materials.push(document.add_keyslot(
                number,
                volume_key,
                passphrase,
                Hash::Sha256,
                entropy,
            )?);
        }
        for token in &self.tokens {
            document.add_token(None, token)?;
        }

        let mut head = Vec::with_capacity(to_usize(HEAD_BYTES));
        for position in [Position::Primary, Position::Secondary] {
            let mut salt = [0; SALT_BYTES];
            entropy.fill(&mut salt)?;
            head.append(&mut binary.encode(position, &salt, document.text())?);
        }
        head.append(&mut keyslots_area);
        for material in materials {
            let area = head.get_mut(to_usize(material.offset_bytes)..);
            let area = area.and_then(|area| area.get_mut(..material.bytes.len()));
            if let Some(area) = area {
                area.copy_from_slice(&material.bytes);
            }
        }
        Ok(head)
    }

    fn empty(&self, volume_key: &VolumeKey, entropy: &mut dyn Entropy) -> Result<Document, Error> {
        let mut config = json!({
            "json_size": JSON_AREA_BYTES.to_string(),
            "keyslots_size": KEYSLOTS_BYTES.to_string(),
        });
        if let (false, Some(config)) = (self.requirements.is_empty(), config.as_object_mut()) {
            let mandatory = json!({"mandatory": self.requirements});
            config.insert("requirements".to_owned(), mandatory);
        }
        let metadata = json!({
            "keyslots": {},
            "tokens": {},
            "segments": {
                "0": {
                    "type": "crypt",
                    "offset": HEAD_BYTES.to_string(),
                    "size": "dynamic",
                    "iv_tweak": "0",
                    "encryption": CIPHER,
                    "sector_size": self.sector_size.bytes(),
                },
            },
            "digests": {"0": Digest::create(volume_key, entropy)?},
            "config": config,
        });
        Document::parse(metadata.to_string(), HEADER_BYTES)
    }
}
