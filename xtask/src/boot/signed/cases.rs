//! The cases: who signed a program, what db and dbx hold, and what firmware and shim measure for it.
//!
//! Every case has certificates of its own, told apart by their names, and looks at no other's. So a group is one boot:
//! its databases are those of all of its cases, one behind the other.

use anyhow::Result;

use super::Loader;
use super::der::tag;
use super::list;
use super::pki::{Certificate, DIGITAL_SIGNATURE, Hash, Spec, Workshop};
use super::signature::{Pkcs7, Signature};

/// A program that is signed in some way.
pub struct Case {
    pub name: &'static str,
    make: fn(&Maker) -> Result<Parts>,
    /// The roles of the certificates in db that firmware measures as authorities; none where it refuses the program.
    pub firmware: &'static [&'static str],
    /// The same of shim.
    pub shim: &'static [&'static str],
}

/// What a case is made of.
pub struct Parts {
    pub db: Vec<Entry>,
    pub dbx: Vec<Entry>,
    pub signatures: Vec<Signature>,
}

/// An entry of db or dbx, in a list of its own; or the one list of several.
#[derive(Clone)]
pub enum Entry {
    Certificate(Certificate),
    /// Two certificates in one list: the shorter one has zeros behind it.
    Pair(Certificate, Certificate),
    /// The digest of a certificate's signed part, and the time from which on it is revoked.
    Revoked(Hash, Certificate, [u8; 16]),
    /// The digest of the program.
    Program(Hash),
    /// An entry of this type, with this content.
    Other([u8; 16], Vec<u8>),
}

/// Cases that share a boot.
pub struct Group {
    pub name: &'static str,
    /// Whether it is in the short run as well.
    pub is_short: bool,
    pub cases: &'static [Case],
}

/// Makes certificates of one case.
pub struct Maker<'w> {
    workshop: &'w Workshop,
    case: &'static str,
}

impl Case {
    pub fn expected_of(&self, loader: Loader) -> &'static [&'static str] {
        match loader {
            Loader::Firmware => self.firmware,
            Loader::Shim => self.shim,
        }
    }

    pub fn parts(&self, workshop: &Workshop) -> Result<Parts> {
        (self.make)(&Maker {
            workshop,
            case: self.name,
        })
    }
}

/// The role of a certificate, in its name.
pub fn role<'n>(case: &str, name: &'n str) -> Option<&'n str> {
    name.strip_prefix(case)?.strip_prefix(": ")
}

fn as_it_is(_: &mut Spec) {}
fn without_key_ids(spec: &mut Spec) {
    spec.has_key_id = false;
    spec.names_authority = false;
}
fn without_authority_key_id(spec: &mut Spec) {
    spec.names_authority = false;
}

impl Maker<'_> {
    fn name(&self, role: &str) -> String {
        format!("{}: {role}", self.case)
    }

    /// A self-signed authority.
    fn root(&self, role: &str, change: fn(&mut Spec)) -> Result<Certificate> {
        let mut spec = Spec::authority(self.name(role));
        change(&mut spec);
        self.workshop.certificate(spec, None)
    }

    /// An authority below another one.
    fn intermediate(
        &self,
        role: &str,
        issuer: &Certificate,
        change: fn(&mut Spec),
    ) -> Result<Certificate> {
        let mut spec = Spec::authority(self.name(role));
        spec.key = "intermediate";
        change(&mut spec);
        self.workshop.certificate(spec, Some(issuer))
    }

    /// A signer's certificate.
    fn leaf(&self, role: &str, issuer: &Certificate, change: fn(&mut Spec)) -> Result<Certificate> {
        let mut spec = Spec::signer(self.name(role));
        change(&mut spec);
        self.workshop.certificate(spec, Some(issuer))
    }

    /// An authority, a stranger with a longer certificate, and a signer below the authority.
    fn with_longer(&self) -> Result<[Certificate; 3]> {
        let ca = self.root("ca", as_it_is)?;
        let stranger = self.root("stranger with a longer name than everybody else", as_it_is)?;
        let leaf = self.leaf("leaf", &ca, as_it_is)?;
        Ok([ca, stranger, leaf])
    }

    /// The certificates of signers that signed themselves, all of them good.
    fn signers<const N: usize>(&self, roles: [&str; N]) -> Result<[Certificate; N]> {
        let all: Result<Vec<_>> = roles.iter().map(|role| self.root(role, as_it_is)).collect();
        Ok(all?.try_into().map_err(|_| ()).expect("BUG: as many"))
    }
}

/// One good signature with these certificates inside, and db.
fn one(bag: &[&Certificate], db: &[&Certificate]) -> Parts {
    forbidding(bag, db, Vec::new())
}

fn forbidding(bag: &[&Certificate], db: &[&Certificate], dbx: Vec<Entry>) -> Parts {
    Parts {
        db: certificates(db),
        dbx,
        signatures: vec![Signature::Pkcs7(Pkcs7::by(bag))],
    }
}

fn several<const N: usize>(db: &[Certificate; N], signatures: Vec<Signature>) -> Parts {
    Parts {
        db: certificates(&db.iter().collect::<Vec<_>>()),
        dbx: Vec::new(),
        signatures,
    }
}

fn certificates(all: &[&Certificate]) -> Vec<Entry> {
    all.iter()
        .map(|one| Entry::Certificate((*one).clone()))
        .collect()
}

fn good(signer: &Certificate) -> Signature {
    Signature::Pkcs7(Pkcs7::by(&[signer]))
}

fn odd(signer: &Certificate, change: fn(&mut Pkcs7)) -> Signature {
    let mut signature = Pkcs7::by(&[signer]);
    change(&mut signature);
    Signature::Pkcs7(signature)
}

fn as_usual(_: &mut Pkcs7) {}
fn broken(signature: &mut Pkcs7) {
    signature.is_broken = true;
}
fn of_other_program(signature: &mut Pkcs7) {
    signature.of_other_program = true;
}
fn bare(signature: &mut Pkcs7) {
    signature.is_wrapped = false;
}
fn without_certificates(signature: &mut Pkcs7) {
    signature.bag.clear();
}
fn without_attributes(signature: &mut Pkcs7) {
    signature.has_attributes = false;
}
fn of_revision_1(signature: &mut Pkcs7) {
    signature.revision = 0x0100;
}
fn in_guid_entry(signature: &mut Pkcs7) {
    signature.is_guid_entry = true;
}
fn sha1(signature: &mut Pkcs7) {
    (signature.hash, signature.image_hash) = (Hash::Sha1, Hash::Sha1);
}
fn sha1_over_sha256(signature: &mut Pkcs7) {
    signature.hash = Hash::Sha1;
}
fn sha384(signature: &mut Pkcs7) {
    (signature.hash, signature.image_hash) = (Hash::Sha384, Hash::Sha384);
}
fn sha512(signature: &mut Pkcs7) {
    (signature.hash, signature.image_hash) = (Hash::Sha512, Hash::Sha512);
}
fn sha512_over_sha256(signature: &mut Pkcs7) {
    signature.hash = Hash::Sha512;
}

/// `WIN_CERTIFICATE_UEFI_GUID` of a type that nobody knows.
fn of_guid_type() -> Signature {
    Signature::Other {
        revision: 0x0200,
        kind: 0x0ef1,
        data: vec![0x5a; 48],
    }
}

/// Who issued whom, and may it.
const CHAINS: &[Case] = &[
    Case {
        name: "everyday chain",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(one(&[&leaf], &[&ca]))
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
    Case {
        name: "no AKI, CA before leaf",
        make: |m| {
            let ca = m.root("ca", without_authority_key_id)?;
            let leaf = m.leaf("leaf", &ca, without_key_ids)?;
            Ok(one(&[&leaf], &[&ca, &leaf]))
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
    Case {
        name: "no AKI, CA alone",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let leaf = m.leaf("leaf", &ca, without_authority_key_id)?;
            Ok(one(&[&leaf], &[&ca]))
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
    Case {
        name: "AKI, and a CA without SKI",
        make: |m| {
            let ca = m.root("ca", without_key_ids)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(one(&[&leaf], &[&ca, &leaf]))
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
    Case {
        name: "leaf before CA",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(one(&[&leaf], &[&leaf, &ca]))
        },
        firmware: &["leaf"],
        shim: &["leaf"],
    },
    Case {
        name: "CA:FALSE before leaf",
        make: |m| {
            let ca = m.root("ca", |spec| spec.is_authority = Some(false))?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(one(&[&leaf], &[&ca, &leaf]))
        },
        firmware: &["leaf"],
        shim: &["ca"],
    },
    Case {
        name: "CA:FALSE alone",
        make: |m| {
            let ca = m.root("ca", |spec| spec.is_authority = Some(false))?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(one(&[&leaf], &[&ca]))
        },
        firmware: &[],
        shim: &["ca"],
    },
    Case {
        name: "no basicConstraints, keyCertSign",
        make: |m| {
            let ca = m.root("ca", |spec| spec.is_authority = None)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(one(&[&leaf], &[&ca, &leaf]))
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
    Case {
        name: "neither basicConstraints nor keyUsage",
        make: |m| {
            let ca = m.root("ca", |spec| {
                (spec.is_authority, spec.key_usage) = (None, None);
            })?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(one(&[&leaf], &[&ca, &leaf]))
        },
        firmware: &["leaf"],
        shim: &["ca"],
    },
    Case {
        name: "CA of version 1",
        make: |m| {
            let ca = m.root("ca", |spec| spec.is_version_1 = true)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(one(&[&leaf], &[&ca, &leaf]))
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
    Case {
        name: "keyUsage without keyCertSign",
        make: |m| {
            let ca = m.root("ca", |spec| spec.key_usage = Some(DIGITAL_SIGNATURE))?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(one(&[&leaf], &[&ca, &leaf]))
        },
        firmware: &["leaf"],
        shim: &["leaf"],
    },
    Case {
        name: "pathlen 0 above an intermediate",
        make: |m| {
            let ca = m.root("ca", |spec| spec.path_length = Some(0))?;
            let middle = m.intermediate("middle", &ca, as_it_is)?;
            let leaf = m.leaf("leaf", &middle, as_it_is)?;
            Ok(one(&[&leaf, &middle], &[&ca, &middle]))
        },
        firmware: &["middle"],
        shim: &["ca"],
    },
];

/// Which of several issuers it is, whatever their names are written in.
const NAMES: &[Case] = &[
    Case {
        name: "an intermediate in the signature",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let middle = m.intermediate("middle", &ca, as_it_is)?;
            let leaf = m.leaf("leaf", &middle, as_it_is)?;
            Ok(one(&[&leaf, &middle], &[&ca, &middle, &leaf]))
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
    Case {
        name: "no intermediate in the signature",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let middle = m.intermediate("middle", &ca, as_it_is)?;
            let leaf = m.leaf("leaf", &middle, as_it_is)?;
            Ok(one(&[&leaf], &[&ca, &middle]))
        },
        firmware: &["middle"],
        shim: &["middle"],
    },
    Case {
        name: "expired CA and leaf",
        make: |m| {
            let ca = m.root("ca", |spec| spec.is_expired = true)?;
            let leaf = m.leaf("leaf", &ca, |spec| spec.is_expired = true)?;
            Ok(one(&[&leaf], &[&ca]))
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
    Case {
        name: "name as PrintableString and UTF8String",
        make: |m| {
            let ca = m.root("ca", |spec| spec.encoding = tag::PRINTABLE_STRING)?;
            let spec = Spec::signer(m.name("leaf"));
            let leaf = m
                .workshop
                .certificate_naming(spec, Some(&ca), tag::UTF8_STRING)?;
            Ok(one(&[&leaf], &[&ca]))
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
    Case {
        name: "name as UTF8String and BMPString",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let spec = Spec::signer(m.name("leaf"));
            let leaf = m
                .workshop
                .certificate_naming(spec, Some(&ca), tag::BMP_STRING)?;
            Ok(one(&[&leaf], &[&ca, &leaf]))
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
    Case {
        name: "intermediate with CA:FALSE",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let middle = m.intermediate("middle", &ca, |spec| spec.is_authority = Some(false))?;
            let leaf = m.leaf("leaf", &middle, as_it_is)?;
            Ok(one(&[&leaf, &middle], &[&ca, &leaf]))
        },
        firmware: &[],
        shim: &["leaf"],
    },
    Case {
        name: "intermediate and its CA in the signature, CA:FALSE in db",
        make: |m| {
            let ca = m.root("ca", |spec| spec.is_authority = Some(false))?;
            let middle = m.intermediate("middle", &ca, as_it_is)?;
            let leaf = m.leaf("leaf", &middle, as_it_is)?;
            Ok(one(&[&leaf, &middle, &ca], &[&ca, &leaf]))
        },
        firmware: &[],
        shim: &["ca"],
    },
    Case {
        name: "AKI of another key",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let mut other = ca.clone();
            other.spec.key = "other";
            other.spec.subject = m.name("ca");
            let leaf = m.leaf("leaf", &other, as_it_is)?;
            Ok(one(&[&leaf], &[&ca, &leaf]))
        },
        firmware: &["leaf"],
        shim: &["leaf"],
    },
    Case {
        name: "two CAs of one name",
        make: |m| {
            let other = m.root("ca", |spec| {
                without_key_ids(spec);
                spec.key = "other";
            })?;
            let ca = m.root("ca", without_key_ids)?;
            let leaf = m.leaf("leaf", &ca, without_key_ids)?;
            Ok(one(&[&leaf], &[&other, &ca]))
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
];

/// What dbx forbids.
const FORBIDDEN: &[Case] = &[
    Case {
        name: "dbx on the CA",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(forbidding(&[&leaf], &[&ca], certificates(&[&ca])))
        },
        firmware: &[],
        shim: &[],
    },
    Case {
        name: "dbx on the CA, leaf in db",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(forbidding(&[&leaf], &[&leaf], certificates(&[&ca])))
        },
        firmware: &[],
        shim: &[],
    },
    Case {
        name: "dbx on the leaf",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(forbidding(&[&leaf], &[&ca], certificates(&[&leaf])))
        },
        firmware: &[],
        shim: &[],
    },
    Case {
        name: "dbx on a CA that may not issue",
        make: |m| {
            let ca = m.root("ca", |spec| spec.is_authority = Some(false))?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(forbidding(&[&leaf], &[&leaf], certificates(&[&ca])))
        },
        firmware: &["leaf"],
        shim: &[],
    },
    Case {
        name: "dbx hash of the leaf",
        make: |m| revoked(m, Hash::Sha256, 0, Whom::Leaf),
        firmware: &[],
        shim: &["ca"],
    },
    Case {
        name: "dbx hash of the leaf with a time",
        make: |m| revoked(m, Hash::Sha256, 1, Whom::Leaf),
        firmware: &[],
        shim: &["ca"],
    },
    Case {
        name: "dbx hash of the leaf by SHA-384",
        make: |m| revoked(m, Hash::Sha384, 0, Whom::Leaf),
        firmware: &[],
        shim: &["ca"],
    },
    Case {
        name: "dbx hash of the leaf by SHA-512",
        make: |m| revoked(m, Hash::Sha512, 0, Whom::Leaf),
        firmware: &[],
        shim: &["ca"],
    },
    Case {
        name: "dbx hash of the CA",
        make: |m| revoked(m, Hash::Sha256, 0, Whom::Ca),
        firmware: &[],
        shim: &["ca"],
    },
    Case {
        name: "dbx hash of the CA with a time",
        make: |m| revoked(m, Hash::Sha256, 1, Whom::Ca),
        firmware: &[],
        shim: &["ca"],
    },
    Case {
        name: "dbx hash of the CA by SHA-384",
        make: |m| revoked(m, Hash::Sha384, 0, Whom::Ca),
        firmware: &[],
        shim: &["ca"],
    },
    Case {
        name: "dbx hash of the CA, leaf behind it in db",
        make: |m| {
            let mut parts = revoked(m, Hash::Sha256, 0, Whom::Ca)?;
            if let Signature::Pkcs7(signature) = &parts.signatures[0] {
                parts.db.push(Entry::Certificate(signature.signer.clone()));
            }
            Ok(parts)
        },
        firmware: &[],
        shim: &["ca"],
    },
    Case {
        name: "dbx hash of the CA, in the signature, leaf in db",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            let dbx = vec![Entry::Revoked(Hash::Sha256, ca.clone(), [0; 16])];
            Ok(forbidding(&[&leaf, &ca], &[&leaf], dbx))
        },
        firmware: &["leaf"],
        shim: &["leaf"],
    },
    Case {
        name: "dbx hash of a stranger in the signature",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            let stranger = m.root("stranger", as_it_is)?;
            let dbx = vec![Entry::Revoked(Hash::Sha256, stranger.clone(), [0; 16])];
            Ok(forbidding(&[&leaf, &stranger], &[&ca], dbx))
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
    Case {
        name: "good, and one in dbx behind it",
        make: |m| {
            let [a, b] = m.signers(["a", "b"])?;
            let mut parts = several(&[a.clone(), b.clone()], vec![good(&a), good(&b)]);
            parts.dbx = certificates(&[&b]);
            Ok(parts)
        },
        firmware: &[],
        shim: &["a", "dbx b"],
    },
    Case {
        name: "one in dbx, and a good one behind it",
        make: |m| {
            let [a, b] = m.signers(["a", "b"])?;
            let mut parts = several(&[a.clone(), b.clone()], vec![good(&a), good(&b)]);
            parts.dbx = certificates(&[&a]);
            Ok(parts)
        },
        firmware: &[],
        shim: &["dbx a", "b"],
    },
];

/// Whose digest is in dbx.
#[derive(Clone, Copy)]
enum Whom {
    Leaf,
    Ca,
}

/// A chain whose CA is in db, and in dbx the digest of one of its certificates.
fn revoked(m: &Maker, hash: Hash, time: u8, whom: Whom) -> Result<Parts> {
    let ca = m.root("ca", as_it_is)?;
    let leaf = m.leaf("leaf", &ca, as_it_is)?;
    let whom = match whom {
        Whom::Leaf => &leaf,
        Whom::Ca => &ca,
    };
    // An EFI_TIME: year, month, day.
    let mut moment = [0; 16];
    if time > 0 {
        moment[..4].copy_from_slice(&[0xe4, 0x07, 1, 1]);
    }
    let dbx = vec![Entry::Revoked(hash, whom.clone(), moment)];
    Ok(forbidding(&[&leaf], &[&ca], dbx))
}

/// Several signatures, and odd ones among them.
const SIGNATURES: &[Case] = &[
    Case {
        name: "bad before good",
        make: |m| {
            let db = m.signers(["a", "b"])?;
            let signatures = vec![odd(&db[0], broken), good(&db[1])];
            Ok(several(&db, signatures))
        },
        firmware: &["b"],
        shim: &["b"],
    },
    Case {
        name: "good before bad",
        make: |m| {
            let db = m.signers(["a", "b"])?;
            let signatures = vec![good(&db[0]), odd(&db[1], broken)];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["a"],
    },
    Case {
        name: "of another program before good",
        make: |m| {
            let db = m.signers(["a", "b"])?;
            let signatures = vec![odd(&db[0], of_other_program), good(&db[1])];
            Ok(several(&db, signatures))
        },
        firmware: &["b"],
        shim: &["b"],
    },
    Case {
        name: "two good ones",
        make: |m| {
            let db = m.signers(["a", "b"])?;
            let signatures = vec![good(&db[0]), good(&db[1])];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["a", "b"],
    },
    Case {
        name: "two good ones in the other order",
        make: |m| {
            let db = m.signers(["a", "b"])?;
            let signatures = vec![good(&db[1]), good(&db[0])];
            Ok(several(&db, signatures))
        },
        firmware: &["b"],
        shim: &["b", "a"],
    },
    Case {
        name: "one twice",
        make: |m| {
            let db = m.signers(["a"])?;
            let signatures = vec![good(&db[0]), good(&db[0])];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["a"],
    },
    Case {
        name: "bare PKCS#7 between good ones",
        make: |m| {
            let db = m.signers(["a", "b", "c"])?;
            let signatures = vec![good(&db[0]), odd(&db[1], bare), good(&db[2])];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["a", "c"],
    },
    Case {
        name: "bare PKCS#7 alone",
        make: |m| {
            let db = m.signers(["a"])?;
            let signatures = vec![odd(&db[0], bare)];
            Ok(several(&db, signatures))
        },
        firmware: &[],
        shim: &[],
    },
    Case {
        name: "SHA-1 before SHA-256",
        make: |m| {
            let db = m.signers(["a", "b"])?;
            let signatures = vec![odd(&db[0], sha1), good(&db[1])];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["b"],
    },
    Case {
        name: "SHA-1 between SHA-256",
        make: |m| {
            let db = m.signers(["a", "b", "c"])?;
            let signatures = vec![good(&db[0]), odd(&db[1], sha1), good(&db[2])];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["a", "c"],
    },
    Case {
        name: "SHA-384 before SHA-256",
        make: |m| {
            let db = m.signers(["a", "b"])?;
            let signatures = vec![odd(&db[0], sha384), good(&db[1])];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["b"],
    },
    Case {
        name: "SHA-512 over a digest by SHA-256",
        make: |m| {
            let db = m.signers(["a"])?;
            let signatures = vec![odd(&db[0], sha512_over_sha256)];
            Ok(several(&db, signatures))
        },
        firmware: &[],
        shim: &["a"],
    },
];

/// Entries of the certificate table that are no signature of one signer as everybody makes it.
const ODD_ENTRIES: &[Case] = &[
    Case {
        name: "bare PKCS#7 before good",
        make: |m| {
            let db = m.signers(["a", "b"])?;
            let signatures = vec![odd(&db[0], bare), good(&db[1])];
            Ok(several(&db, signatures))
        },
        firmware: &["b"],
        shim: &["b"],
    },
    Case {
        name: "SHA-1 alone",
        make: |m| {
            let db = m.signers(["a"])?;
            let signatures = vec![odd(&db[0], sha1)];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &[],
    },
    Case {
        name: "SHA-1 over a digest by SHA-256, before good",
        make: |m| {
            let db = m.signers(["a", "b"])?;
            let signatures = vec![odd(&db[0], sha1_over_sha256), good(&db[1])];
            Ok(several(&db, signatures))
        },
        firmware: &["b"],
        shim: &["a", "b"],
    },
    Case {
        name: "no certificates inside, before good",
        make: |m| {
            let db = m.signers(["a", "b"])?;
            let signatures = vec![odd(&db[0], without_certificates), good(&db[1])];
            Ok(several(&db, signatures))
        },
        firmware: &[],
        shim: &["b"],
    },
    Case {
        name: "no certificates inside, behind good",
        make: |m| {
            let db = m.signers(["a", "b"])?;
            let signatures = vec![good(&db[1]), odd(&db[0], without_certificates)];
            Ok(several(&db, signatures))
        },
        firmware: &[],
        shim: &["b"],
    },
    Case {
        name: "no certificates inside, alone",
        make: |m| {
            let db = m.signers(["a"])?;
            let signatures = vec![odd(&db[0], without_certificates)];
            Ok(several(&db, signatures))
        },
        firmware: &[],
        shim: &[],
    },
    Case {
        name: "no attributes",
        make: |m| {
            let db = m.signers(["a"])?;
            let signatures = vec![odd(&db[0], without_attributes)];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["a"],
    },
    Case {
        name: "GUID entry between good ones",
        make: |m| {
            let db = m.signers(["a", "b"])?;
            let signatures = vec![good(&db[0]), of_guid_type(), good(&db[1])];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["a", "b"],
    },
    Case {
        name: "GUID entry before good",
        make: |m| {
            let db = m.signers(["a"])?;
            let signatures = vec![of_guid_type(), good(&db[0])];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["a"],
    },
    Case {
        name: "X.509 entry before good",
        make: |m| {
            let db = m.signers(["a"])?;
            let other = Signature::Other {
                revision: 0x0200,
                kind: 1,
                data: db[0].der.clone(),
            };
            let signatures = vec![other, good(&db[0])];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["a"],
    },
    Case {
        name: "entry of revision 1 before good",
        make: |m| {
            let db = m.signers(["a"])?;
            let other = Signature::Other {
                revision: 0x0100,
                kind: 2,
                data: vec![0xa5; 64],
            };
            let signatures = vec![other, good(&db[0])];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["a"],
    },
    Case {
        name: "good one of revision 1",
        make: |m| {
            let db = m.signers(["a"])?;
            let signatures = vec![odd(&db[0], of_revision_1)];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["a"],
    },
    Case {
        name: "good one in a GUID entry",
        make: |m| {
            let db = m.signers(["a"])?;
            let signatures = vec![odd(&db[0], in_guid_entry)];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &[],
    },
    Case {
        name: "noise as PKCS#7 before good",
        make: |m| {
            let db = m.signers(["a"])?;
            let signatures = vec![noise(), good(&db[0])];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["a"],
    },
    Case {
        name: "noise as PKCS#7 behind good",
        make: |m| {
            let db = m.signers(["a"])?;
            let signatures = vec![good(&db[0]), noise()];
            Ok(several(&db, signatures))
        },
        firmware: &["a"],
        shim: &["a"],
    },
    Case {
        name: "a stranger before good",
        make: |m| {
            let [stranger, a] = m.signers(["stranger", "a"])?;
            let signatures = vec![good(&stranger), good(&a)];
            Ok(several(&[a], signatures))
        },
        firmware: &["a"],
        shim: &["a"],
    },
];

fn noise() -> Signature {
    Signature::Other {
        revision: 0x0200,
        kind: 2,
        data: vec![0xa5; 64],
    }
}

/// What lets a program boot, or forbids it, by its digest.
const DIGESTS: &[Case] = &[
    Case {
        name: "unsigned, SHA-256 in db",
        make: |_| Ok(by_digest(Hash::Sha256)),
        firmware: &["SHA-256"],
        shim: &["SHA-256"],
    },
    Case {
        name: "unsigned, SHA-1 in db",
        make: |_| Ok(by_digest(Hash::Sha1)),
        firmware: &[],
        shim: &["SHA-1"],
    },
    Case {
        name: "unsigned, SHA-384 in db",
        make: |_| Ok(by_digest(Hash::Sha384)),
        firmware: &[],
        shim: &[],
    },
    Case {
        name: "unsigned, SHA-1 and SHA-256 in db",
        make: |_| {
            let mut parts = by_digest(Hash::Sha1);
            parts.db.push(Entry::Program(Hash::Sha256));
            Ok(parts)
        },
        firmware: &["SHA-256"],
        shim: &["SHA-256"],
    },
    Case {
        name: "unsigned, SHA-256 in db, SHA-1 in dbx",
        make: |_| {
            let mut parts = by_digest(Hash::Sha256);
            parts.dbx = vec![Entry::Program(Hash::Sha1)];
            Ok(parts)
        },
        firmware: &["SHA-256"],
        shim: &[],
    },
    Case {
        name: "unsigned, SHA-256 in db, SHA-384 and SHA-512 in dbx",
        make: |_| {
            let mut parts = by_digest(Hash::Sha256);
            parts.dbx = vec![Entry::Program(Hash::Sha384), Entry::Program(Hash::Sha512)];
            Ok(parts)
        },
        firmware: &["SHA-256"],
        shim: &["SHA-256"],
    },
    Case {
        name: "a stranger's, SHA-256 in db",
        make: |m| strangers(m, as_usual, &[Hash::Sha256]),
        firmware: &["SHA-256"],
        shim: &["SHA-256"],
    },
    Case {
        name: "a stranger's, SHA-1 in db",
        make: |m| strangers(m, as_usual, &[Hash::Sha1]),
        firmware: &[],
        shim: &["SHA-1"],
    },
    Case {
        name: "a stranger's by SHA-1, SHA-1 in db",
        make: |m| strangers(m, sha1, &[Hash::Sha1]),
        firmware: &["SHA-1"],
        shim: &["SHA-1"],
    },
    Case {
        name: "a stranger's by SHA-384, SHA-384 in db",
        make: |m| strangers(m, sha384, &[Hash::Sha384]),
        firmware: &["SHA-384"],
        shim: &[],
    },
    Case {
        name: "a stranger's by SHA-512, SHA-512 in db",
        make: |m| strangers(m, sha512, &[Hash::Sha512]),
        firmware: &["SHA-512"],
        shim: &[],
    },
    Case {
        name: "a stranger's by SHA-384, SHA-256 in db",
        make: |m| strangers(m, sha384, &[Hash::Sha256]),
        firmware: &[],
        shim: &["SHA-256"],
    },
    Case {
        name: "good, SHA-1 and SHA-256 in db",
        make: |m| {
            let db = m.signers(["a"])?;
            let mut parts = several(&db, vec![good(&db[0])]);
            let digests = [Hash::Sha1, Hash::Sha256].map(Entry::Program);
            parts.db.extend(digests);
            Ok(parts)
        },
        firmware: &["a"],
        shim: &["SHA-256"],
    },
    Case {
        name: "good, SHA-256 in dbx",
        make: |m| forbidden_by_digest(m, &[as_usual], &[Hash::Sha256]),
        firmware: &[],
        shim: &[],
    },
    Case {
        name: "good, SHA-1 in dbx",
        make: |m| forbidden_by_digest(m, &[as_usual], &[Hash::Sha1]),
        firmware: &["a"],
        shim: &[],
    },
    Case {
        name: "good, SHA-384 and SHA-512 in dbx",
        make: |m| forbidden_by_digest(m, &[as_usual], &[Hash::Sha384, Hash::Sha512]),
        firmware: &["a"],
        shim: &["a"],
    },
    Case {
        name: "good by SHA-1, SHA-1 in dbx",
        make: |m| forbidden_by_digest(m, &[sha1], &[Hash::Sha1]),
        firmware: &[],
        shim: &[],
    },
    Case {
        name: "good by SHA-384, SHA-384 in dbx",
        make: |m| forbidden_by_digest(m, &[sha384], &[Hash::Sha384]),
        firmware: &[],
        shim: &[],
    },
    Case {
        name: "good by SHA-384, SHA-256 in dbx",
        make: |m| forbidden_by_digest(m, &[sha384], &[Hash::Sha256]),
        firmware: &["a"],
        shim: &[],
    },
    Case {
        name: "good, then by SHA-384, SHA-384 in dbx",
        make: |m| forbidden_by_digest(m, &[as_usual, sha384], &[Hash::Sha384]),
        firmware: &[],
        shim: &["a"],
    },
    Case {
        name: "by SHA-384, then good, SHA-384 in dbx",
        make: |m| forbidden_by_digest(m, &[sha384, as_usual], &[Hash::Sha384]),
        firmware: &[],
        shim: &["b"],
    },
    Case {
        name: "good, then bare, SHA-384 in dbx",
        make: |m| forbidden_by_digest(m, &[as_usual, bare], &[Hash::Sha384, Hash::Sha512]),
        firmware: &["a"],
        shim: &["a"],
    },
];

/// No signature, and in db the digest of the program.
fn by_digest(hash: Hash) -> Parts {
    Parts {
        db: vec![Entry::Program(hash)],
        dbx: Vec::new(),
        signatures: Vec::new(),
    }
}

/// Signed by somebody who is not in db, where these digests of the program are.
fn strangers(m: &Maker, change: fn(&mut Pkcs7), digests: &[Hash]) -> Result<Parts> {
    let [stranger] = m.signers(["stranger"])?;
    Ok(Parts {
        db: digests.iter().copied().map(Entry::Program).collect(),
        dbx: Vec::new(),
        signatures: vec![odd(&stranger, change)],
    })
}

/// Signatures of a and b, who are in db, and in dbx these digests of the program.
fn forbidden_by_digest(m: &Maker, changes: &[fn(&mut Pkcs7)], digests: &[Hash]) -> Result<Parts> {
    let db = m.signers(["a", "b"])?;
    let signatures = db.iter().zip(changes);
    let signatures = signatures.map(|(signer, change)| odd(signer, *change));
    let mut parts = several(&db, signatures.collect());
    parts.dbx = digests.iter().copied().map(Entry::Program).collect();
    Ok(parts)
}

/// Entries of db and dbx that are no certificate alone, or of other types.
const LISTS: &[Case] = &[
    Case {
        name: "bytes behind the CA in db",
        make: |m| {
            let [ca, stranger, leaf] = m.with_longer()?;
            Ok(Parts {
                db: vec![Entry::Pair(ca, stranger)],
                ..one(&[&leaf], &[])
            })
        },
        firmware: &["ca, padded"],
        shim: &[],
    },
    Case {
        name: "bytes behind the CA, second of its list in db",
        make: |m| {
            let [ca, stranger, leaf] = m.with_longer()?;
            Ok(Parts {
                db: vec![Entry::Pair(stranger, ca), Entry::Certificate(leaf.clone())],
                ..one(&[&leaf], &[])
            })
        },
        firmware: &["ca, padded"],
        shim: &["leaf"],
    },
    Case {
        name: "bytes behind the CA in dbx",
        make: |m| {
            let [ca, stranger, leaf] = m.with_longer()?;
            let pair = Entry::Pair(ca.clone(), stranger);
            Ok(forbidding(&[&leaf], &[&ca], vec![pair]))
        },
        firmware: &[],
        shim: &["ca"],
    },
    Case {
        name: "a serial number with a zero before it",
        make: |m| {
            let ca = m.root("ca", |spec| spec.has_long_serial = true)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(one(&[&leaf], &[&ca, &leaf]))
        },
        firmware: &["leaf"],
        shim: &["ca"],
    },
    Case {
        name: "a leaf's serial number with a zero before it",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let leaf = m.leaf("leaf", &ca, |spec| spec.has_long_serial = true)?;
            Ok(one(&[&leaf], &[&ca]))
        },
        firmware: &[],
        shim: &["ca"],
    },
    Case {
        name: "the digest of the CA in db",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(Parts {
                db: vec![Entry::Revoked(Hash::Sha256, ca, [0; 16])],
                ..one(&[&leaf], &[])
            })
        },
        firmware: &[],
        shim: &[],
    },
    Case {
        name: "lists of other types in db and dbx",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            let mut parts = one(&[&leaf], &[&ca]);
            let others = [
                Entry::Other(list::SHA224, vec![7; 28]),
                Entry::Other(list::RSA2048, vec![7; 256]),
                Entry::Other(list::EXTERNAL, vec![7; 1]),
                Entry::Other([7; 16], vec![7; 40]),
            ];
            parts.db.splice(0..0, others.clone());
            parts.dbx.extend(others);
            Ok(parts)
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
    Case {
        name: "the CA's key in dbx",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            let keys = [&ca, &leaf].map(|one| Entry::Other(list::RSA2048, one.modulus.clone()));
            Ok(forbidding(&[&leaf], &[&ca], keys.to_vec()))
        },
        firmware: &["ca"],
        shim: &["ca"],
    },
    Case {
        name: "the leaf's key in db",
        make: |m| {
            let ca = m.root("ca", as_it_is)?;
            let leaf = m.leaf("leaf", &ca, as_it_is)?;
            Ok(Parts {
                db: vec![Entry::Other(list::RSA2048, leaf.modulus.clone())],
                ..one(&[&leaf], &[])
            })
        },
        firmware: &[],
        shim: &[],
    },
];

pub const GROUPS: &[Group] = &[
    Group {
        name: "chains",
        is_short: true,
        cases: CHAINS,
    },
    Group {
        name: "names",
        is_short: false,
        cases: NAMES,
    },
    Group {
        name: "forbidden",
        is_short: false,
        cases: FORBIDDEN,
    },
    Group {
        name: "signatures",
        is_short: true,
        cases: SIGNATURES,
    },
    Group {
        name: "odd entries",
        is_short: false,
        cases: ODD_ENTRIES,
    },
    Group {
        name: "digests",
        is_short: false,
        cases: DIGESTS,
    },
    Group {
        name: "lists",
        is_short: false,
        cases: LISTS,
    },
];

/// Those that a prediction refuses although they boot: nobody writes such.
pub const STRICTER: &[&str] = &["good one of revision 1", "good one in a GUID entry"];

/// Those that are booted alone as well, where they boot.
pub const ALONE: &[&str] = &[
    "everyday chain",
    "no AKI, CA before leaf",
    "no AKI, CA alone",
    "CA:FALSE before leaf",
    "keyUsage without keyCertSign",
    "pathlen 0 above an intermediate",
    "expired CA and leaf",
    "name as PrintableString and UTF8String",
    "dbx hash of the leaf",
    "dbx hash of the CA, in the signature, leaf in db",
    "one in dbx, and a good one behind it",
    "bad before good",
    "good before bad",
    "two good ones",
    "bare PKCS#7 between good ones",
    "SHA-1 before SHA-256",
    "no certificates inside, before good",
    "GUID entry between good ones",
];
