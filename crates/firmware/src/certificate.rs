//! X.509 certificates, as far as Secure Boot asks: whose they are, what they may, and does a signature verify.
//!
//! RFC 5280 section 4.1. The one reader of certificates. The parts are kept as the bytes they were, and a
//! signature is verified over the `TBSCertificate` as received. A value with bytes behind its end is no certificate
//! here. Lengths need not be minimal, as firmware does not ask that.
//!
//! Which certificates make a chain is the matter of [`chain`](super::chain).

mod algorithm;
mod extensions;
mod name;

use std::fmt;
use std::ops::Range;

pub(super) use algorithm::{Algorithm, KeyType, Verified, has_readable_key};
pub(crate) use algorithm::{hash_of_oid, hash_that_begins};
pub use base::hash::Hash;
pub(super) use extensions::Extensions;
pub(super) use name::CanonicalName;
pub use name::Name;

use super::der::{Reader, Value, is_shortest, tag};
use super::{Error, Result};

/// A certificate: one whole DER value.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    tbs: Range<usize>,
    serial: Range<usize>,
    issuer: Range<usize>,
    not_after: Range<usize>,
    subject: Range<usize>,
    key: Range<usize>,
    signature: Range<usize>,
    is_version_1: bool,
    /// Version and serial number are in their shortest form.
    has_shortest_numbers: bool,
    issuer_canonical: CanonicalName,
    subject_canonical: CanonicalName,
    key_type: KeyType,
    /// The algorithm that the signed part names, which is the one that counts for who may have issued it.
    algorithm: Algorithm,
    /// False where the key's bytes are none, so that no library can use it; `None` where libraries may differ.
    has_readable_key: Option<bool>,
    /// The algorithm that stands beside the signature is the same.
    names_one_algorithm: bool,
    extensions: Extensions,
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
        match Self::parse_first(der)? {
            (certificate, 0) => Ok(certificate),
            _ => Err(Error::BehindCertificate {
                len_bytes: der.len(),
            }),
        }
    }

    /// Reads the certificate that `bytes` begin with, and tells how many bytes stand behind it. Firmware's reader
    /// does not look at those (`d2i_X509`); shim's wants none.
    pub fn parse_first(bytes: &[u8]) -> Result<(Self, usize)> {
        let first = Reader::new(bytes).value(tag::SEQUENCE, "a certificate")?;
        let behind_bytes = bytes.len().saturating_sub(first.raw.len());
        Ok((Self::parse_value(first.raw)?, behind_bytes))
    }

    fn parse_value(der: &[u8]) -> Result<Self> {
        let mut whole = Reader::new(der).sequence("a certificate")?;
        let tbs = whole.value(tag::SEQUENCE, "a certificate's body")?;
        let outer_algorithm = whole.value(tag::SEQUENCE, "an algorithm identifier")?;
        Algorithm::read(&mut Reader::new(outer_algorithm.raw))?;
        let signature = bit_string(&mut whole, "a certificate's signature")?;
        whole.end("a certificate")?;

        let mut body = tbs.reader();
        let (is_version_1, is_version_shortest) = version(&mut body)?;
        let serial = body.value(tag::INTEGER, "a serial number")?;
        let algorithm = body.value(tag::SEQUENCE, "a signature algorithm")?;
        let issuer = body.value(tag::SEQUENCE, "an issuer")?;
        let mut validity = body.sequence("a validity")?;
        time(&mut validity)?;
        let not_after = time(&mut validity)?;
        validity.end("a validity")?;
        let subject = body.value(tag::SEQUENCE, "a subject")?;
        let mut key_info = body.sequence("a public key")?;
        let key_type = KeyType::read(&mut key_info)?;
        let key = bit_string(&mut key_info, "a public key")?;
        let key_range = key.clone();
        key_info.end("a public key")?;
        for identifier in [tag::CONTEXT_1_PRIMITIVE, tag::CONTEXT_2_PRIMITIVE] {
            // One of several pieces (constructed) is left to the list of extensions, which it is not: nobody makes such.
            let what = "a unique identifier";
            let malformed = body.error(what);
            let bits = body.optional(identifier, what)?;
            if bits.is_some_and(|bits| !matches!(bits.content, [0..=7, ..])) {
                return Err(malformed);
            }
        }
        let extensions = body.optional(tag::CONTEXT_3, "a list of extensions")?;
        body.end("a certificate's body")?;
        Ok(Self {
            tbs: tbs.range(),
            serial: serial.content_range(),
            issuer: issuer.range(),
            not_after: not_after.range(),
            subject: subject.range(),
            key,
            signature,
            is_version_1,
            has_shortest_numbers: is_version_shortest && is_shortest(serial.content),
            issuer_canonical: Name::new(issuer.raw).canonical()?,
            subject_canonical: Name::new(subject.raw).canonical()?,
            key_type,
            has_readable_key: has_readable_key(key_type, der.get(key_range).unwrap_or_default()),
            algorithm: Algorithm::read(&mut Reader::new(algorithm.raw))?,
            names_one_algorithm: algorithm.raw == outer_algorithm.raw,
            extensions: Extensions::read(extensions)?,
            der: der.to_vec(),
        })
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
        Name::new(self.part(&self.subject))
    }

    /// Who issued it.
    pub fn issuer(&self) -> Name<'_> {
        Name::new(self.part(&self.issuer))
    }

    pub(super) fn subject_canonical(&self) -> &CanonicalName {
        &self.subject_canonical
    }

    pub(super) fn issuer_canonical(&self) -> &CanonicalName {
        &self.issuer_canonical
    }

    pub(super) fn serial(&self) -> &[u8] {
        self.part(&self.serial)
    }

    /// The end of its validity, a `UTCTime` or `GeneralizedTime`: tag and text.
    pub(super) fn not_after(&self) -> (u8, &[u8]) {
        let time = Reader::new(self.part(&self.not_after)).any("the end of a validity");
        time.map_or((0, &[]), |time| (time.tag, time.content))
    }

    pub(super) fn is_version_1(&self) -> bool {
        self.is_version_1
    }

    pub(super) fn key_type(&self) -> KeyType {
        self.key_type
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// False where its key's bytes are none, so that no library can use it; `None` where libraries may differ.
    pub(super) fn has_readable_key(&self) -> Option<bool> {
        self.has_readable_key
    }

    /// True where firmware's library reads it. A version or serial number that is not in its shortest form keeps that of
    /// edk2 from it; shim's takes any (booted with a serial number; the version is read in their source).
    pub fn is_read_by_firmware(&self) -> bool {
        self.has_shortest_numbers
    }

    /// True where the certificate is for signing kernel modules, which shim does not boot.
    pub fn signs_modules(&self) -> bool {
        self.extensions.signs_modules()
    }

    /// Whether its signature is one by the issuer's key.
    pub(super) fn verified_by(&self, issuer: &Self) -> Verified {
        if !self.names_one_algorithm {
            return Verified::No;
        }
        issuer.verifies(self.algorithm, self.tbs(), self.part(&self.signature))
    }

    /// Whether `signature` is one over `message` by this certificate's key.
    pub(super) fn verifies(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Verified {
        algorithm::verify(
            self.key_type,
            self.part(&self.key),
            algorithm,
            message,
            signature,
        )
    }
}

/// Takes the version, if it is there: true for version 1, for which 0 stands, and so does its absence; and whether it is in
/// its shortest form.
fn version(body: &mut Reader<'_>) -> Result<(bool, bool)> {
    let what = "a certificate's version";
    let Some(version) = body.optional(tag::CONTEXT_0, what)? else {
        return Ok((true, true));
    };
    let mut version = version.reader();
    let (number, is_shortest) = version.integer(what)?;
    version.end(what)?;
    Ok((number.iter().all(|byte| *byte == 0), is_shortest))
}

/// True for bytes that are built as a certificate is, down to its body, algorithm and signature: what cannot be read of
/// such may be one to another reader.
pub fn is_built_as_one(bytes: &[u8]) -> bool {
    let parts = || -> Result<()> {
        let mut whole = Reader::new(bytes).sequence("a certificate")?;
        whole.value(tag::SEQUENCE, "a certificate's body")?;
        whole.value(tag::SEQUENCE, "an algorithm identifier")?;
        whole.value(tag::BIT_STRING, "a certificate's signature")?;
        whole.end("a certificate")
    };
    parts().is_ok()
}

fn time<'a>(validity: &mut Reader<'a>) -> Result<Value<'a>> {
    let malformed = validity.error("a time of a validity");
    let value = validity.any("a time of a validity")?;
    match value.tag {
        tag::UTC_TIME | tag::GENERALIZED_TIME => Ok(value),
        _ => Err(malformed),
    }
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

#[cfg(test)]
mod tests;
