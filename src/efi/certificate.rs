//! X.509 certificates, as far as Secure Boot asks: who issued whom, and does the signature verify.
//!
//! RFC 5280 section 4.1. The parts are kept as the bytes they were: names are compared as raw DER, and a
//! signature is verified over the `TBSCertificate` as received. Validity dates and key usages play no part,
//! as they play none for firmware and shim. A value with bytes behind its end is no certificate here.
//!
//! A certificate is *issued by name* by another where issuer and subject, authority and subject key
//! identifier agree and the signature algorithm fits the key; it is *issued* where its signature verifies
//! as well.

use std::fmt;
use std::ops::Range;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use super::der::{Reader, Value, tag};
use super::{Error, Result};

/// Object identifiers, as the content octets of their DER.
mod oid {
    pub const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
    pub const RSA_SHA1: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05";
    pub const RSA_PSS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
    pub const RSA_SHA256: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b";
    pub const RSA_SHA384: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c";
    pub const RSA_SHA512: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d";
    pub const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
    pub const ECDSA_SHA1: &[u8] = b"\x2a\x86\x48\xce\x3d\x04\x01";
    pub const ECDSA_SHA256: &[u8] = b"\x2a\x86\x48\xce\x3d\x04\x03\x02";
    pub const ECDSA_SHA384: &[u8] = b"\x2a\x86\x48\xce\x3d\x04\x03\x03";
    pub const ECDSA_SHA512: &[u8] = b"\x2a\x86\x48\xce\x3d\x04\x03\x04";
    pub const P256: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07";
    pub const P384: &[u8] = b"\x2b\x81\x04\x00\x22";
    pub const P521: &[u8] = b"\x2b\x81\x04\x00\x23";
    pub const ED25519: &[u8] = b"\x2b\x65\x70";
    pub const SHA1: &[u8] = b"\x2b\x0e\x03\x02\x1a";
    pub const SHA256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
    pub const SHA384: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x02";
    pub const SHA512: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x03";
    pub const SUBJECT_KEY_IDENTIFIER: &[u8] = b"\x55\x1d\x0e";
    pub const AUTHORITY_KEY_IDENTIFIER: &[u8] = b"\x55\x1d\x23";
    pub const EXTENDED_KEY_USAGE: &[u8] = b"\x55\x1d\x25";
    /// 1.3.6.1.4.1.2312.16.1.2: signs kernel modules, nothing that boots.
    pub const MODULE_SIGNING: &[u8] = b"\x2b\x06\x01\x04\x01\x92\x08\x10\x01\x02";
    pub const ORGANISATION: &[u8] = b"\x55\x04\x0a";
}

/// A hash function that a signature names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// Only in certificates of old.
    Sha1,
    /// What Secure Boot uses.
    Sha256,
    /// Longer.
    Sha384,
    /// Longest.
    Sha512,
}

impl Hash {
    /// The hash function of an `AlgorithmIdentifier`'s object identifier, `None` for any other.
    pub(super) fn from_oid(oid: &[u8]) -> Option<Self> {
        Some(match oid {
            oid::SHA1 => Self::Sha1,
            oid::SHA256 => Self::Sha256,
            oid::SHA384 => Self::Sha384,
            oid::SHA512 => Self::Sha512,
            _ => return None,
        })
    }

    pub(super) fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> digest::Digest {
        digest::digest(self.algorithm(), bytes)
    }
}

/// How something was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    RsaPkcs1(Hash),
    RsaPss(Hash),
    Ecdsa(Hash),
    Ed25519,
    Other,
}

impl Algorithm {
    /// Reads an `AlgorithmIdentifier`.
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let mut sequence = reader.sequence("an algorithm identifier")?;
        let name = sequence.oid("an algorithm's object identifier")?;
        Ok(match name {
            oid::RSA_SHA1 => Self::RsaPkcs1(Hash::Sha1),
            oid::RSA_SHA256 => Self::RsaPkcs1(Hash::Sha256),
            oid::RSA_SHA384 => Self::RsaPkcs1(Hash::Sha384),
            oid::RSA_SHA512 => Self::RsaPkcs1(Hash::Sha512),
            oid::RSA_PSS => pss_hash(&mut sequence).map_or(Self::Other, Self::RsaPss),
            oid::ECDSA_SHA1 => Self::Ecdsa(Hash::Sha1),
            oid::ECDSA_SHA256 => Self::Ecdsa(Hash::Sha256),
            oid::ECDSA_SHA384 => Self::Ecdsa(Hash::Sha384),
            oid::ECDSA_SHA512 => Self::Ecdsa(Hash::Sha512),
            oid::ED25519 => Self::Ed25519,
            _ => Self::Other,
        })
    }

    /// The algorithm of a signer in PKCS#7, where the digest algorithm stands apart and the signature
    /// algorithm may name the key type alone.
    pub(super) fn of_signer(hash: Hash, signature: Value<'_>) -> Result<Self> {
        let mut inside = signature.reader();
        Ok(
            match inside.oid("a signature algorithm's object identifier")? {
                oid::RSA => Self::RsaPkcs1(hash),
                oid::EC => Self::Ecdsa(hash),
                _ => Self::read(&mut Reader::new(signature.raw))?,
            },
        )
    }
}

/// The hash function in the parameters of RSASSA-PSS (RFC 4055 section 3.1): [0] hashAlgorithm.
fn pss_hash(parameters: &mut Reader<'_>) -> Option<Hash> {
    let mut parameters = parameters.sequence("the parameters of RSASSA-PSS").ok()?;
    let hash = parameters
        .optional(tag::CONTEXT_0, "a hash algorithm")
        .ok()??;
    let mut identifier = hash.reader().sequence("a hash algorithm").ok()?;
    Hash::from_oid(identifier.oid("a hash algorithm").ok()?)
}

/// A public key's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyType {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
    Other,
}

impl KeyType {
    /// True where a signature by `algorithm` can be one by such a key.
    fn fits(self, algorithm: Algorithm) -> bool {
        match (self, algorithm) {
            (Self::Rsa, Algorithm::RsaPss(hash)) => hash != Hash::Sha1,
            (Self::Rsa, Algorithm::RsaPkcs1(_))
            | (Self::Ed25519, Algorithm::Ed25519)
            | (Self::P256 | Self::P384 | Self::P521, Algorithm::Ecdsa(_)) => true,
            _ => false,
        }
    }
}

/// A certificate: one whole DER value.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    tbs: Range<usize>,
    issuer: Range<usize>,
    subject: Range<usize>,
    serial: Range<usize>,
    key: Range<usize>,
    signature: Range<usize>,
    key_type: KeyType,
    algorithm: Algorithm,
    subject_key_id: Vec<u8>,
    authority_key_id: Vec<u8>,
    signs_modules: bool,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Certificate({}, {} bytes)",
            self.subject(),
            self.der.len()
        )
    }
}

impl Certificate {
    /// Reads exactly one certificate.
    pub fn parse(der: &[u8]) -> Result<Self> {
        let mut outer = Reader::new(der);
        let mut whole = outer.sequence("a certificate")?;
        if !outer.is_empty() {
            return Err(Error::BehindCertificate {
                len_bytes: der.len(),
            });
        }
        let tbs = whole.value(tag::SEQUENCE, "a certificate's body")?;
        let algorithm = Algorithm::read(&mut whole)?;
        let signature = bit_string(&mut whole, "a certificate's signature")?;

        let mut body = tbs.reader();
        body.optional(tag::CONTEXT_0, "a certificate's version")?;
        let serial = body.value(tag::INTEGER, "a serial number")?;
        body.value(tag::SEQUENCE, "a signature algorithm")?;
        let issuer = body.value(tag::SEQUENCE, "an issuer")?;
        body.value(tag::SEQUENCE, "a validity")?;
        let subject = body.value(tag::SEQUENCE, "a subject")?;
        let mut key_info = body.sequence("a public key")?;
        let mut key_algorithm = key_info.sequence("a public key's algorithm")?;
        let key_type = match key_algorithm.oid("a public key's algorithm")? {
            oid::RSA => KeyType::Rsa,
            oid::ED25519 => KeyType::Ed25519,
            oid::EC => match key_algorithm.oid("a curve")? {
                oid::P256 => KeyType::P256,
                oid::P384 => KeyType::P384,
                oid::P521 => KeyType::P521,
                _ => KeyType::Other,
            },
            _ => KeyType::Other,
        };
        let key = bit_string(&mut key_info, "a public key")?;

        let mut certificate = Self {
            tbs: tbs.range(),
            issuer: issuer.range(),
            subject: subject.range(),
            serial: serial.content_range(),
            key,
            signature,
            key_type,
            algorithm,
            subject_key_id: Vec::new(),
            authority_key_id: Vec::new(),
            signs_modules: false,
            der: der.to_vec(),
        };
        while !body.is_empty() {
            let value = body.any("an optional part of a certificate")?;
            if value.tag == tag::CONTEXT_3 {
                certificate.read_extensions(value)?;
            }
        }
        Ok(certificate)
    }

    fn read_extensions(&mut self, extensions: Value<'_>) -> Result<()> {
        let mut list = extensions.reader().sequence("a list of extensions")?;
        while !list.is_empty() {
            let mut extension = list.sequence("an extension")?;
            let name = extension.oid("an extension's object identifier")?;
            extension.optional(0x01, "an extension's criticality")?;
            let value = extension.value(tag::OCTET_STRING, "an extension's value")?;
            let mut inside = value.reader();
            match name {
                oid::SUBJECT_KEY_IDENTIFIER => {
                    let id = inside.value(tag::OCTET_STRING, "a subject key identifier")?;
                    self.subject_key_id = id.content.to_vec();
                }
                oid::AUTHORITY_KEY_IDENTIFIER => {
                    let mut parts = inside.sequence("an authority key identifier")?;
                    let what = "an authority key identifier";
                    if let Some(id) = parts.optional(tag::CONTEXT_0_PRIMITIVE, what)? {
                        self.authority_key_id = id.content.to_vec();
                    }
                }
                oid::EXTENDED_KEY_USAGE => {
                    let mut usages = inside.sequence("extended key usages")?;
                    while !usages.is_empty() {
                        self.signs_modules |= usages.oid("a key usage")? == oid::MODULE_SIGNING;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.der.get(range.clone()).unwrap_or_default()
    }

    /// The whole certificate as it was read.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The part that its issuer signed; its digest is what a dbx list of TBS digests names.
    pub fn tbs(&self) -> &[u8] {
        self.part(&self.tbs)
    }

    /// Who it is for.
    pub fn subject(&self) -> Name<'_> {
        Name(self.part(&self.subject))
    }

    /// Who issued it.
    pub fn issuer(&self) -> Name<'_> {
        Name(self.part(&self.issuer))
    }

    pub(super) fn is_serial(&self, serial: &[u8]) -> bool {
        self.part(&self.serial) == serial
    }

    /// True where the certificate is for signing kernel modules, which shim does not boot.
    pub fn signs_modules(&self) -> bool {
        self.signs_modules
    }

    /// True where `issuer` issued this certificate, as far as names, key identifiers and key type tell.
    pub fn is_issued_by_name(&self, issuer: &Self) -> bool {
        self.issuer() == issuer.subject()
            && self.authority_key_id == issuer.subject_key_id
            && issuer.key_type.fits(self.algorithm)
    }

    /// True where `issuer` issued this certificate by name, and its signature verifies.
    pub fn is_issued_by(&self, issuer: &Self) -> bool {
        self.is_issued_by_name(issuer)
            && issuer.verifies(self.algorithm, self.tbs(), self.part(&self.signature))
    }

    /// True where an issuer that is known by these alone, with an RSA key, issued this certificate.
    pub fn is_issued_by_known(&self, subject: &[u8], subject_key_id: &[u8]) -> bool {
        self.issuer().0 == subject
            && self.authority_key_id == subject_key_id
            && KeyType::Rsa.fits(self.algorithm)
    }

    /// True where the other is the same certificate, as far as names, key identifiers, key type and
    /// signature algorithm tell; the keys themselves may differ.
    pub fn is_by_name(&self, other: &Self) -> bool {
        self.subject() == other.subject()
            && self.issuer() == other.issuer()
            && self.subject_key_id == other.subject_key_id
            && self.authority_key_id == other.authority_key_id
            && self.key_type == other.key_type
            && self.algorithm == other.algorithm
    }

    /// True where `signature` is one over `message` by this certificate's key.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        verification(self.key_type, algorithm).is_some_and(|verification| {
            UnparsedPublicKey::new(verification, self.part(&self.key))
                .verify(message, signature)
                .is_ok()
        })
    }
}

/// AWS-LC's verification for a key type and an algorithm; `None` for a pair that it or firmware has not.
fn verification(key: KeyType, algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (key, algorithm) {
        (KeyType::Rsa, Algorithm::RsaPkcs1(Hash::Sha1)) => {
            &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY
        }
        (KeyType::Rsa, Algorithm::RsaPkcs1(Hash::Sha256)) => {
            &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY
        }
        (KeyType::Rsa, Algorithm::RsaPkcs1(Hash::Sha384)) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (KeyType::Rsa, Algorithm::RsaPkcs1(Hash::Sha512)) => {
            &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY
        }
        (KeyType::Rsa, Algorithm::RsaPss(Hash::Sha256)) => &signature::RSA_PSS_2048_8192_SHA256,
        (KeyType::Rsa, Algorithm::RsaPss(Hash::Sha384)) => &signature::RSA_PSS_2048_8192_SHA384,
        (KeyType::Rsa, Algorithm::RsaPss(Hash::Sha512)) => &signature::RSA_PSS_2048_8192_SHA512,
        (KeyType::P256, Algorithm::Ecdsa(Hash::Sha256)) => &signature::ECDSA_P256_SHA256_ASN1,
        (KeyType::P256, Algorithm::Ecdsa(Hash::Sha384)) => &signature::ECDSA_P256_SHA384_ASN1,
        (KeyType::P256, Algorithm::Ecdsa(Hash::Sha512)) => &signature::ECDSA_P256_SHA512_ASN1,
        (KeyType::P384, Algorithm::Ecdsa(Hash::Sha256)) => &signature::ECDSA_P384_SHA256_ASN1,
        (KeyType::P384, Algorithm::Ecdsa(Hash::Sha384)) => &signature::ECDSA_P384_SHA384_ASN1,
        (KeyType::P521, Algorithm::Ecdsa(Hash::Sha1)) => &signature::ECDSA_P521_SHA1_ASN1,
        (KeyType::P521, Algorithm::Ecdsa(Hash::Sha256)) => &signature::ECDSA_P521_SHA256_ASN1,
        (KeyType::P521, Algorithm::Ecdsa(Hash::Sha384)) => &signature::ECDSA_P521_SHA384_ASN1,
        (KeyType::P521, Algorithm::Ecdsa(Hash::Sha512)) => &signature::ECDSA_P521_SHA512_ASN1,
        _ => return None,
    })
}

/// Where the octets of a BIT STRING lie, which must have no unused bits.
fn bit_string(reader: &mut Reader<'_>, what: &'static str) -> Result<Range<usize>> {
    let value = reader.value(tag::BIT_STRING, what)?;
    let Range { start, end } = value.content_range();
    match value.content.first() {
        Some(0) => Ok(start.saturating_add(1)..end),
        _ => Err(Error::UnusedBits { what }),
    }
}

/// A distinguished name, as raw DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// The DER of the name.
    pub fn as_der(&self) -> &'a [u8] {
        self.0
    }

    /// Object identifier and text of each attribute, in the order of the name; one that is not well
    /// formed ends the list.
    fn attributes(&self) -> Vec<(&'a [u8], String)> {
        let mut found = Vec::new();
        let mut read = || -> Result<()> {
            let mut sets = Reader::new(self.0).sequence("a name")?;
            while !sets.is_empty() {
                let mut set = sets.value(tag::SET, "a relative name")?.reader();
                while !set.is_empty() {
                    let mut attribute = set.sequence("an attribute")?;
                    let name = attribute.oid("an attribute's object identifier")?;
                    let value = attribute.any("an attribute's value")?;
                    let text = if value.tag == 0x1e {
                        let units = value.content.chunks_exact(2).map(|unit| {
                            unit.iter()
                                .fold(0_u16, |unit, byte| (unit << 8) | u16::from(*byte))
                        });
                        char::decode_utf16(units)
                            .map(|unit| unit.unwrap_or('\u{fffd}'))
                            .collect()
                    } else {
                        String::from_utf8_lossy(value.content).into_owned()
                    };
                    found.push((name, text));
                }
            }
            Ok(())
        };
        let _ = read(); // for display: what could be read is shown
        found
    }

    /// The first organisation, where there is one.
    pub fn organisation(&self) -> Option<String> {
        let mut attributes = self.attributes().into_iter();
        attributes
            .find(|(name, _)| *name == oid::ORGANISATION)
            .map(|(_, text)| text)
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// As RFC 4514 writes it: the last attribute first. Control characters are left out, so that a
/// certificate cannot write to a terminal.
impl fmt::Display for Name<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, text)) in self.attributes().into_iter().rev().enumerate() {
            if index > 0 {
                formatter.write_str(",")?;
            }
            match name {
                b"\x55\x04\x03" => formatter.write_str("CN=")?,
                b"\x55\x04\x06" => formatter.write_str("C=")?,
                b"\x55\x04\x07" => formatter.write_str("L=")?,
                b"\x55\x04\x08" => formatter.write_str("ST=")?,
                oid::ORGANISATION => formatter.write_str("O=")?,
                b"\x55\x04\x0b" => formatter.write_str("OU=")?,
                _ => formatter.write_str("?=")?,
            }
            for character in text.chars().filter(|character| !character.is_control()) {
                if matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
                    formatter.write_str("\\")?;
                }
                write!(formatter, "{character}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
