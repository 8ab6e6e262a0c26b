//! Who lets a program boot: the entries that firmware and shim measure as the authority for it.
//!
//! *Firmware*, for the first program: its signatures in file order, for each the entries of db in order;
//! the first that verifies is measured. A program without such a signature may stand in db by its digest.
//! Any signature that dbx forbids refuses the program.
//!
//! *shim*, for what it loads: the program's digest in db or in its own database; else each signature in
//! file order, and every one that verifies is measured: below db, then below what is built into shim. A
//! certificate in dbx that verifies a signature is measured, too, and that signature does not count.
//! It looks at the first entry of each list of certificates.
//!
//! The reference takes the first signature that is anchored by name, for shim's step first in what is built
//! into it.

use uuid::Uuid;

use super::error::Problem;
use super::identity::Shim;
use super::rollover;
use super::rules::Rules;
use crate::efi::pkcs7::Flaw;
use crate::efi::shim::{Authorised, Version};
use crate::efi::signature_list::{Entry, SHA256, SignatureList, X509, X509_SHA256};
use crate::efi::{Certificate, Hash, Program, Signature, guid};

/// The length of a digest in a list of SHA-256 digests, and in front of the time in one of TBS digests.
const DIGEST_BYTES: usize = 32;

/// What is measured as an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    /// The variable that the event names.
    pub database: &'static str,
    pub guid: Uuid,
    pub data: Vec<u8>,
    pub description: String,
}

impl Authority {
    /// Two that make the same event; where the entry came from is not in it.
    fn makes_same_event(&self, other: &Self) -> bool {
        (self.database, self.guid, &self.data) == (other.database, other.guid, &other.data)
    }
}

/// A database, its certificates parsed.
#[derive(Debug, Clone, Default)]
pub(super) struct Database {
    /// Lists of certificates; an entry that is not exactly one certificate is `None`.
    certificates: Vec<Vec<(Entry, Option<Certificate>)>>,
    digests: Vec<Entry>,
    tbs_digests: Vec<Entry>,
    /// The number of each entry that is not exactly one certificate, counted from 1.
    pub skipped: Vec<usize>,
}

impl Database {
    pub fn new(lists: &[SignatureList]) -> Self {
        let mut database = Self::default();
        let mut number = 0_usize;
        for list in lists {
            let mut certificates = Vec::new();
            for entry in &list.entries {
                number = number.saturating_add(1);
                match list.kind {
                    X509 => {
                        let certificate = Certificate::parse(&entry.data).ok();
                        if certificate.is_none() {
                            database.skipped.push(number);
                        }
                        certificates.push((entry.clone(), certificate));
                    }
                    SHA256 => database.digests.push(entry.clone()),
                    X509_SHA256 => database.tbs_digests.push(entry.clone()),
                    _ => {}
                }
            }
            database.certificates.push(certificates);
        }
        database
    }

    /// Every certificate.
    pub fn every(&self) -> impl Iterator<Item = (&Entry, &Certificate)> {
        let all = self.certificates.iter().flatten();
        all.filter_map(|(entry, certificate)| Some((entry, certificate.as_ref()?)))
    }

    /// The first entry of each list, where it is a certificate: what shim and the reference look at.
    fn first_of_each_list(&self) -> impl Iterator<Item = (&Entry, &Certificate)> {
        let first = self.certificates.iter().filter_map(|list| list.first());
        first.filter_map(|(entry, certificate)| Some((entry, certificate.as_ref()?)))
    }

    fn digest(&self, digest: &[u8]) -> Option<&Entry> {
        self.digests.iter().find(|entry| entry.data == digest)
    }
}

/// How signatures are judged, and what they were found to be.
struct Judge<'a> {
    program: &'a Program,
    rules: Rules,
    saw_digest: bool,
    saw_signature: bool,
}

impl<'a> Judge<'a> {
    fn new(program: &'a Program, rules: Rules) -> Self {
        Self {
            program,
            rules,
            saw_digest: false,
            saw_signature: false,
        }
    }

    /// True where the signature is good and leads to `anchor`.
    fn accepts(&mut self, signature: &Signature, anchor: &Certificate) -> bool {
        if !signature.is_anchored_by_name(anchor) {
            return false;
        }
        if !self.rules.verify_signatures {
            return true;
        }
        match signature.flaw(self.program.image_digest()) {
            Some(Flaw::Digest) => self.saw_digest = true,
            None if signature.is_anchored(anchor) => return true,
            Some(Flaw::Signature) | None => self.saw_signature = true,
        }
        false
    }

    /// Why the program does not boot, after no signature was accepted.
    fn verdict(self, checked: &'static str) -> Problem {
        let signers: Vec<String> = self
            .program
            .signatures
            .iter()
            .map(|signature| signature.signer().subject().to_string())
            .collect();
        if signers.is_empty() {
            return Problem::Unsigned { checked };
        }
        let signers = signers.join(" and by ");
        if self.saw_digest {
            Problem::DigestMismatch { signers }
        } else if self.saw_signature {
            Problem::SignatureInvalid { signers }
        } else {
            Problem::Untrusted { signers, checked }
        }
    }
}

fn from_database(database: &'static str, entry: &Entry, what: &str) -> Authority {
    Authority {
        database,
        guid: guid::IMAGE_SECURITY_DATABASE,
        data: entry.to_bytes(),
        description: format!("{database} entry of {}, {what}", entry.owner),
    }
}

/// What firmware measures for the program that it loads.
pub(super) fn by_firmware(
    program: &Program,
    db: &Database,
    dbx: &Database,
    rules: Rules,
) -> Result<Vec<Authority>, Problem> {
    let digest = program.image_digest();
    if rules.obey_dbx && dbx.digest(digest).is_some() {
        return Err(Problem::Forbidden {
            list: "dbx",
            entry: format!("the digest {}", hex::encode(digest)),
        });
    }
    let in_db = db.digest(digest).filter(|_| !rules.follow_reference);
    let by_digest =
        in_db.map(|entry| from_database("db", entry, &format!("digest {}", hex::encode(digest))));
    let mut judge = Judge::new(program, rules);
    let mut found = None;
    for signature in &program.signatures {
        if rules.obey_dbx {
            firmware_forbids(&mut Judge::new(program, rules), signature, dbx)?;
        }
        if found.is_none() {
            let anchor = if rules.follow_reference {
                db.first_of_each_list()
                    .find(|(_, anchor)| judge.accepts(signature, anchor))
            } else {
                db.every()
                    .find(|(_, anchor)| judge.accepts(signature, anchor))
            };
            let by_certificate = anchor
                .map(|(entry, anchor)| from_database("db", entry, &anchor.subject().to_string()));
            found = by_certificate.or_else(|| by_digest.clone());
        }
    }
    match found.or(by_digest) {
        Some(authority) => Ok(vec![authority]),
        None => Err(match judge.verdict("db") {
            untrusted @ Problem::Untrusted { .. } => {
                rollover::problem(program, db).unwrap_or(untrusted)
            }
            other => other,
        }),
    }
}

/// Fails where dbx holds a certificate of the signature's chain, or the digest of one's signed part.
fn firmware_forbids(
    judge: &mut Judge<'_>,
    signature: &Signature,
    dbx: &Database,
) -> Result<(), Problem> {
    let forbidden = |entry: String| Err(Problem::Forbidden { list: "dbx", entry });
    if let Some((_, anchor)) = dbx
        .every()
        .find(|(_, anchor)| judge.accepts(signature, anchor))
    {
        return forbidden(format!("the certificate {}", anchor.subject()));
    }
    for entry in &dbx.tbs_digests {
        // A time behind the digest spares what was signed before it, with a trusted time stamp; such a
        // signature is refused here as well.
        let revoked = entry.data.get(..DIGEST_BYTES).unwrap_or_default();
        let is_it = |one: &Certificate| Hash::Sha256.digest(one.tbs()).as_ref() == revoked;
        if signature.any_in_verified_chain(&is_it) {
            return forbidden(format!(
                "the certificate with the TBS digest {}",
                hex::encode(revoked)
            ));
        }
    }
    Ok(())
}

/// What shim measures for the program that it loads.
pub(super) fn by_shim(
    program: &Program,
    shim: &Shim,
    db: &Database,
    dbx: &Database,
    rules: Rules,
) -> Result<Vec<Authority>, Problem> {
    let vendor = Vendor::of(shim);
    if rules.follow_reference {
        return as_reference(program, shim.version, &vendor, db, rules);
    }
    let vendor_dbx = Database::new(&shim.vendor.forbidden);
    let lists = [("the list built into shim", &vendor_dbx), ("dbx", dbx)];
    let digest = if program.signatures.is_empty() {
        program.digest_without_tail()
    } else {
        program.image_digest()
    };
    let entry = || format!("the digest {}", hex::encode(digest));
    if rules.obey_dbx
        && let Some((list, _)) = lists.iter().find(|(_, list)| list.digest(digest).is_some())
    {
        return Err(Problem::Forbidden {
            list,
            entry: entry(),
        });
    }
    if let Some(found) = db.digest(digest) {
        return Ok(vec![shorten(
            from_database("db", found, &entry()),
            shim.version,
        )]);
    }
    if let Vendor::Database(database) = &vendor
        && let Some(found) = database.digest(digest)
    {
        return Ok(vec![shorten(
            from_database("vendor_db", found, &entry()),
            shim.version,
        )]);
    }

    let mut judge = Judge::new(program, rules);
    let mut measured: Vec<Authority> = Vec::new();
    let mut is_accepted = false;
    let mut forbidden = None;
    for signature in &program.signatures {
        let denied = denied(&mut Judge::new(program, rules), signature, &lists);
        let is_denied = denied.is_some();
        let authority = if let Some((list, authority)) = denied {
            forbidden.get_or_insert_with(|| Problem::Forbidden {
                list,
                entry: authority.description.clone(),
            });
            Some(shorten(authority, shim.version))
        } else {
            allowed(&mut judge, signature, db)
                .map(|authority| shorten(authority, shim.version))
                .or_else(|| vendor.authority(&mut judge, signature, shim.version))
        };
        is_accepted |= authority.is_some() && !is_denied;
        if let Some(authority) = authority
            && !measured
                .iter()
                .any(|earlier| earlier.makes_same_event(&authority))
        {
            measured.push(authority);
        }
    }
    if is_accepted {
        Ok(measured)
    } else {
        Err(forbidden.unwrap_or_else(|| judge.verdict("db and in shim's own certificates")))
    }
}

/// The certificate of a deny list that verifies the signature.
fn denied(
    judge: &mut Judge<'_>,
    signature: &Signature,
    lists: &[(&'static str, &Database)],
) -> Option<(&'static str, Authority)> {
    if !judge.rules.obey_dbx {
        return None;
    }
    lists.iter().find_map(|(list, database)| {
        let mut entries = database.first_of_each_list();
        let (entry, anchor) = entries.find(|(_, anchor)| judge.accepts(signature, anchor))?;
        Some((
            *list,
            from_database("dbx", entry, &anchor.subject().to_string()),
        ))
    })
}

fn allowed(judge: &mut Judge<'_>, signature: &Signature, db: &Database) -> Option<Authority> {
    let is_reference = judge.rules.follow_reference;
    db.first_of_each_list()
        .filter(|(_, anchor)| is_reference || !anchor.signs_modules())
        .find(|(_, anchor)| judge.accepts(signature, anchor))
        .map(|(entry, anchor)| from_database("db", entry, &anchor.subject().to_string()))
}

/// Below 15.3 shim measures an entry's data without its owner.
fn shorten(authority: Authority, version: Version) -> Authority {
    if version >= Version(15, 3) {
        return authority;
    }
    Authority {
        data: authority.data.get(16..).unwrap_or_default().to_vec(),
        ..authority
    }
}

/// What is built into a shim, made ready for comparing.
enum Vendor<'a> {
    Nothing,
    Certificate(&'a Certificate),
    Database(Database),
}

impl<'a> Vendor<'a> {
    fn of(shim: &'a Shim) -> Self {
        match &shim.vendor.authorised {
            Authorised::Nothing => Self::Nothing,
            Authorised::Certificate(certificate) => Self::Certificate(certificate),
            Authorised::Lists(lists) => Self::Database(Database::new(lists)),
        }
    }

    fn authority(
        &self,
        judge: &mut Judge<'_>,
        signature: &Signature,
        version: Version,
    ) -> Option<Authority> {
        match self {
            Self::Nothing => None,
            Self::Certificate(certificate) => {
                if !judge.accepts(signature, certificate) {
                    return None;
                }
                let subject = certificate.subject();
                Some(if version >= Version(15, 7) {
                    let owner = guid::SHIM_LOCK.to_bytes_le();
                    Authority {
                        database: "MokListRT",
                        guid: guid::SHIM_LOCK,
                        data: [&owner[..], certificate.as_der()].concat(),
                        description: format!("MokListRT entry of shim, built in: {subject}"),
                    }
                } else {
                    Authority {
                        database: "Shim",
                        guid: guid::SHIM_LOCK,
                        data: certificate.as_der().to_vec(),
                        description: format!("certificate built into shim: {subject}"),
                    }
                })
            }
            Self::Database(database) => {
                let mut entries = database.first_of_each_list();
                let (entry, anchor) =
                    entries.find(|(_, anchor)| judge.accepts(signature, anchor))?;
                let what = anchor.subject().to_string();
                Some(shorten(from_database("vendor_db", entry, &what), version))
            }
        }
    }
}

fn as_reference(
    program: &Program,
    version: Version,
    vendor: &Vendor<'_>,
    db: &Database,
    rules: Rules,
) -> Result<Vec<Authority>, Problem> {
    let mut judge = Judge::new(program, rules);
    for signature in &program.signatures {
        let authority = vendor
            .authority(&mut judge, signature, version)
            .or_else(|| {
                allowed(&mut judge, signature, db).map(|authority| shorten(authority, version))
            });
        if let Some(authority) = authority {
            return Ok(vec![authority]);
        }
    }
    Err(judge.verdict("db and in shim's own certificates"))
}
