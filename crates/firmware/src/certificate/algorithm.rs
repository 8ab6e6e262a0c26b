//! Keys and signature algorithms, and whether a signature verifies.
//!
//! RFC 3279, 4055, 5480 and 8410 name them. AWS-LC verifies; what it cannot verify, firmware's library may be able
//! to (MD5, keys below 1024 bits, uncommon curves), so the answer has three values.

use aws_lc_rs::signature::{
    self, ParsedPublicKey, RsaParameters, RsaPssSaltLength, UnparsedPublicKey,
    VerificationAlgorithm,
};

use crate::Result;
use crate::der::{Reader, Value, tag};
use base::hash::Hash;

/// Object identifiers, as the content octets of their DER.
mod oid {
    pub const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
    /// 1.2.840.113549.1.1: what follows tells the hash function, or that it is RSASSA-PSS.
    pub const PKCS1: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01";
    pub const RSA_PSS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
    pub const MGF1: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08";
    pub const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
    /// 1.2.840.10045.4: signatures by elliptic curves.
    pub const ECDSA: &[u8] = b"\x2a\x86\x48\xce\x3d\x04";
    pub const P256: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07";
    pub const P384: &[u8] = b"\x2b\x81\x04\x00\x22";
    pub const P521: &[u8] = b"\x2b\x81\x04\x00\x23";
    pub const ED25519: &[u8] = b"\x2b\x65\x70";
    pub const SHA1: &[u8] = b"\x2b\x0e\x03\x02\x1a";
    pub const SHA256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
    pub const SHA384: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x02";
    pub const SHA512: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x03";
}

/// The hash functions that signatures name, by the content octets of their object identifiers.
const HASHES: [(&[u8], Hash); 4] = [
    (oid::SHA1, Hash::Sha1),
    (oid::SHA256, Hash::Sha256),
    (oid::SHA384, Hash::Sha384),
    (oid::SHA512, Hash::Sha512),
];

/// The hash function of an `AlgorithmIdentifier`'s object identifier, `None` for any other.
pub(crate) fn hash_of_oid(oid: &[u8]) -> Option<Hash> {
    let known = HASHES.iter().find(|(known, _)| *known == oid);
    known.map(|(_, hash)| *hash)
}

/// The hash function whose object identifier the name begins with.
pub(crate) fn hash_that_begins(name: &[u8]) -> Option<Hash> {
    let known = HASHES.iter().find(|(known, _)| name.starts_with(known));
    known.map(|(_, hash)| *hash)
}

/// How something was signed. `None` stands for parameters that AWS-LC does not verify with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    RsaPkcs1(Option<Hash>),
    RsaPss(Option<Pss>),
    Ecdsa(Option<Hash>),
    Ed25519,
    Other,
}

/// The parameters of RSASSA-PSS, where one hash function serves for message and mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pss {
    pub hash: Hash,
    pub salt_bytes: u16,
}

impl Algorithm {
    /// Reads an `AlgorithmIdentifier`.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (name, mut sequence) = identifier(reader)?;
        Ok(match name {
            oid::RSA_PSS => Self::RsaPss(pss(&mut sequence)),
            oid::ED25519 => Self::Ed25519,
            _ => match (name.strip_prefix(oid::PKCS1), name.strip_prefix(oid::ECDSA)) {
                (Some([kind]), _) => match kind {
                    0x05 => Self::RsaPkcs1(Some(Hash::Sha1)),
                    0x0b => Self::RsaPkcs1(Some(Hash::Sha256)),
                    0x0c => Self::RsaPkcs1(Some(Hash::Sha384)),
                    0x0d => Self::RsaPkcs1(Some(Hash::Sha512)),
                    0x02..=0x04 | 0x0e..=0x10 => Self::RsaPkcs1(None),
                    _ => Self::Other,
                },
                (_, Some(kind)) => match kind {
                    [0x01] => Self::Ecdsa(Some(Hash::Sha1)),
                    [0x03, 0x02] => Self::Ecdsa(Some(Hash::Sha256)),
                    [0x03, 0x03] => Self::Ecdsa(Some(Hash::Sha384)),
                    [0x03, 0x04] => Self::Ecdsa(Some(Hash::Sha512)),
                    [0x03, 0x01] => Self::Ecdsa(None),
                    _ => Self::Other,
                },
                _ => Self::Other,
            },
        })
    }

    /// The algorithm of a signer in PKCS#7, where the digest algorithm stands apart and the signature
    /// algorithm may name the key type alone.
    pub fn of_signer(hash: Hash, signature: Value<'_>) -> Result<Self> {
        let mut inside = signature.reader();
        Ok(
            match inside.oid("a signature algorithm's object identifier")? {
                oid::RSA => Self::RsaPkcs1(Some(hash)),
                oid::EC => Self::Ecdsa(Some(hash)),
                _ => Self::read(&mut Reader::new(signature.raw))?,
            },
        )
    }
}

/// Takes an `AlgorithmIdentifier`: a name, and at most one value as its parameters, for which a reader is returned.
fn identifier<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], Reader<'a>)> {
    let mut sequence = reader.sequence("an algorithm identifier")?;
    let name = sequence.oid("an algorithm's object identifier")?;
    let parameters = sequence;
    if !sequence.is_empty() {
        let value = sequence.any("an algorithm's parameters")?;
        // Of other types, which no algorithm has, the library reads some.
        let is_sound = match value.tag {
            tag::SEQUENCE => true,
            tag::NULL => value.content.is_empty(),
            tag::OBJECT_IDENTIFIER => Reader::new(value.raw).oid("a parameter").is_ok(),
            _ => false,
        };
        if !is_sound {
            return Err(sequence.error("an algorithm's parameters"));
        }
    }
    sequence.end("an algorithm's parameters")?;
    Ok((name, parameters))
}

/// RFC 4055 section 3.1: [0] hash function, [1] mask, [2] length of the salt, [3] trailer. What is left out is SHA-1,
/// its mask, 20 and 1.
fn pss(identifier: &mut Reader<'_>) -> Option<Pss> {
    let mut parameters = identifier.sequence("the parameters of RSASSA-PSS").ok()?;
    let mut part = |tag| parameters.optional(tag, "a parameter of RSASSA-PSS").ok();
    let [hash, mask, salt, trailer] = [
        part(tag::CONTEXT_0)?,
        part(tag::CONTEXT_1)?,
        part(tag::CONTEXT_2)?,
        part(tag::CONTEXT_3)?,
    ];
    let named_hash = |reader: &mut Reader<'_>| {
        let mut identifier = reader.sequence("a hash algorithm").ok()?;
        hash_of_oid(identifier.oid("a hash algorithm").ok()?)
    };
    let hash = match hash {
        Some(hash) => named_hash(&mut hash.reader())?,
        None => Hash::Sha1,
    };
    let mask_hash = match mask {
        Some(mask) => {
            let mut generator = mask.reader().sequence("a mask").ok()?;
            let is_mgf1 = generator.oid("a mask").ok()? == oid::MGF1;
            is_mgf1.then(|| named_hash(&mut generator))??
        }
        None => Hash::Sha1,
    };
    let number = |value: Option<Value<'_>>, otherwise: u16| match value {
        None => Some(otherwise),
        Some(value) => {
            let number = value.reader().value(tag::INTEGER, "a number").ok()?;
            match number.content {
                [byte @ 0..=0x7f] => Some(u16::from(*byte)),
                [high @ 0..=0x7f, low] => Some(u16::from_be_bytes([*high, *low])),
                _ => None,
            }
        }
    };
    let salt_bytes = number(salt, 20)?;
    (number(trailer, 1)? == 1 && hash == mask_hash).then_some(Pss { hash, salt_bytes })
}

/// A public key's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyType {
    Rsa,
    /// RSA, for RSASSA-PSS alone.
    RsaPss,
    P256,
    P384,
    P521,
    /// A named curve that AWS-LC does not verify with.
    OtherCurve,
    /// A curve whose parameters stand in the certificate.
    ExplicitCurve,
    Ed25519,
    Other,
}

impl KeyType {
    /// Reads the algorithm of a public key.
    pub fn read(key: &mut Reader<'_>) -> Result<Self> {
        let (name, mut parameters) = identifier(key)?;
        Ok(match name {
            oid::RSA => Self::Rsa,
            oid::RSA_PSS => Self::RsaPss,
            oid::ED25519 => Self::Ed25519,
            oid::EC => {
                let Ok(curve) = parameters.any("a curve") else {
                    return Ok(Self::OtherCurve);
                };
                match (curve.tag, curve.content) {
                    (tag::OBJECT_IDENTIFIER, oid::P256) => Self::P256,
                    (tag::OBJECT_IDENTIFIER, oid::P384) => Self::P384,
                    (tag::OBJECT_IDENTIFIER, oid::P521) => Self::P521,
                    (tag::SEQUENCE, _) => Self::ExplicitCurve,
                    _ => Self::OtherCurve,
                }
            }
            _ => Self::Other,
        })
    }

    pub fn is_elliptic(self) -> bool {
        matches!(
            self,
            Self::P256 | Self::P384 | Self::P521 | Self::OtherCurve | Self::ExplicitCurve
        )
    }

    /// True where a signature by `algorithm` can be one by such a key, `None` where that is not known.
    pub fn fits(self, algorithm: Algorithm) -> Option<bool> {
        Some(match (self, algorithm) {
            (Self::Other, _) | (_, Algorithm::Other) => return None,
            (Self::Rsa, Algorithm::RsaPss(_) | Algorithm::RsaPkcs1(_))
            | (Self::RsaPss, Algorithm::RsaPss(_))
            | (Self::Ed25519, Algorithm::Ed25519) => true,
            (curve, Algorithm::Ecdsa(_)) => curve.is_elliptic(),
            _ => false,
        })
    }

    /// The same by the rules of the reference, which knows fewer algorithms.
    pub fn fits_by_reference(self, algorithm: Algorithm) -> bool {
        match (self, algorithm) {
            (Self::Rsa, Algorithm::RsaPss(Some(pss))) => pss.hash != Hash::Sha1,
            (Self::Rsa, Algorithm::RsaPkcs1(Some(_)))
            | (Self::Ed25519, Algorithm::Ed25519)
            | (Self::P256 | Self::P384 | Self::P521, Algorithm::Ecdsa(Some(_))) => true,
            _ => false,
        }
    }
}

/// Whether a signature verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verified {
    Yes,
    No,
    /// AWS-LC cannot say, firmware may be able to.
    Unknown,
}

impl From<bool> for Verified {
    fn from(verifies: bool) -> Self {
        if verifies { Self::Yes } else { Self::No }
    }
}

/// Whether `signature` is one over `message` by this key.
pub(crate) fn verify(
    key_type: KeyType,
    key: &[u8],
    algorithm: Algorithm,
    message: &[u8],
    signature: &[u8],
) -> Verified {
    if key_type.fits(algorithm) == Some(false) {
        return Verified::No;
    }
    match (key_type, algorithm) {
        (KeyType::Rsa | KeyType::RsaPss, Algorithm::RsaPss(Some(pss))) => {
            verify_pss(key, pss, message, signature)
        }
        (KeyType::Rsa, Algorithm::RsaPkcs1(Some(hash))) => {
            let parameters = match hash {
                Hash::Sha1 => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
                Hash::Sha256 => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                Hash::Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                Hash::Sha512 => &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
            };
            verify_rsa(parameters, key, message, signature)
        }
        _ => match without_rsa(key_type, algorithm) {
            Some(verification) => UnparsedPublicKey::new(verification, key)
                .verify(message, signature)
                .is_ok()
                .into(),
            None => Verified::Unknown,
        },
    }
}

fn verify_rsa(
    parameters: &RsaParameters,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Verified {
    let bits = RsaParameters::public_modulus_len(key).unwrap_or_default();
    if !(parameters.min_modulus_len()..=parameters.max_modulus_len()).contains(&bits) {
        return Verified::Unknown;
    }
    parameters
        .verify_sig(key, message, signature)
        .is_ok()
        .into()
}

fn verify_pss(key: &[u8], pss: Pss, message: &[u8], signature: &[u8]) -> Verified {
    let parameters = match pss.hash {
        Hash::Sha1 => return Verified::Unknown,
        Hash::Sha256 => signature::RSA_PSS_2048_8192_SHA256,
        Hash::Sha384 => signature::RSA_PSS_2048_8192_SHA384,
        Hash::Sha512 => signature::RSA_PSS_2048_8192_SHA512,
    };
    let parameters = parameters.with_pss_salt_length(RsaPssSaltLength::Custom(pss.salt_bytes));
    verify_rsa(&parameters, key, message, signature)
}

/// AWS-LC's verification for keys that are no RSA keys; `None` for a pair that it has not.
fn without_rsa(key: KeyType, algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (key, algorithm) {
        (KeyType::P256, Algorithm::Ecdsa(Some(hash))) => match hash {
            Hash::Sha1 => &signature::ECDSA_P256_SHA1_ASN1,
            Hash::Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
            Hash::Sha384 => &signature::ECDSA_P256_SHA384_ASN1,
            Hash::Sha512 => &signature::ECDSA_P256_SHA512_ASN1,
        },
        (KeyType::P384, Algorithm::Ecdsa(Some(hash))) => match hash {
            Hash::Sha1 => return None,
            Hash::Sha256 => &signature::ECDSA_P384_SHA256_ASN1,
            Hash::Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
            Hash::Sha512 => &signature::ECDSA_P384_SHA512_ASN1,
        },
        (KeyType::P521, Algorithm::Ecdsa(Some(hash))) => match hash {
            Hash::Sha1 => &signature::ECDSA_P521_SHA1_ASN1,
            Hash::Sha256 => &signature::ECDSA_P521_SHA256_ASN1,
            Hash::Sha384 => &signature::ECDSA_P521_SHA384_ASN1,
            Hash::Sha512 => &signature::ECDSA_P521_SHA512_ASN1,
        },
        (KeyType::Ed25519, Algorithm::Ed25519) => &signature::ED25519,
        _ => return None,
    })
}

/// False where the key's bytes are none of its type, so that no library can use it; `None` where libraries may differ.
pub(crate) fn has_readable_key(key_type: KeyType, key: &[u8]) -> Option<bool> {
    let parses = |verification: &'static dyn VerificationAlgorithm| {
        Some(ParsedPublicKey::new(verification, key).is_ok())
    };
    match key_type {
        KeyType::Rsa | KeyType::RsaPss if is_built_as_rsa_key(key) => {
            // AWS-LC refuses numbers that are negative or of more octets than they need; others take those as they are.
            RsaParameters::public_modulus_len(key)
                .is_ok()
                .then_some(true)
        }
        KeyType::Rsa | KeyType::RsaPss => Some(false),
        KeyType::P256 => parses(&signature::ECDSA_P256_SHA256_ASN1),
        KeyType::P384 => parses(&signature::ECDSA_P384_SHA384_ASN1),
        KeyType::P521 => parses(&signature::ECDSA_P521_SHA512_ASN1),
        KeyType::Ed25519 => Some(key.len() == 32),
        KeyType::ExplicitCurve => Some(true),
        KeyType::OtherCurve | KeyType::Other => None,
    }
}

/// True for a sequence of two numbers (RFC 8017, appendix A.1.1).
fn is_built_as_rsa_key(key: &[u8]) -> bool {
    let what = "an RSA key";
    let parts = || -> Result<()> {
        let mut whole = Reader::new(key);
        let mut numbers = whole.sequence(what)?;
        whole.end(what)?;
        numbers.integer(what)?;
        numbers.integer(what)?;
        numbers.end(what)
    };
    parts().is_ok()
}
