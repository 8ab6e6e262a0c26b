//! The signature inside of a signed program: PKCS#7 `SignedData` over the program's digest.
//!
//! RFC 2315 sections 7 and 9, and Microsoft's "Windows Authenticode Portable Executable Signature Format".
//! One signer, whose certificate must be among those embedded; the content is `SpcIndirectDataContent` with
//! a digest of the program. What was signed is verified as received: over the signed attributes
//! with their outer tag replaced by SET OF, or over the content where there are none.
//!
//! What can be read here is more than firmware and shim take: see [`Signature::firmware_hash`],
//! [`Signature::image_hash`] and [`Signature::is_wrapped`].
//!
//! Reading a signature does not verify it: [`Signature::flaw`] does, and [`Signature::bag`] is asked whom it leads to.

use super::certificate::{
    Algorithm, Certificate, Hash, Name, Verified, hash_of_oid, hash_that_begins,
};
use super::chain::Bag;
use super::der::{Reader, Value, tag};
use super::{Error, Result};

const SIGNED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
const MESSAGE_DIGEST: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04";
/// 1.3.6.1.4.1.311.2.1.4
const INDIRECT_DATA: &[u8] = b"\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x04";
/// 1.3.6.1.4.1.311.2.1.15
const PE_IMAGE_DATA: &[u8] = b"\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x0f";
/// 1.3.6.1.4.1.311.2.1.21, which pesign writes in its place.
const INDIVIDUAL_SIGNING: &[u8] = b"\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x15";
/// Certificates of a signature: a chain has three or four, and each pair may cost a verification.
const MAX_CERTIFICATES: usize = 32;

/// What is wrong with a signature in itself, whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The digest inside is not that of the program, or the attribute's is not that of the content.
    Digest,
    /// The signature does not verify under its signer's key.
    Signature,
    /// Whether it verifies cannot be said here: AWS-LC has not the algorithm, or takes no such key.
    Unknown,
}

/// The signature of one signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    is_wrapped: bool,
    is_read_by_firmware: bool,
    names_pe_image_data: bool,
    firmware_hash: Option<Hash>,
    image_hash: Hash,
    image_digest: Vec<u8>,
    content: Vec<u8>,
    certificates: Vec<Certificate>,
    signer: Certificate,
    digest_algorithm: Option<Hash>,
    algorithm: Algorithm,
    /// The signed attributes as they are signed: with the tag of a SET.
    attributes: Option<Vec<u8>>,
    message_digest: Option<Vec<u8>>,
    value: Vec<u8>,
}

impl Signature {
    /// Reads a signature; bytes behind its end are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut whole = Reader::new(bytes).sequence("a PKCS#7 structure")?;
        let mut is_wrapped = false;
        if let Some(kind) = whole.optional(tag::OBJECT_IDENTIFIER, "a content type")? {
            if kind.content != SIGNED_DATA {
                return Err(Error::NotSignedData);
            }
            let explicit = whole.value(tag::CONTEXT_0, "signed data")?;
            whole = explicit.reader().sequence("signed data")?;
            is_wrapped = true;
        }
        version_1(&mut whole, "signed data")?;
        whole.value(tag::SET, "digest algorithms")?;
        let content = whole.sequence("the signed content")?;
        let content = IndirectData::read(content)?;

        let mut certificates = Vec::new();
        if let Some(set) = whole.optional(tag::CONTEXT_0, "embedded certificates")? {
            let mut set = set.reader();
            while !set.is_empty() {
                let der = set.value(tag::SEQUENCE, "an embedded certificate")?;
                if certificates.len() >= MAX_CERTIFICATES {
                    return Err(Error::TooManyCertificates {
                        max: MAX_CERTIFICATES,
                    });
                }
                certificates.push(Certificate::parse(der.raw)?);
            }
        }
        whole.optional(tag::CONTEXT_1, "revocation lists")?;
        let mut signers = whole.value(tag::SET, "signers")?.reader();
        let mut signer = signers.sequence("a signer")?;
        if !signers.is_empty() {
            return Err(Error::SeveralSigners);
        }
        version_1(&mut signer, "a signer")?;
        let mut who = signer.sequence("a signer's name")?;
        let issuer = who.value(tag::SEQUENCE, "a signer's issuer")?;
        let (serial, is_serial_shortest) = who.integer("a signer's serial number")?;
        let issuer = Name::new(issuer.raw).canonical()?;
        let mut candidates = certificates.iter();
        let is_signer =
            |one: &&Certificate| *one.issuer_canonical() == issuer && one.serial() == serial;
        let certificate = candidates.find(is_signer).cloned();
        let digest_algorithm = hash(&mut signer)?;
        let attributes = signer.optional(tag::CONTEXT_0, "signed attributes")?;
        let algorithm = signer.value(tag::SEQUENCE, "a signature algorithm")?;
        let value = signer.value(tag::OCTET_STRING, "a signature value")?;

        let are_read = certificates.iter().all(Certificate::is_read_by_firmware);
        Ok(Self {
            is_wrapped,
            is_read_by_firmware: are_read && is_serial_shortest,
            names_pe_image_data: content.names_pe_image_data,
            firmware_hash: firmware_hash(bytes),
            image_hash: content.image_hash,
            image_digest: content.image_digest,
            content: content.bytes,
            certificates,
            signer: certificate.ok_or(Error::SignerMissing)?,
            digest_algorithm,
            algorithm: Algorithm::of_signer(digest_algorithm.unwrap_or(Hash::Sha1), algorithm)?,
            message_digest: attributes.map(message_digest).transpose()?.flatten(),
            attributes: attributes.map(as_set),
            value: value.content.to_vec(),
        })
    }

    /// False where `SignedData` stands alone, without `ContentInfo` around it; firmware and shim pass over that.
    pub fn is_wrapped(&self) -> bool {
        self.is_wrapped
    }

    /// False where a number in it, or in one of its certificates, is not in its shortest form; shim takes those.
    pub fn is_read_by_firmware(&self) -> bool {
        self.is_read_by_firmware
    }

    /// False where the content is announced as 1.3.6.1.4.1.311.2.1.21, as pesign does. Firmware and shim
    /// do not look.
    pub fn names_pe_image_data(&self) -> bool {
        self.names_pe_image_data
    }

    /// The program's digest that was signed.
    pub fn image_digest(&self) -> &[u8] {
        &self.image_digest
    }

    /// The hash function of that digest. shim takes SHA-256 alone.
    pub fn image_hash(&self) -> Hash {
        self.image_hash
    }

    /// The hash function by which edk2 digests the program for this signature: the first of those that `SignedData`
    /// names, whatever the digest inside says. `None` where edk2 passes over the signature: it looks for the name at
    /// one place, where it is if `ContentInfo` is there and lengths of two bytes are.
    pub fn firmware_hash(&self) -> Option<Hash> {
        self.firmware_hash
    }

    /// The certificate of who signed.
    pub fn signer(&self) -> &Certificate {
        &self.signer
    }

    /// What is wrong with this signature, as one of a program with this digest.
    pub fn flaw(&self, image_digest: &[u8]) -> Option<Flaw> {
        if self.image_digest != image_digest {
            return Some(Flaw::Digest);
        }
        let Some(hash) = self.digest_algorithm else {
            return Some(Flaw::Signature);
        };
        let message = match (&self.attributes, &self.message_digest) {
            (Some(attributes), Some(digest)) => {
                if hash.digest(&self.content).as_ref() != digest.as_slice() {
                    return Some(Flaw::Digest);
                }
                attributes
            }
            (Some(_), None) => return Some(Flaw::Digest),
            (None, _) => &self.content,
        };
        match self.signer.has_readable_key() {
            Some(true) => {}
            Some(false) => return Some(Flaw::Signature),
            None => return Some(Flaw::Unknown),
        }
        match self.signer.verifies(self.algorithm, message, &self.value) {
            Verified::Yes => None,
            Verified::No => Some(Flaw::Signature),
            Verified::Unknown => Some(Flaw::Unknown),
        }
    }

    /// The signer and what came with the signature, out of which a chain is built.
    pub fn bag(&self) -> Bag<'_> {
        Bag {
            signer: &self.signer,
            certificates: &self.certificates,
        }
    }
}

/// `SpcIndirectDataContent`, in the content of `SignedData`.
struct IndirectData {
    names_pe_image_data: bool,
    image_hash: Hash,
    image_digest: Vec<u8>,
    /// The octets that the attribute's digest is of: those inside of the outer SEQUENCE.
    bytes: Vec<u8>,
}

impl IndirectData {
    fn read(mut content: Reader<'_>) -> Result<Self> {
        if content.oid("the content's type")? != INDIRECT_DATA {
            return Err(Error::NotAuthenticode);
        }
        let explicit = content.value(tag::CONTEXT_0, "the signed content")?;
        let data = explicit.reader().value(tag::SEQUENCE, "indirect data")?;
        let mut parts = data.reader();
        let mut kind = parts.sequence("the kind of indirect data")?;
        let names_pe_image_data = match kind.oid("the kind of indirect data")? {
            PE_IMAGE_DATA => true,
            INDIVIDUAL_SIGNING => false,
            _ => return Err(Error::NotAuthenticode),
        };
        let mut info = parts.sequence("the program's digest")?;
        let hash = hash(&mut info)?;
        let digest = info.value(tag::OCTET_STRING, "the program's digest")?;
        match hash {
            Some(image_hash) if image_hash.digest_bytes() == digest.content.len() => Ok(Self {
                names_pe_image_data,
                image_hash,
                image_digest: digest.content.to_vec(),
                bytes: data.content.to_vec(),
            }),
            _ => Err(Error::ImageDigest {
                digest_bytes: digest.content.len(),
            }),
        }
    }
}

/// See [`Signature::firmware_hash`].
pub(super) fn firmware_hash(bytes: &[u8]) -> Option<Hash> {
    const LENGTH: usize = 1;
    const TWO_BYTES: u8 = 0x82;
    const NAME: usize = 32;
    if bytes.get(LENGTH)? & TWO_BYTES != TWO_BYTES {
        return None;
    }
    hash_that_begins(bytes.get(NAME..)?)
}

/// Takes a version, which must be 1.
fn version_1(reader: &mut Reader<'_>, what: &'static str) -> Result<()> {
    let version = reader.value(tag::INTEGER, what)?;
    if version.content == [1] {
        Ok(())
    } else {
        Err(Error::Pkcs7Version { what })
    }
}

/// Takes the `AlgorithmIdentifier` of a hash function; `None` for one that is not known.
fn hash(reader: &mut Reader<'_>) -> Result<Option<Hash>> {
    let mut algorithm = reader.sequence("a digest algorithm")?;
    Ok(hash_of_oid(algorithm.oid("a digest algorithm")?))
}

/// The value of the attribute messageDigest, if it is there.
fn message_digest(attributes: Value<'_>) -> Result<Option<Vec<u8>>> {
    let mut attributes = attributes.reader();
    while !attributes.is_empty() {
        let mut attribute = attributes.sequence("a signed attribute")?;
        let name = attribute.oid("a signed attribute's type")?;
        let values = attribute.value(tag::SET, "a signed attribute's values")?;
        if name == MESSAGE_DIGEST {
            let mut values = values.reader();
            let digest = values.value(tag::OCTET_STRING, "the attribute messageDigest")?;
            return Ok(Some(digest.content.to_vec()));
        }
    }
    Ok(None)
}

/// The bytes of implicitly tagged attributes as they were signed.
fn as_set(attributes: Value<'_>) -> Vec<u8> {
    let mut bytes = attributes.raw.to_vec();
    if let Some(first) = bytes.first_mut() {
        *first = tag::SET;
    }
    bytes
}

#[cfg(test)]
mod tests;
