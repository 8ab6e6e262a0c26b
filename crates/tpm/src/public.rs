//! The public area of an object, `TPMT_PUBLIC` (TPM 2.0 Library, part 2, section 12.2.4), and its name.
//!
//! | size | field | here |
//! | --- | --- | --- |
//! | 2 | type | 0001 RSA, 0008 keyed hash, 0023 ECC |
//! | 2 | nameAlg | 000b SHA-256 |
//! | 4 | objectAttributes | any |
//! | 2 + n | authPolicy | empty or a SHA-256 digest |
//! | | parameters, keyed hash | scheme 0010 |
//! | | parameters, RSA | symmetric, scheme 0010, key bits 0800, exponent (4 bytes) |
//! | | parameters, ECC | symmetric, scheme (0010; 0018 000b), curve 0003, kdf 0010 |
//! | 2 + n | unique | digest; modulus; for ECC x and y, each behind its length |
//!
//! *symmetric* is 0010, or 0006, key bits 0080 or 0100, mode 0043 (AES-CFB). Other values are refused, since
//! what follows them has another form. Reading and writing gives the same bytes.

use std::fmt;

use super::Error;
use super::kdf::sha256;
use super::marshal::{Cursor, Marshal};

const TPM_ALG_RSA: u16 = 0x0001;
const TPM_ALG_AES: u16 = 0x0006;
const TPM_ALG_KEYEDHASH: u16 = 0x0008;
const TPM_ALG_SHA256: u16 = 0x000b;
const TPM_ALG_NULL: u16 = 0x0010;
const TPM_ALG_ECDSA: u16 = 0x0018;
const TPM_ALG_ECC: u16 = 0x0023;
const TPM_ALG_CFB: u16 = 0x0043;
const TPM_ECC_NIST_P256: u16 = 0x0003;
const RSA_BITS: u16 = 2048;

/// The name of an object: the algorithm of its public area, and that area's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name([u8; 34]);

impl Name {
    /// The name's bytes: 000b and 32 bytes of SHA-256.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// A public area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// `objectAttributes`.
    pub attributes: u32,
    /// `authPolicy`: empty, or the digest of the policy that must be satisfied.
    pub auth_policy: Vec<u8>,
    /// What is particular to the type.
    pub kind: PublicKind,
}

/// The part of a public area that depends on its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKind {
    /// Sealed data.
    KeyedHash {
        /// Digest that ties the data to this area.
        unique: Vec<u8>,
    },
    /// An RSA key of 2048 bits.
    Rsa {
        /// Key bits of AES-CFB for the objects below it; none for a key that is no parent.
        aes_bits: Option<u16>,
        /// Public exponent; 0 means 65537.
        exponent: u32,
        /// The modulus, or in a template the unique data; at most 256 bytes.
        unique: Vec<u8>,
    },
    /// A key on NIST P-256.
    Ecc {
        /// Key bits of AES-CFB for the objects below it; none for a key that is no parent.
        aes_bits: Option<u16>,
        /// What it signs by.
        scheme: EccScheme,
        /// Coordinate x, or in a template the first part of the unique data; at most 32 bytes.
        x: Vec<u8>,
        /// Coordinate y, or in a template the second part of the unique data; at most 32 bytes.
        y: Vec<u8>,
    },
}

/// The signing scheme of an ECC key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EccScheme {
    /// None that the area fixes.
    Null,
    /// ECDSA with SHA-256.
    EcdsaSha256,
}

impl Public {
    /// Reads a `TPMT_PUBLIC`, leaving the cursor behind it.
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Self, Error> {
        let offset = cursor.offset();
        let object_type = cursor.word("type")?;
        cursor.expect_word("nameAlg", TPM_ALG_SHA256, "0x000b (SHA-256)")?;
        let attributes = cursor.long("objectAttributes")?;
        let policy_offset = cursor.offset();
        let auth_policy = cursor.sized("authPolicy")?.to_vec();
        if !matches!(auth_policy.len(), 0 | 32) {
            return Err(Error::Length {
                field: "authPolicy",
                offset: policy_offset,
                len_bytes: auth_policy.len(),
                allowed: "none or 32",
            });
        }
        let kind = match object_type {
            TPM_ALG_KEYEDHASH => Self::read_keyed_hash(cursor)?,
            TPM_ALG_RSA => Self::read_rsa(cursor)?,
            TPM_ALG_ECC => Self::read_ecc(cursor)?,
            found => {
                return Err(Error::Unsupported {
                    field: "type",
                    offset,
                    found: u32::from(found),
                    supported: "0x0001 (RSA), 0x0008 (keyed hash) or 0x0023 (ECC)",
                });
            }
        };
        Ok(Self {
            attributes,
            auth_policy,
            kind,
        })
    }

    fn read_keyed_hash(cursor: &mut Cursor<'_>) -> Result<PublicKind, Error> {
        cursor.expect_word("scheme", TPM_ALG_NULL, "0x0010 (none)")?;
        let unique = cursor.sized_within("unique", 32, "at most 32")?.to_vec();
        Ok(PublicKind::KeyedHash { unique })
    }

    fn read_rsa(cursor: &mut Cursor<'_>) -> Result<PublicKind, Error> {
        let aes_bits = read_symmetric(cursor)?;
        cursor.expect_word("scheme", TPM_ALG_NULL, "0x0010 (none)")?;
        cursor.expect_word("keyBits", RSA_BITS, "0x0800 (2048 bits)")?;
        let exponent = cursor.long("exponent")?;
        let unique = cursor.sized_within("unique", 256, "at most 256")?.to_vec();
        Ok(PublicKind::Rsa {
            aes_bits,
            exponent,
            unique,
        })
    }

    fn read_ecc(cursor: &mut Cursor<'_>) -> Result<PublicKind, Error> {
        let aes_bits = read_symmetric(cursor)?;
        let offset = cursor.offset();
        let scheme = match cursor.word("scheme")? {
            TPM_ALG_NULL => EccScheme::Null,
            TPM_ALG_ECDSA => {
                cursor.expect_word("scheme hash", TPM_ALG_SHA256, "0x000b (SHA-256)")?;
                EccScheme::EcdsaSha256
            }
            found => {
                return Err(Error::Unsupported {
                    field: "scheme",
                    offset,
                    found: u32::from(found),
                    supported: "0x0010 (none) or 0x0018 (ECDSA)",
                });
            }
        };
        cursor.expect_word("curveID", TPM_ECC_NIST_P256, "0x0003 (NIST P-256)")?;
        cursor.expect_word("kdf", TPM_ALG_NULL, "0x0010 (none)")?;
        let x = cursor.sized_within("unique x", 32, "at most 32")?.to_vec();
        let y = cursor.sized_within("unique y", 32, "at most 32")?.to_vec();
        Ok(PublicKind::Ecc {
            aes_bits,
            scheme,
            x,
            y,
        })
    }

    /// The `TPMT_PUBLIC`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_word(match self.kind {
            PublicKind::KeyedHash { .. } => TPM_ALG_KEYEDHASH,
            PublicKind::Rsa { .. } => TPM_ALG_RSA,
            PublicKind::Ecc { .. } => TPM_ALG_ECC,
        });
        bytes.put_word(TPM_ALG_SHA256);
        bytes.put_long(self.attributes);
        bytes.put_sized(&self.auth_policy);
        match &self.kind {
            PublicKind::KeyedHash { unique } => {
                bytes.put_word(TPM_ALG_NULL);
                bytes.put_sized(unique);
            }
            PublicKind::Rsa {
                aes_bits,
                exponent,
                unique,
            } => {
                put_symmetric(&mut bytes, *aes_bits);
                bytes.put_word(TPM_ALG_NULL);
                bytes.put_word(RSA_BITS);
                bytes.put_long(*exponent);
                bytes.put_sized(unique);
            }
            PublicKind::Ecc {
                aes_bits,
                scheme,
                x,
                y,
            } => {
                put_symmetric(&mut bytes, *aes_bits);
                match scheme {
                    EccScheme::Null => bytes.put_word(TPM_ALG_NULL),
                    EccScheme::EcdsaSha256 => {
                        bytes.put_word(TPM_ALG_ECDSA);
                        bytes.put_word(TPM_ALG_SHA256);
                    }
                }
                bytes.put_word(TPM_ECC_NIST_P256);
                bytes.put_word(TPM_ALG_NULL);
                bytes.put_sized(x);
                bytes.put_sized(y);
            }
        }
        bytes
    }

    /// The `TPM2B_PUBLIC`: the area behind its 16-bit length.
    pub fn to_sized_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_sized(&self.to_bytes());
        bytes
    }

    /// The object's name.
    pub fn name(&self) -> Name {
        let mut name = [0; 34];
        let (algorithm, digest) = name.split_at_mut(2);
        algorithm.copy_from_slice(&TPM_ALG_SHA256.to_be_bytes());
        digest.copy_from_slice(&sha256(&[&self.to_bytes()]));
        Name(name)
    }
}

fn read_symmetric(cursor: &mut Cursor<'_>) -> Result<Option<u16>, Error> {
    let offset = cursor.offset();
    match cursor.word("symmetric")? {
        TPM_ALG_NULL => Ok(None),
        TPM_ALG_AES => {
            let offset = cursor.offset();
            let bits = cursor.word("symmetric keyBits")?;
            if !matches!(bits, 128 | 256) {
                return Err(Error::Unsupported {
                    field: "symmetric keyBits",
                    offset,
                    found: u32::from(bits),
                    supported: "0x0080 or 0x0100 (AES-128, AES-256)",
                });
            }
            cursor.expect_word("symmetric mode", TPM_ALG_CFB, "0x0043 (CFB)")?;
            Ok(Some(bits))
        }
        found => Err(Error::Unsupported {
            field: "symmetric",
            offset,
            found: u32::from(found),
            supported: "0x0006 (AES) or 0x0010 (none)",
        }),
    }
}

fn put_symmetric(bytes: &mut Vec<u8>, aes_bits: Option<u16>) {
    if let Some(bits) = aes_bits {
        bytes.put_word(TPM_ALG_AES);
        bytes.put_word(bits);
        bytes.put_word(TPM_ALG_CFB);
    } else {
        bytes.put_word(TPM_ALG_NULL);
    }
}
