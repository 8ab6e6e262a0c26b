//! A signature taken apart and put together again with one thing changed; and one of our own making.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::*;
use crate::Pe;
use base::storage::MemoryStorage;

const KERNEL: &[u8] = include_bytes!("../../../../tests/data/vectors/pe/kernel-db-a.efi");
const SHA256: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01";

/// A value; lengths of less than 2^16.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &len[..], &content].concat()
}

fn algorithm(name: &[u8]) -> Vec<u8> {
    der(tag::SEQUENCE, &[&der(tag::OBJECT_IDENTIFIER, &[name])])
}

const TIME: &[u8] = b"\x17\x0d260101000000Z";

/// The parts of `SignedData`, each as it lies in a file.
struct Parts {
    version: Vec<u8>,
    algorithms: Vec<u8>,
    content: Vec<u8>,
    certificates: Vec<Vec<u8>>,
    signers: Vec<Vec<u8>>,
}

impl Parts {
    fn of_kernel() -> Self {
        let file = MemoryStorage::new(KERNEL.to_vec());
        let table = Pe::read(&file).unwrap().certificate_table(&file);
        let table = table.unwrap().unwrap();
        let mut outer = Reader::new(&table[8..]).sequence("whole").unwrap();
        outer.any("content type").unwrap();
        let explicit = outer.any("explicit").unwrap();
        let mut parts = explicit.reader().sequence("signed data").unwrap();
        let mut next = || parts.any("a part").unwrap().raw.to_vec();
        let (version, algorithms, content) = (next(), next(), next());
        let inside = |raw: Vec<u8>| {
            let mut values = Reader::new(&raw).any("a set").unwrap().reader();
            let mut found = Vec::new();
            while !values.is_empty() {
                found.push(values.any("a member").unwrap().raw.to_vec());
            }
            found
        };
        Self {
            version,
            algorithms,
            content,
            certificates: inside(next()),
            signers: inside(next()),
        }
    }

    fn bare(&self) -> Vec<u8> {
        let parts = |parts: &[Vec<u8>]| parts.concat();
        der(
            tag::SEQUENCE,
            &[
                &self.version,
                &self.algorithms,
                &self.content,
                &der(tag::CONTEXT_0, &[&parts(&self.certificates)]),
                &der(tag::SET, &[&parts(&self.signers)]),
            ],
        )
    }

    fn wrapped(&self) -> Vec<u8> {
        let kind = der(tag::OBJECT_IDENTIFIER, &[SIGNED_DATA]);
        der(
            tag::SEQUENCE,
            &[&kind, &der(tag::CONTEXT_0, &[&self.bare()])],
        )
    }

    fn read(&self) -> Result<Signature> {
        Signature::parse(&self.wrapped())
    }

    fn refusal(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

/// `bytes` with the first `old` in them replaced by a `new` of the same length.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let at = bytes.windows(old.len()).position(|one| one == old).unwrap();
    let mut bytes = bytes.to_vec();
    bytes[at..at + old.len()].copy_from_slice(new);
    bytes
}

#[test]
fn put_together_again_it_is_the_signature_that_it_was() {
    let signature = Parts::of_kernel().read().unwrap();
    assert!(signature.is_wrapped() && signature.names_pe_image_data());
    let digest = signature.image_digest().to_vec();
    assert_eq!(signature.flaw(&digest), None);
    let mut other = digest.clone();
    other[31] ^= 1;
    assert_eq!(signature.flaw(&other), Some(Flaw::Digest));
    // Bytes behind the value are padding of the file.
    let padded = [Parts::of_kernel().wrapped(), vec![0, 1, 2]].concat();
    assert_eq!(Signature::parse(&padded).unwrap(), signature);
}

#[test]
fn signed_data_may_stand_alone_and_is_known_to() {
    let signature = Signature::parse(&Parts::of_kernel().bare()).unwrap();
    assert!(!signature.is_wrapped());
    assert_eq!(signature.flaw(signature.image_digest()), None);
    let other = replaced(
        &Parts::of_kernel().wrapped(),
        SIGNED_DATA,
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03",
    );
    assert_eq!(
        Signature::parse(&other).unwrap_err().to_string(),
        "a signature is PKCS#7, but not signed data"
    );
}

#[test]
fn both_versions_are_1() {
    let mut parts = Parts::of_kernel();
    parts.version = vec![tag::INTEGER, 1, 3];
    assert_eq!(parts.refusal(), "signed data is not of version 1");
    let mut parts = Parts::of_kernel();
    parts.signers[0] = replaced(
        &parts.signers[0],
        &[tag::INTEGER, 1, 1],
        &[tag::INTEGER, 1, 3],
    );
    assert_eq!(parts.refusal(), "a signer is not of version 1");
}

#[test]
fn there_is_one_signer_and_its_certificate_is_there() {
    let mut parts = Parts::of_kernel();
    parts.signers.push(parts.signers[0].clone());
    assert_eq!(
        parts.refusal(),
        "a signature has several signers; firmware takes one"
    );
    parts.signers.clear();
    assert!(matches!(
        parts.read(),
        Err(Error::Asn1 {
            what: "a signer",
            ..
        })
    ));
    let mut parts = Parts::of_kernel();
    parts.certificates.clear();
    assert_eq!(
        parts.refusal(),
        "a signature does not carry the certificate of its signer"
    );
}

#[test]
fn every_embedded_certificate_must_be_one_and_there_are_not_many() {
    let mut parts = Parts::of_kernel();
    parts
        .certificates
        .push(der(tag::SEQUENCE, &[b"no certificate"]));
    assert!(matches!(parts.read(), Err(Error::Asn1 { .. })));
    let mut parts = Parts::of_kernel();
    let one = parts.certificates[0].clone();
    parts.certificates.resize(MAX_CERTIFICATES, one.clone());
    assert!(parts.read().is_ok());
    parts.certificates.push(one);
    assert_eq!(
        parts.refusal(),
        "a signature carries more than 32 certificates"
    );
}

#[test]
fn what_is_signed_is_the_digest_of_a_program() {
    let told = "a signature is over something else than the digest of a program";
    let mut parts = Parts::of_kernel();
    let good = parts.content.clone();
    parts.content = replaced(
        &good,
        INDIRECT_DATA,
        b"\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x05",
    );
    assert_eq!(parts.refusal(), told);
    parts.content = replaced(
        &good,
        PE_IMAGE_DATA,
        b"\x2b\x06\x01\x04\x01\x82\x37\x02\x01\x1e",
    );
    assert_eq!(parts.refusal(), told);
    // pesign's name for it is taken, and then the signed content is another.
    parts.content = replaced(&good, PE_IMAGE_DATA, INDIVIDUAL_SIGNING);
    let pesign = parts.read().unwrap();
    assert!(!pesign.names_pe_image_data());
    assert_eq!(pesign.flaw(pesign.image_digest()), Some(Flaw::Digest));
    for other in [
        b"\x60\x86\x48\x01\x65\x03\x04\x02\x02",
        b"\x60\x86\x48\x01\x65\x03\x04\x02\x08",
    ] {
        parts.content = replaced(&good, SHA256, other);
        assert_eq!(
            parts.refusal(),
            "a signature is over a digest of 32 bytes that is not SHA-1, SHA-256, SHA-384 or SHA-512"
        );
    }
}

#[test]
fn firmware_digests_by_the_function_that_stands_where_it_looks() {
    const SHA384: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x02\x02";
    let file = MemoryStorage::new(KERNEL.to_vec());
    let table = Pe::read(&file).unwrap().certificate_table(&file);
    let bytes = table.unwrap().unwrap()[8..].to_vec();
    let signature = Signature::parse(&bytes).unwrap();
    assert_eq!(signature.firmware_hash(), Some(Hash::Sha256));
    assert_eq!(signature.image_hash(), Hash::Sha256);
    // The first name of one is there; whatever the digest inside is by.
    let other = Signature::parse(&replaced(&bytes, SHA256, SHA384)).unwrap();
    assert_eq!(other.firmware_hash(), Some(Hash::Sha384));
    assert_eq!(other.image_hash(), Hash::Sha256);
    // Without ContentInfo, or with lengths of four bytes, another thing is there.
    for elsewhere in [Parts::of_kernel().bare(), Parts::of_kernel().wrapped()] {
        let elsewhere = Signature::parse(&elsewhere).unwrap();
        assert_eq!(elsewhere.firmware_hash(), None);
    }
}

#[test]
fn a_changed_signature_or_attribute_is_told_apart() {
    let mut parts = Parts::of_kernel();
    let good = parts.signers[0].clone();
    *parts.signers[0].last_mut().unwrap() ^= 1;
    let signature = parts.read().unwrap();
    assert_eq!(
        signature.flaw(signature.image_digest()),
        Some(Flaw::Signature)
    );
    // One bit of messageDigest.
    let at = good
        .windows(9)
        .position(|one| one == MESSAGE_DIGEST)
        .unwrap();
    parts.signers[0].clone_from(&good);
    parts.signers[0][at + 20] ^= 1;
    let signature = parts.read().unwrap();
    assert_eq!(signature.flaw(signature.image_digest()), Some(Flaw::Digest));
    // Another name for it, so that there is none.
    parts.signers[0] = replaced(
        &good,
        MESSAGE_DIGEST,
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x3f",
    );
    let signature = parts.read().unwrap();
    assert_eq!(signature.flaw(signature.image_digest()), Some(Flaw::Digest));
}

#[test]
fn lengths_need_not_be_minimal_but_definite() {
    let minimal = Parts::of_kernel().wrapped();
    let long = [&[tag::SEQUENCE, 0x84, 0, 0], &minimal[2..]].concat();
    assert_eq!(
        Signature::parse(&long).unwrap(),
        Signature::parse(&minimal).unwrap()
    );
    let indefinite = [&[tag::SEQUENCE, 0x80], &minimal[4..], &[0, 0]].concat();
    assert_eq!(
        Signature::parse(&indefinite).unwrap_err().to_string(),
        "a PKCS#7 structure is malformed or missing at byte 0 of its DER"
    );
}

/// A key, and the name that goes with it.
struct Party {
    name: &'static str,
    key: EcdsaKeyPair,
}

const ECDSA_SHA256: &[u8] = b"\x2a\x86\x48\xce\x3d\x04\x03\x02";
const DIGEST: [u8; 32] = [0x5a; 32];

impl Party {
    fn new(name: &'static str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self { name, key }
    }

    fn name(&self) -> Vec<u8> {
        let kind = der(tag::OBJECT_IDENTIFIER, &[b"\x55\x04\x03"]);
        let attribute = der(tag::SEQUENCE, &[&kind, &der(0x0c, &[self.name.as_bytes()])]);
        der(tag::SEQUENCE, &[&der(tag::SET, &[&attribute])])
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(&SystemRandom::new(), message).unwrap();
        signature.as_ref().to_vec()
    }

    /// Its certificate, which names `issuer` and is signed by `signer`.
    fn certificate(&self, issuer: &Self, signer: &Self) -> Vec<u8> {
        let curve = der(
            tag::SEQUENCE,
            &[
                &der(tag::OBJECT_IDENTIFIER, &[b"\x2a\x86\x48\xce\x3d\x02\x01"]),
                &der(
                    tag::OBJECT_IDENTIFIER,
                    &[b"\x2a\x86\x48\xce\x3d\x03\x01\x07"],
                ),
            ],
        );
        let key = der(tag::BIT_STRING, &[&[0], self.key.public_key().as_ref()]);
        let tbs = der(
            tag::SEQUENCE,
            &[
                &[tag::INTEGER, 1, 7],
                &algorithm(ECDSA_SHA256),
                &issuer.name(),
                &der(tag::SEQUENCE, &[TIME, TIME]),
                &self.name(),
                &der(tag::SEQUENCE, &[&curve, &key]),
            ],
        );
        let signature = der(tag::BIT_STRING, &[&[0], &signer.sign(&tbs)]);
        der(tag::SEQUENCE, &[&tbs, &algorithm(ECDSA_SHA256), &signature])
    }

    /// A signature over a program with [`DIGEST`], with these attributes in this order or with none.
    fn signature(
        &self,
        issuer: &Self,
        attributes: &[Vec<u8>],
        certificates: &[Vec<u8>],
    ) -> Signature {
        let inside = [
            der(
                tag::SEQUENCE,
                &[&der(tag::OBJECT_IDENTIFIER, &[PE_IMAGE_DATA])],
            ),
            der(
                tag::SEQUENCE,
                &[&algorithm(SHA256), &der(tag::OCTET_STRING, &[&DIGEST])],
            ),
        ]
        .concat();
        let data = der(tag::CONTEXT_0, &[&der(tag::SEQUENCE, &[&inside])]);
        let kind = der(tag::OBJECT_IDENTIFIER, &[INDIRECT_DATA]);
        let (signed, message) = if attributes.is_empty() {
            (Vec::new(), inside)
        } else {
            let all = attributes.concat();
            (der(tag::CONTEXT_0, &[&all]), der(tag::SET, &[&all]))
        };
        let info = der(
            tag::SEQUENCE,
            &[
                &[tag::INTEGER, 1, 1],
                &der(tag::SEQUENCE, &[&issuer.name(), &[tag::INTEGER, 1, 7]]),
                &algorithm(SHA256),
                &signed,
                &algorithm(ECDSA_SHA256),
                &der(tag::OCTET_STRING, &[&self.sign(&message)]),
            ],
        );
        let parts = Parts {
            version: vec![tag::INTEGER, 1, 1],
            algorithms: der(tag::SET, &[&algorithm(SHA256)]),
            content: der(tag::SEQUENCE, &[&kind, &data]),
            certificates: certificates.to_vec(),
            signers: vec![info],
        };
        parts.read().unwrap()
    }
}

fn attribute(name: &[u8], value: &[u8]) -> Vec<u8> {
    let value = der(tag::SET, &[&der(tag::OCTET_STRING, &[value])]);
    der(
        tag::SEQUENCE,
        &[&der(tag::OBJECT_IDENTIFIER, &[name]), &value],
    )
}

#[test]
fn attributes_are_verified_in_the_order_in_which_they_came() {
    let signer = Party::new("signer");
    let certificate = [signer.certificate(&signer, &signer)];
    let plain = signer.signature(&signer, &[], &certificate);
    assert_eq!(plain.flaw(&DIGEST), None);
    let digest = Hash::Sha256.digest(&plain.content);
    // DER would put the shorter one first.
    let long = attribute(b"\x2a\x03", &[1; 200]);
    let digest = attribute(MESSAGE_DIGEST, digest.as_ref());
    for attributes in [[long.clone(), digest.clone()], [digest, long]] {
        let signature = signer.signature(&signer, &attributes, &certificate);
        assert_eq!(signature.flaw(&DIGEST), None);
    }
}
