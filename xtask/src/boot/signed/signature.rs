//! Signatures of programs, good ones and odd ones: PKCS#7 over a program's digest, and the entries of a certificate table.
//!
//! RFC 2315 and Microsoft's "Windows Authenticode Portable Executable Signature Format".

use anyhow::Result;

use super::der::{self, tag};
use super::pki::{Certificate, Hash, Workshop};
use super::program;

/// Content octets of object identifiers.
mod oid {
    pub const SIGNED_DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
    pub const CONTENT_TYPE: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03";
    pub const MESSAGE_DIGEST: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04";
    pub const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
    pub const INDIRECT_DATA: &[u8] = b"\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x04";
    pub const PE_IMAGE_DATA: &[u8] = b"\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x0f";
    pub const SHA1: &[u8] = b"\x2b\x0e\x03\x02\x1a";
    pub const SHA256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";
    pub const SHA384: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x02";
    pub const SHA512: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x03";
}

const fn oid_of(hash: Hash) -> &'static [u8] {
    match hash {
        Hash::Sha1 => oid::SHA1,
        Hash::Sha256 => oid::SHA256,
        Hash::Sha384 => oid::SHA384,
        Hash::Sha512 => oid::SHA512,
    }
}

/// 4aafd29d-68df-49ee-8aa9-347d375665a7, as it lies in memory.
const PKCS7_GUID: &[u8] = b"\x9d\xd2\xaf\x4a\xdf\x68\xee\x49\x8a\xa9\x34\x7d\x37\x56\x65\xa7";

/// One entry of a certificate table.
#[derive(Clone)]
pub enum Signature {
    Pkcs7(Pkcs7),
    /// An entry of another type, with this content.
    Other {
        revision: u16,
        kind: u16,
        data: Vec<u8>,
    },
}

/// A signature of one signer, and what is odd about it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a thing that can be odd"
)]
#[derive(Clone)]
pub struct Pkcs7 {
    pub signer: Certificate,
    /// The certificates inside.
    pub bag: Vec<Certificate>,
    /// Of the program, and of what is signed.
    pub image_hash: Hash,
    pub hash: Hash,
    /// Over the digest of another program.
    pub of_other_program: bool,
    /// The last byte of the signature is another one.
    pub is_broken: bool,
    /// `ContentInfo` stands around `SignedData`.
    pub is_wrapped: bool,
    /// Attributes are what is signed, as everybody does today.
    pub has_attributes: bool,
    /// Of its entry in the table: 0x0200.
    pub revision: u16,
    /// The entry is a `WIN_CERTIFICATE_UEFI_GUID` with the type of PKCS#7.
    pub is_guid_entry: bool,
}

impl Pkcs7 {
    /// A good one with these certificates inside; the first is the signer's.
    pub fn by(bag: &[&Certificate]) -> Self {
        Self {
            signer: bag[0].clone(),
            bag: bag.iter().copied().cloned().collect(),
            image_hash: Hash::Sha256,
            hash: Hash::Sha256,
            of_other_program: false,
            is_broken: false,
            is_wrapped: true,
            has_attributes: true,
            revision: 0x0200,
            is_guid_entry: false,
        }
    }

    fn to_der(&self, workshop: &Workshop, program: &[u8]) -> Result<Vec<u8>> {
        let mut digest = program::digest(workshop, self.image_hash, program)?;
        digest[0] ^= u8::from(self.of_other_program);
        // SpcPeImageData: no flags, and an empty file name.
        let image = der::sequence(&[
            &der::oid(oid::PE_IMAGE_DATA),
            &der::sequence(&[
                &der::value(tag::BIT_STRING, &[0]),
                &der::value(
                    tag::CONTEXT_0,
                    &der::values(
                        tag::CONTEXT_2,
                        &[&der::value(tag::CONTEXT_0_PRIMITIVE, &[])],
                    ),
                ),
            ]),
        ]);
        let image_digest = der::sequence(&[
            &der::algorithm(oid_of(self.image_hash)),
            &der::value(tag::OCTET_STRING, &digest),
        ]);
        let content = der::sequence(&[&image, &image_digest]);
        let signed = der::content(&content);

        let certificates: Vec<u8> = self.bag.iter().flat_map(|one| one.der.clone()).collect();
        let certificates = if self.bag.is_empty() {
            Vec::new()
        } else {
            der::value(tag::CONTEXT_0, &certificates)
        };
        let algorithms = der::value(tag::SET, &der::algorithm(oid_of(self.hash)));
        let data = der::sequence(&[
            &der::integer(1),
            &algorithms,
            &der::sequence(&[
                &der::oid(oid::INDIRECT_DATA),
                &der::value(tag::CONTEXT_0, &content),
            ]),
            &certificates,
            &der::value(tag::SET, &self.signer_info(workshop, signed)?),
        ]);
        if !self.is_wrapped {
            return Ok(data);
        }
        let data = der::value(tag::CONTEXT_0, &data);
        Ok(der::sequence(&[&der::oid(oid::SIGNED_DATA), &data]))
    }

    fn signer_info(&self, workshop: &Workshop, signed: &[u8]) -> Result<Vec<u8>> {
        let attribute = |name: &[u8], value: &[u8]| {
            der::sequence(&[&der::oid(name), &der::value(tag::SET, value)])
        };
        let content_digest = workshop.digest(self.hash, signed)?;
        let attributes = [
            attribute(oid::CONTENT_TYPE, &der::oid(oid::INDIRECT_DATA)),
            attribute(
                oid::MESSAGE_DIGEST,
                &der::value(tag::OCTET_STRING, &content_digest),
            ),
        ]
        .concat();
        let key = self.signer.spec.key;
        let (attributes, mut value) = if self.has_attributes {
            let message = der::value(tag::SET, &attributes);
            (
                der::value(tag::CONTEXT_0, &attributes),
                workshop.sign(key, self.hash, &message)?,
            )
        } else {
            (Vec::new(), workshop.sign(key, self.hash, signed)?)
        };
        if let (true, Some(last)) = (self.is_broken, value.last_mut()) {
            *last ^= 1;
        }
        Ok(der::sequence(&[
            &der::integer(1),
            &der::sequence(&[&self.signer.issuer, &self.signer.serial]),
            &der::algorithm(oid_of(self.hash)),
            &attributes,
            &der::algorithm(oid::RSA),
            &der::value(tag::OCTET_STRING, &value),
        ]))
    }
}

/// The program with these signatures, in this order.
pub fn signed(workshop: &Workshop, program: &[u8], signatures: &[Signature]) -> Result<Vec<u8>> {
    if signatures.is_empty() {
        return Ok(program.to_vec());
    }
    let mut table = Vec::new();
    for signature in signatures {
        let (revision, kind, data) = match signature {
            Signature::Pkcs7(pkcs7) => {
                let der = pkcs7.to_der(workshop, program)?;
                if pkcs7.is_guid_entry {
                    (pkcs7.revision, 0x0ef1, [PKCS7_GUID, &der].concat())
                } else {
                    (pkcs7.revision, 2, der)
                }
            }
            Signature::Other {
                revision,
                kind,
                data,
            } => (*revision, *kind, data.clone()),
        };
        let length = u32::try_from(data.len() + 8)?;
        table.extend(length.to_le_bytes());
        table.extend([revision.to_le_bytes(), kind.to_le_bytes()].concat());
        table.extend(data);
        table.resize(table.len().next_multiple_of(8), 0);
    }
    Ok(program::with_table(program, &table))
}
