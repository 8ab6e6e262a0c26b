//! A keyslot in the metadata: where its material lies and how a passphrase becomes its key
//! (LUKS2 On-Disk Format, section 3.2).
//!
//! Parsing takes what cryptsetup takes and keeps the names of ciphers and hashes as they stand: whether this
//! program can open the keyslot is asked when it shall be opened. A kind or a derivation that nobody here
//! knows is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Error;
use super::area::SALT_BYTES;
use super::area::STRIPES;
use super::json::Object;
use super::refusal::{Refusal, supported};

/// A keyslot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyslot {
    /// Its number, the name of its member.
    pub number: u32,
    /// Where its material lies.
    pub area: Area,
    /// What it holds.
    pub kind: KeyslotKind,
}

/// The bytes of the keyslots area that belong to one keyslot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// First byte, from the start of the container.
    pub offset_bytes: u64,
    /// Length in bytes.
    pub size_bytes: u64,
}

/// What a keyslot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyslotKind {
    /// The volume key, under a passphrase.
    Luks2(Box<Luks2Keyslot>),
    /// The state of an unfinished reencryption.
    Reencrypt,
}

/// A keyslot that holds the volume key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Luks2Keyslot {
    /// Length of the volume key in bytes.
    pub key_size_bytes: u32,
    /// Hash of the anti-forensic split.
    pub af_hash: String,
    /// Cipher of the area.
    pub area_encryption: String,
    /// Length of the area's key in bytes.
    pub area_key_size_bytes: u32,
    /// How a passphrase becomes the area's key.
    pub kdf: Kdf,
    /// 0: tried only when named; 1: normal; 2: tried first.
    pub priority: u32,
}

/// How a passphrase becomes a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kdf {
    /// PBKDF2 with HMAC.
    Pbkdf2 {
        /// Name of the hash.
        hash: String,
        /// Number of iterations, at least 1.
        iterations: u32,
        /// The salt, in base64.
        salt: String,
    },
    /// Argon2i or Argon2id, version 0x13.
    Argon2 {
        /// `argon2i` or `argon2id`.
        variant: String,
        /// Passes over the memory.
        time: u32,
        /// Memory in KiB.
        memory_kib: u32,
        /// Lanes.
        cpus: u32,
        /// The salt, in base64.
        salt: String,
    },
}

impl Keyslot {
    /// The keyslot's parameters, where it holds the volume key.
    pub fn luks2(&self) -> Option<&Luks2Keyslot> {
        match &self.kind {
            KeyslotKind::Luks2(luks2) => Some(luks2),
            KeyslotKind::Reencrypt => None,
        }
    }

    pub(crate) fn parse(number: u32, object: &Object) -> Result<Self, Refusal> {
        supported(number <= LAST_NUMBER, || Error::Number {
            kind: "keyslot",
            number,
            last: LAST_NUMBER,
        })?;
        let kind = object.string("type")?;
        let area_object = object.object("area")?;
        let area = Area {
            offset_bytes: area_object.uint64("offset")?,
            size_bytes: area_object.uint64("size")?,
        };
        let kind = match kind.as_str() {
            "luks2" => {
                KeyslotKind::Luks2(Box::new(Luks2Keyslot::parse(number, object, &area_object)?))
            }
            "reencrypt" => KeyslotKind::Reencrypt,
            _ => {
                return Err(Refusal::Unsupported(Error::Value {
                    path: object.path_of("type"),
                    expected: "luks2 or reencrypt",
                }));
            }
        };
        supported(area.offset_bytes.is_multiple_of(4096), || {
            Error::AreaAlignment {
                keyslot: number,
                offset_bytes: area.offset_bytes,
            }
        })?;
        if let KeyslotKind::Luks2(luks2) = &kind {
            let material_bytes = u64::from(luks2.key_size_bytes).saturating_mul(u64::from(STRIPES));
            supported(area.size_bytes >= material_bytes, || Error::AreaSize {
                keyslot: number,
                size_bytes: area.size_bytes,
                material_bytes,
            })?;
        }
        Ok(Self { number, area, kind })
    }
}

/// Keyslots are numbered from 0 to 31.
pub(crate) const LAST_NUMBER: u32 = 31;

impl Luks2Keyslot {
    fn parse(number: u32, object: &Object, area: &Object) -> Result<Self, Refusal> {
        let af = object.object("af")?;
        af.is("type", "luks1")?;
        area.is("type", "raw")?;
        let key_size_bytes = object.number("key_size")?;
        let stripes = af.number("stripes")?;
        supported(stripes == STRIPES, || Error::Stripes {
            keyslot: number,
            stripes,
        })?;
        let priority = match object.text("priority") {
            Some(_) => object.uint32("priority").unwrap_or(u32::MAX),
            None => 1,
        };
        supported(priority <= 2, || Error::Value {
            path: object.path_of("priority"),
            expected: "0, 1 or 2",
        })?;
        Ok(Self {
            key_size_bytes,
            af_hash: af.name("hash")?,
            area_encryption: area.name("encryption")?,
            area_key_size_bytes: area.number("key_size")?,
            kdf: Kdf::parse(&object.object("kdf")?)?,
            priority,
        })
    }
}

impl Kdf {
    fn parse(object: &Object) -> Result<Self, Refusal> {
        let salt = || object.name("salt");
        match object.string("type")?.as_str() {
            "pbkdf2" => Ok(Self::Pbkdf2 {
                hash: object.name("hash")?,
                iterations: object.number("iterations")?,
                salt: salt()?,
            }),
            variant @ ("argon2i" | "argon2id") => Ok(Self::Argon2 {
                variant: variant.to_owned(),
                time: object.number("time")?,
                memory_kib: object.number("memory")?,
                cpus: object.number("cpus")?,
                salt: salt()?,
            }),
            _ => Err(Refusal::Unsupported(Error::Value {
                path: object.path_of("type"),
                expected: "pbkdf2, argon2i or argon2id",
            })),
        }
    }
}

/// The bytes of a salt in base64, which must be 32.
pub(crate) fn salt(text: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(text).ok()?;
    (bytes.len() == SALT_BYTES).then_some(bytes)
}
