//! Keys and certificates of every kind: those that a tool makes today, and those that none should make.
//!
//! The DER is written here, so that each part can be there or not; openssl makes the keys and signs. An issuer is only
//! asked for its name, its key and its key identifier: one that must not issue can issue.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::der::{self, tag};
use crate::process;

/// Content octets of object identifiers.
mod oid {
    pub const COMMON_NAME: &[u8] = b"\x55\x04\x03";
    pub const RSA_SHA256: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b";
    pub const SUBJECT_KEY_IDENTIFIER: &[u8] = b"\x55\x1d\x0e";
    pub const KEY_USAGE: &[u8] = b"\x55\x1d\x0f";
    pub const BASIC_CONSTRAINTS: &[u8] = b"\x55\x1d\x13";
    pub const AUTHORITY_KEY_IDENTIFIER: &[u8] = b"\x55\x1d\x23";
}

/// The hash function of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// As documents write it.
    pub fn spoken(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        }
    }

    /// As openssl calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// Where keys are made and kept, for one run.
pub struct Workshop {
    folder: PathBuf,
    keys: RefCell<BTreeMap<&'static str, Vec<u8>>>,
}

/// Bits of keyUsage.
pub const DIGITAL_SIGNATURE: u8 = 0x80;
pub const KEY_CERT_SIGN: u8 = 0x04;

/// What a certificate says.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a part that can be there or not"
)]
#[derive(Clone)]
pub struct Spec {
    pub subject: String,
    /// The tag of the subject's text.
    pub encoding: u8,
    /// Keys are told apart by a word; certificates may share one.
    pub key: &'static str,
    pub serial: u8,
    pub has_key_id: bool,
    pub names_authority: bool,
    /// basicConstraints: none, or whether it is an authority.
    pub is_authority: Option<bool>,
    pub path_length: Option<u8>,
    pub key_usage: Option<u8>,
    pub is_expired: bool,
    /// A zero stands before the serial number, which needs none.
    pub has_long_serial: bool,
    /// Without extensions.
    pub is_version_1: bool,
}

impl Spec {
    /// An authority as tools make one.
    pub fn authority(subject: String) -> Self {
        Self {
            subject,
            encoding: tag::UTF8_STRING,
            key: "authority",
            serial: 1,
            has_key_id: true,
            names_authority: true,
            is_authority: Some(true),
            path_length: None,
            key_usage: Some(KEY_CERT_SIGN),
            is_expired: false,
            has_long_serial: false,
            is_version_1: false,
        }
    }

    /// A signer's certificate as tools make one.
    pub fn signer(subject: String) -> Self {
        Self {
            key: "signer",
            serial: 2,
            is_authority: Some(false),
            key_usage: Some(DIGITAL_SIGNATURE),
            ..Self::authority(subject)
        }
    }

    fn name(&self, encoding: u8) -> Vec<u8> {
        let text = if encoding == tag::BMP_STRING {
            self.subject
                .encode_utf16()
                .flat_map(u16::to_be_bytes)
                .collect()
        } else {
            self.subject.clone().into_bytes()
        };
        let attribute = der::sequence(&[&der::oid(oid::COMMON_NAME), &der::value(encoding, &text)]);
        der::sequence(&[&der::value(tag::SET, &attribute)])
    }
}

/// A certificate, and what its owner needs to sign.
#[derive(Clone)]
pub struct Certificate {
    pub spec: Spec,
    pub der: Vec<u8>,
    pub tbs: Vec<u8>,
    /// The issuer's name and the serial number, as signatures name a certificate.
    pub issuer: Vec<u8>,
    pub serial: Vec<u8>,
    /// Of its key.
    pub modulus: Vec<u8>,
}

impl Workshop {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            keys: RefCell::default(),
        }
    }

    /// The `SubjectPublicKeyInfo` of a key, which is made when it is first asked for.
    fn public_key(&self, key: &'static str) -> Result<Vec<u8>> {
        if let Some(public) = self.keys.borrow().get(key) {
            return Ok(public.clone());
        }
        let (file, public) = (self.folder.join(key), self.folder.join("public"));
        let mut make = process::program("openssl");
        make.args(["genrsa", "-out"]).arg(&file);
        process::quiet_output(make.arg("2048"))?;
        let mut export = process::program("openssl");
        export.args(["rsa", "-pubout", "-outform", "DER", "-in"]);
        process::quiet_output(export.arg(file).arg("-out").arg(&public))?;
        let public = fs::read(public)?;
        self.keys.borrow_mut().insert(key, public.clone());
        Ok(public)
    }

    /// A certificate of this content, signed by `issuer`, or by itself.
    pub fn certificate(&self, spec: Spec, issuer: Option<&Certificate>) -> Result<Certificate> {
        let encoding = issuer.map_or(spec.encoding, |issuer| issuer.spec.encoding);
        self.certificate_naming(spec, issuer, encoding)
    }

    /// The same, the issuer's name in another encoding than in its own certificate.
    pub fn certificate_naming(
        &self,
        spec: Spec,
        issuer: Option<&Certificate>,
        encoding: u8,
    ) -> Result<Certificate> {
        let issuer = issuer.map_or(&spec, |issuer| &issuer.spec);
        let issuer_name = issuer.name(encoding);
        let serial = if spec.has_long_serial {
            der::value(tag::INTEGER, &[0, spec.serial])
        } else {
            der::integer(spec.serial)
        };
        let (from, to) = if spec.is_expired {
            ("100101000000Z", "110101000000Z")
        } else {
            ("200101000000Z", "450101000000Z")
        };
        let validity = der::sequence(&[
            &der::value(tag::UTC_TIME, from.as_bytes()),
            &der::value(tag::UTC_TIME, to.as_bytes()),
        ]);
        let algorithm = der::algorithm(oid::RSA_SHA256);
        let mut parts = vec![
            serial.clone(),
            algorithm.clone(),
            issuer_name.clone(),
            validity,
            spec.name(spec.encoding),
            self.public_key(spec.key)?,
        ];
        if !spec.is_version_1 {
            parts.insert(0, der::value(tag::CONTEXT_0, &der::integer(2)));
            let extensions = extensions(&spec, issuer).concat();
            let extensions = der::value(tag::SEQUENCE, &extensions);
            parts.push(der::value(tag::CONTEXT_3, &extensions));
        }
        let tbs = der::value(tag::SEQUENCE, &parts.concat());
        // The modulus stands before the exponent, which is 65537.
        let key = self.public_key(spec.key)?;
        let modulus = key[key.len() - 5 - 256..key.len() - 5].to_vec();
        self.public_key(issuer.key)?;
        let signature = [vec![0], self.sign(issuer.key, Hash::Sha256, &tbs)?].concat();
        let signature = der::value(tag::BIT_STRING, &signature);
        Ok(Certificate {
            der: der::sequence(&[&tbs, &algorithm, &signature]),
            spec,
            tbs,
            issuer: issuer_name,
            serial,
            modulus,
        })
    }

    /// A signature with PKCS#1 v1.5.
    pub fn sign(&self, key: &str, hash: Hash, message: &[u8]) -> Result<Vec<u8>> {
        let mut sign = process::program("openssl");
        sign.args(["dgst", &format!("-{}", hash.name()), "-sign"]);
        self.digested(sign.arg(self.folder.join(key)), message)
    }

    /// The digest of bytes.
    pub fn digest(&self, hash: Hash, message: &[u8]) -> Result<Vec<u8>> {
        let mut digest = process::program("openssl");
        digest.args(["dgst", &format!("-{}", hash.name()), "-binary"]);
        self.digested(&mut digest, message)
    }

    fn digested(&self, dgst: &mut std::process::Command, message: &[u8]) -> Result<Vec<u8>> {
        let (input, output) = (self.folder.join("message"), self.folder.join("digested"));
        fs::write(&input, message)?;
        process::quiet_output(dgst.arg("-out").arg(&output).arg(&input))?;
        fs::read(&output).context("openssl made no signature")
    }
}

fn extensions(spec: &Spec, issuer: &Spec) -> Vec<Vec<u8>> {
    let extension = |oid: &[u8], is_critical: bool, value: &[u8]| {
        let critical = if is_critical { der::BOOLEAN_TRUE } else { &[] };
        let value = der::value(tag::OCTET_STRING, value);
        der::sequence(&[&der::oid(oid), critical, &value])
    };
    let mut all = Vec::new();
    if let Some(is_authority) = spec.is_authority {
        let mut constraints = Vec::new();
        if is_authority {
            constraints.extend(der::BOOLEAN_TRUE);
        }
        constraints.extend(spec.path_length.map(der::integer).unwrap_or_default());
        let constraints = der::value(tag::SEQUENCE, &constraints);
        all.push(extension(oid::BASIC_CONSTRAINTS, true, &constraints));
    }
    if let Some(usage) = spec.key_usage {
        let unused = u8::try_from(usage.trailing_zeros()).unwrap_or(7);
        let usage = der::value(tag::BIT_STRING, &[unused, usage]);
        all.push(extension(oid::KEY_USAGE, true, &usage));
    }
    if spec.has_key_id {
        let id = der::value(tag::OCTET_STRING, &key_id(spec));
        all.push(extension(oid::SUBJECT_KEY_IDENTIFIER, false, &id));
    }
    if spec.names_authority {
        let id = der::value(tag::CONTEXT_0_PRIMITIVE, &key_id(issuer));
        let id = der::value(tag::SEQUENCE, &id);
        all.push(extension(oid::AUTHORITY_KEY_IDENTIFIER, false, &id));
    }
    all
}

/// Any bytes will do, if they are others for another key.
fn key_id(spec: &Spec) -> Vec<u8> {
    format!("{}/{}", spec.subject, spec.key).into_bytes()
}
