//! Certificates made by hand, so that each part can be what no tool would write.

use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const INTEGER: u8 = 0x02;

pub fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let len = content.len();
    let len = match len {
        0..=0x7f => vec![u8::try_from(len).unwrap()],
        0x80..=0xff => vec![0x81, u8::try_from(len).unwrap()],
        _ => [&[0x82][..], &u16::try_from(len).unwrap().to_be_bytes()].concat(),
    };
    [&[tag][..], &len, &content].concat()
}

pub mod string {
    pub const UTF8: u8 = 0x0c;
    pub const PRINTABLE: u8 = 0x13;
    pub const T61: u8 = 0x14;
    pub const IA5: u8 = 0x16;
    pub const UNIVERSAL: u8 = 0x1c;
    pub const BMP: u8 = 0x1e;
}

/// An attribute of a name in a relative name of its own.
pub fn attribute(kind: u8, tag: u8, text: &str) -> Vec<u8> {
    let value = match tag {
        string::BMP => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        string::UNIVERSAL => text
            .chars()
            .flat_map(|c| u32::from(c).to_be_bytes())
            .collect(),
        _ => text.as_bytes().to_vec(),
    };
    let kind = der(OID, &[&[0x55, 0x04, kind]]);
    der(SEQUENCE, &[&kind, &der(tag, &[&value])])
}

/// A name of these relative names, each of these attributes.
pub fn name(relative_names: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let sets = relative_names.iter().map(|set| der(SET, &[&set.concat()]));
    der(SEQUENCE, &[&sets.collect::<Vec<_>>().concat()])
}

pub mod extension {
    use super::{OID, SEQUENCE, der};

    const OCTET_STRING: u8 = 0x04;
    const BIT_STRING: u8 = 0x03;
    const BOOLEAN: u8 = 0x01;

    pub fn any(id: &[u8], is_critical: bool, value: &[u8]) -> Vec<u8> {
        let critical: &[u8] = if is_critical {
            &[BOOLEAN, 1, 0xff]
        } else {
            &[]
        };
        let value = der(OCTET_STRING, &[value]);
        der(SEQUENCE, &[&der(OID, &[id]), critical, &value])
    }

    pub fn basic(is_ca: bool, path_len: Option<i8>, is_critical: bool) -> Vec<u8> {
        let ca: &[u8] = if is_ca { &[BOOLEAN, 1, 0xff] } else { &[] };
        let path_len = path_len.map(|number| der(super::INTEGER, &[&number.to_be_bytes()]));
        let value = der(SEQUENCE, &[ca, &path_len.unwrap_or_default()]);
        any(&[0x55, 0x1d, 0x13], is_critical, &value)
    }

    /// The first octet of the bits: 0x80 signs, 0x04 signs certificates, 0x02 signs revocation lists.
    pub fn key_usage(bits: u8, is_critical: bool) -> Vec<u8> {
        let value = der(BIT_STRING, &[&[0], &[bits]]);
        any(&[0x55, 0x1d, 0x0f], is_critical, &value)
    }

    pub fn netscape_type(bits: u8) -> Vec<u8> {
        let value = der(BIT_STRING, &[&[0], &[bits]]);
        any(b"\x60\x86\x48\x01\x86\xf8\x42\x01\x01", false, &value)
    }

    pub fn subject_key_id(id: &[u8], is_critical: bool) -> Vec<u8> {
        any(&[0x55, 0x1d, 0x0e], is_critical, &der(OCTET_STRING, &[id]))
    }

    pub fn authority_key_id(
        key_id: Option<&[u8]>,
        issuer: Option<&[u8]>,
        serial: Option<&[u8]>,
    ) -> Vec<u8> {
        let key_id = key_id.map(|id| der(0x80, &[id])).unwrap_or_default();
        let issuer = issuer
            .map(|name| der(0xa1, &[&der(0xa4, &[name])]))
            .unwrap_or_default();
        let serial = serial
            .map(|serial| der(0x82, &[serial]))
            .unwrap_or_default();
        any(
            &[0x55, 0x1d, 0x23],
            false,
            &der(SEQUENCE, &[&key_id, &issuer, &serial]),
        )
    }

    pub fn code_signing(is_critical: bool) -> Vec<u8> {
        let usage = der(OID, &[b"\x2b\x06\x01\x05\x05\x07\x03\x03"]);
        any(&[0x55, 0x1d, 0x25], is_critical, &der(SEQUENCE, &[&usage]))
    }

    pub fn proxy() -> Vec<u8> {
        let policy = der(
            SEQUENCE,
            &[&der(OID, &[b"\x2b\x06\x01\x05\x05\x07\x15\x01"])],
        );
        any(
            b"\x2b\x06\x01\x05\x05\x07\x01\x0e",
            true,
            &der(SEQUENCE, &[&policy]),
        )
    }
}

/// How a certificate is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    /// RSASSA-PSS with SHA-256 and this salt.
    Pss(u8),
    /// What AWS-LC does not verify.
    Md5,
}

impl Scheme {
    fn digest(self) -> MessageDigest {
        match self {
            Self::Sha1 => MessageDigest::sha1(),
            Self::Sha256 | Self::Pss(_) => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
            Self::Md5 => MessageDigest::md5(),
        }
    }

    fn identifier(self, is_rsa: bool) -> Vec<u8> {
        if let (Self::Pss(salt), true) = (self, is_rsa) {
            let hash = der(
                SEQUENCE,
                &[
                    &der(OID, &[b"\x60\x86\x48\x01\x65\x03\x04\x02\x01"]),
                    &[5, 0],
                ],
            );
            let mask = der(
                SEQUENCE,
                &[&der(OID, &[b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"]), &hash],
            );
            let salt = der(
                INTEGER,
                &[&u16::from(salt).to_be_bytes()[usize::from(salt < 0x80)..]],
            );
            let parameters = [
                der(0xa0, &[&hash]),
                der(0xa1, &[&mask]),
                der(0xa2, &[&salt]),
            ];
            let parameters = der(SEQUENCE, &[&parameters.concat()]);
            let kind = der(OID, &[b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"]);
            return der(SEQUENCE, &[&kind, &parameters]);
        }
        if is_rsa {
            let last = match self {
                Self::Md5 => 4,
                Self::Sha1 => 5,
                Self::Sha384 => 12,
                Self::Sha512 => 13,
                Self::Sha256 | Self::Pss(_) => 11,
            };
            let kind = der(OID, &[b"\x2a\x86\x48\x86\xf7\x0d\x01\x01", &[last]]);
            return der(SEQUENCE, &[&kind, &[5, 0]]);
        }
        let last: &[u8] = match self {
            Self::Sha1 => &[1],
            Self::Sha384 => &[3, 3],
            Self::Sha512 => &[3, 4],
            Self::Sha256 | Self::Pss(_) | Self::Md5 => &[3, 2],
        };
        der(SEQUENCE, &[&der(OID, &[b"\x2a\x86\x48\xce\x3d\x04", last])])
    }
}

/// Everything that a certificate is made of.
#[derive(Clone)]
pub struct Template<'a> {
    /// Version minus 1; 0 is left out.
    pub version: u8,
    pub serial: u8,
    pub issuer: Vec<u8>,
    pub subject: Vec<u8>,
    pub not_before: &'a [u8],
    pub not_after: &'a [u8],
    pub key: &'a PKey<Private>,
    pub extensions: Vec<Vec<u8>>,
    pub scheme: Scheme,
    /// The algorithm beside the signature is another than that in the signed part.
    pub names_other_algorithm: bool,
}

impl Template<'_> {
    /// The certificate, signed by this key.
    pub fn sign(&self, key: &PKey<Private>) -> Vec<u8> {
        let is_rsa = key.rsa().is_ok();
        // An elliptic curve signs by these hash functions only.
        let scheme = match self.scheme {
            Scheme::Md5 | Scheme::Pss(_) if !is_rsa => Scheme::Sha256,
            other => other,
        };
        let version = der(0xa0, &[&[INTEGER, 1, self.version]]);
        let list = der(SEQUENCE, &[&self.extensions.concat()]);
        let extensions = der(0xa3, &[&list]);
        let has_extensions = !self.extensions.is_empty();
        let algorithm = scheme.identifier(is_rsa);
        let tbs = der(
            SEQUENCE,
            &[
                if self.version == 0 { &[] } else { &version },
                &[INTEGER, 1, self.serial],
                &algorithm,
                &self.issuer,
                &der(SEQUENCE, &[self.not_before, self.not_after]),
                &self.subject,
                &self.key.public_key_to_der().unwrap(),
                if has_extensions { &extensions } else { &[] },
            ],
        );
        let mut signer = Signer::new(scheme.digest(), key).unwrap();
        if let Scheme::Pss(salt) = scheme {
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer
                .set_rsa_pss_saltlen(RsaPssSaltlen::custom(i32::from(salt)))
                .unwrap();
        }
        let signature = signer.sign_oneshot_to_vec(&tbs).unwrap();
        let beside = if self.names_other_algorithm {
            Scheme::Sha512.identifier(is_rsa)
        } else {
            algorithm
        };
        der(SEQUENCE, &[&tbs, &beside, &der(0x03, &[&[0], &signature])])
    }
}
