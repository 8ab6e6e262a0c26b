//! The storage root key (SRK) of a guest: a *storage parent* that has passed every check, from its public
//! area alone.
//!
//! `tpm2_readpublic -o` writes a `TPM2B_PUBLIC`, with `-f tpmt` the bare `TPMT_PUBLIC`; both are read. The
//! forms `pem` and `der` hold a public key without attributes: these are then those of the *standard
//! template* (TCG TPM v2.0 Provisioning Guidance, section 7.5.1), and the caller says whether it believes
//! that.
//!
//! A [`StorageParent`] is restricted, decrypts, does not sign, is RSA-2048 or P-256 with SHA-256, and its
//! objects are encrypted by AES-CFB with 128 or 256 bits; so a seed can be sent to it.

use std::fmt;

use super::key_kind::KeyKind;
use super::marshal::Cursor;
use super::public_key_file::{self, PublicKey};
use super::{EccScheme, Error, Name, Point, Public, PublicKind, UniqueData};

const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;
/// The bits that the specification defines; a TPM refuses an area with others.
const DEFINED: u32 = 0x000f_0cf6;
/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt.
const STANDARD_ATTRIBUTES: u32 = 0x0003_0472;
/// The same without noDA.
const LEGACY_ATTRIBUTES: u32 = 0x0003_0072;
const STANDARD_AES_BITS: u16 = 128;
const NO_DA: u32 = 1 << 10;
/// What 0 stands for.
const DEFAULT_EXPONENT: u32 = 65537;
const MODULUS_BYTES: usize = 256;

/// What a file of an SRK's public half holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SrkFile {
    /// A whole public area.
    PublicArea(StorageParent),
    /// A public key; the attributes are those of the standard template, by assumption.
    KeyAlone(StorageParent),
}

impl SrkFile {
    /// Reads a file in any of the four forms; nothing may follow.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        if let Some(key) = public_key_file::read(bytes)? {
            return StorageParent::of_standard_key(key).map(Self::KeyAlone);
        }
        StorageParent::read_area(bytes).map(Self::PublicArea)
    }
}

/// How a storage parent differs from one that the standard template makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandardDifference {
    /// It is an ECC key.
    Kind,
    /// Other attributes.
    Attributes {
        /// `objectAttributes`.
        attributes: u32,
    },
    /// It has a policy.
    Policy,
    /// It encrypts its objects with other key bits.
    AesBits {
        /// The bits.
        bits: u16,
    },
    /// Its exponent is not the default one.
    Exponent {
        /// The exponent.
        exponent: u32,
    },
}

impl fmt::Display for StandardDifference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => formatter.write_str("it is an ECC key, the standard one is RSA"),
            Self::Attributes { attributes } => {
                write!(
                    formatter,
                    "its attributes are {attributes:#010x}, the standard ones are {STANDARD_ATTRIBUTES:#010x}"
                )?;
                if attributes ^ STANDARD_ATTRIBUTES == NO_DA {
                    formatter.write_str(" (noda; tpm2_createprimary leaves it out)")?;
                }
                Ok(())
            }
            Self::Policy => formatter.write_str("it has a policy, the standard one has none"),
            Self::AesBits { bits } => {
                write!(
                    formatter,
                    "it encrypts with AES-{bits}, the standard one with AES-128"
                )
            }
            Self::Exponent { exponent } => {
                write!(
                    formatter,
                    "its exponent is written as {exponent}, that of the standard one as 0"
                )
            }
        }
    }
}

/// A key that can be the parent of sealed objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageParent {
    public: Public,
    aes_bits: u16,
    key: ParentKey,
}

/// The key to which a seed is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ParentKey {
    Rsa { modulus: Vec<u8>, exponent: u32 },
    Ecc(Point),
}

impl StorageParent {
    /// Reads a public area; a public key alone is [`Error::KeyAlone`].
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        match SrkFile::read(bytes)? {
            SrkFile::PublicArea(parent) => Ok(parent),
            SrkFile::KeyAlone(_) => Err(Error::KeyAlone),
        }
    }

    /// A `TPM2B_PUBLIC`, known by its length, or a `TPMT_PUBLIC`, known by its type.
    fn read_area(bytes: &[u8]) -> Result<Self, Error> {
        let first = Cursor::new(bytes).word("size");
        let first = first.map_err(|_| Error::NotAPublicArea)?;
        let mut cursor = Cursor::new(bytes);
        match first {
            // A TPM2B_PUBLIC with a length of 1 or 0x23 could hold no key.
            0x0001 | 0x0008 | 0x0023 => {}
            size if bytes.len() >= usize::from(size).saturating_add(2) && size > 0x23 => {
                cursor.word("size")?;
            }
            _ => return Err(Error::NotAPublicArea),
        }
        let sized = cursor.offset() > 0;
        let public = Public::read(&mut cursor)?;
        let end = cursor.offset();
        let stated = if sized {
            usize::from(first).saturating_add(2)
        } else {
            end
        };
        if cursor.left() > 0 || stated != end {
            return Err(Error::Trailing {
                end,
                extra: cursor.left(),
            });
        }
        Self::new(public)
    }

    /// The key as the standard template makes it. The exponent is written as 0, since TPMs report 65537 so
    /// and the name depends on it.
    fn of_standard_key(key: PublicKey) -> Result<Self, Error> {
        let aes_bits = Some(STANDARD_AES_BITS);
        Self::new(Public {
            attributes: STANDARD_ATTRIBUTES,
            auth_policy: Vec::new(),
            kind: match key {
                PublicKey::Rsa { modulus } => PublicKind::Rsa {
                    aes_bits,
                    exponent: 0,
                    unique: modulus,
                },
                PublicKey::Ecc { x, y } => PublicKind::Ecc {
                    aes_bits,
                    scheme: EccScheme::Null,
                    x,
                    y,
                },
            },
        })
    }

    fn new(public: Public) -> Result<Self, Error> {
        let attributes = public.attributes;
        let (key, aes_bits) = match &public.kind {
            PublicKind::KeyedHash { .. } => {
                return Err(Error::NotAsymmetric { kind: "KEYEDHASH" });
            }
            PublicKind::Rsa {
                aes_bits,
                exponent,
                unique,
            } => (rsa_key(unique, *exponent), aes_bits),
            PublicKind::Ecc {
                aes_bits,
                scheme: _,
                x,
                y,
            } => {
                let point = Point::new(x, y).ok_or(Error::NotOnCurve);
                (point.map(ParentKey::Ecc), aes_bits)
            }
        };
        let refused = [
            (attributes & !DEFINED != 0, "which have reserved bits"),
            (attributes & RESTRICTED == 0, "without restricted"),
            (attributes & DECRYPT == 0, "without decrypt"),
            (attributes & SIGN != 0, "with sign"),
        ];
        let refused = refused.into_iter().find(|(is_refused, _)| *is_refused);
        if let Some((_, reason)) = refused {
            return Err(Error::NotAParent { attributes, reason });
        }
        let Some(aes_bits) = *aes_bits else {
            let reason = "without a symmetric algorithm";
            return Err(Error::NotAParent { attributes, reason });
        };
        if let PublicKind::Ecc {
            scheme: EccScheme::EcdsaSha256,
            ..
        } = public.kind
        {
            let reason = "with a signing scheme";
            return Err(Error::NotAParent { attributes, reason });
        }
        let key = key?;
        Ok(Self {
            public,
            aes_bits,
            key,
        })
    }

    /// The kind of key.
    pub fn kind(&self) -> KeyKind {
        match self.key {
            ParentKey::Rsa { .. } => KeyKind::Rsa,
            ParentKey::Ecc(_) => KeyKind::Ecc,
        }
    }

    /// Key bits of the AES that its objects are encrypted with: 128 or 256.
    pub fn aes_bits(&self) -> u16 {
        self.aes_bits
    }

    /// `objectAttributes`.
    pub fn attributes(&self) -> u32 {
        self.public.attributes
    }

    /// `authPolicy`; empty where there is none.
    pub fn auth_policy(&self) -> &[u8] {
        &self.public.auth_policy
    }

    /// The name of the key: what tells one guest's SRK from another's.
    pub fn name(&self) -> Name {
        self.public.name()
    }

    /// The `TPM2B_PUBLIC`.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.public.to_sized_bytes()
    }

    pub(crate) fn key(&self) -> &ParentKey {
        &self.key
    }

    /// The template file from which the guest makes this key again: the public area, with what was given as
    /// unique data when the key was made in the place of the key. In form it is a `TPM2B_PUBLIC`.
    pub fn template(&self, unique: &UniqueData) -> Result<Vec<u8>, Error> {
        let mut template = self.public.clone();
        let given = match (&mut template.kind, unique) {
            (PublicKind::Rsa { unique, .. }, UniqueData::Rsa(data)) => {
                unique.clone_from(data);
                return Ok(template.to_sized_bytes());
            }
            (PublicKind::Ecc { x, y, .. }, UniqueData::Ecc(data_x, data_y)) => {
                x.clone_from(data_x);
                y.clone_from(data_y);
                return Ok(template.to_sized_bytes());
            }
            (_, UniqueData::Rsa(_)) => KeyKind::Rsa,
            (_, UniqueData::Ecc(..)) => KeyKind::Ecc,
        };
        Err(Error::UniqueKind {
            unique: given,
            key: self.kind(),
        })
    }

    /// True where systemd's legacy template could have made this key: the one that `tpm2_createprimary` takes without
    /// options. (What was given as unique data does not show.)
    pub fn is_of_legacy_template(&self) -> bool {
        let exponent = match self.public.kind {
            PublicKind::Rsa { exponent, .. } => exponent,
            _ => 0,
        };
        self.public.attributes == LEGACY_ATTRIBUTES
            && self.public.auth_policy.is_empty()
            && self.aes_bits == STANDARD_AES_BITS
            && exponent == 0
    }

    /// False for an ECC key of which a coordinate is written without the zeros in front.
    pub fn has_whole_coordinates(&self) -> bool {
        match &self.public.kind {
            PublicKind::Ecc { x, y, .. } => x.len() == 32 && y.len() == 32,
            _ => true,
        }
    }

    /// The first difference from a key that the standard template makes; none where this could be one. (What
    /// was given as unique data does not show.)
    pub fn differs_from_standard(&self) -> Option<StandardDifference> {
        let attributes = self.public.attributes;
        let bits = self.aes_bits;
        match &self.public.kind {
            PublicKind::Rsa { exponent, .. } => {
                if attributes != STANDARD_ATTRIBUTES {
                    Some(StandardDifference::Attributes { attributes })
                } else if !self.public.auth_policy.is_empty() {
                    Some(StandardDifference::Policy)
                } else if bits != STANDARD_AES_BITS {
                    Some(StandardDifference::AesBits { bits })
                } else if *exponent != 0 {
                    let exponent = *exponent;
                    Some(StandardDifference::Exponent { exponent })
                } else {
                    None
                }
            }
            _ => Some(StandardDifference::Kind),
        }
    }
}

fn rsa_key(modulus: &[u8], exponent: u32) -> Result<ParentKey, Error> {
    let reason = match (modulus.first(), modulus.last()) {
        _ if modulus.len() != MODULUS_BYTES => "must have 256 bytes",
        (Some(0x00..=0x7f), _) => "must have its highest bit set",
        (_, Some(last)) if last & 1 == 0 => "must be odd",
        _ if exponent != 0 && exponent != DEFAULT_EXPONENT => {
            "must come with the exponent 65537, written so or as 0"
        }
        _ => {
            return Ok(ParentKey::Rsa {
                modulus: modulus.to_vec(),
                exponent: DEFAULT_EXPONENT,
            });
        }
    };
    Err(Error::Modulus { reason })
}
