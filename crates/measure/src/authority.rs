//! Who lets a program boot: the entries that firmware and shim measure as the authority for it.
//!
//! *Both* pass over an entry of the certificate table that they cannot read, and over a signature of a form that they do
//! not take; one good one is enough.
//!
//! *Firmware*, for the first program: its signatures in file order, for each the entries of db in order; the first
//! that verifies is measured, else the program's digest in db by the hash function of that signature (SHA-1, 256, 384 or
//! 512). Any signature that dbx forbids refuses the program: one that leads to a certificate in dbx, whose signer's
//! digest is there, or by whose hash function the program's digest is. Where dbx has the digest of the certificate in db
//! that a signature leads to, that signature does not count. Digests of the certificates between are not looked for. A
//! program without signatures is looked for by SHA-256.
//!
//! *shim*, for what it loads: the program's digest, by SHA-256 and by SHA-1, in the dbx and the db of firmware; by SHA-256
//! in its own db; else each signature in
//! file order, and every one that verifies is measured: below db, then below what is built into shim. A
//! certificate in dbx that verifies a signature is measured, too, and that signature does not count.
//! It looks at the first entry of each list of certificates.
//!
//! The reference takes the first signature that is anchored by name, for shim's step first in what is built
//! into it.

use uuid::Uuid;

use super::database::Database;
use super::error::Problem;
use super::identity::Shim;
use super::judge::Judge;
use super::release::{Release, VendorEvent};
use super::rollover;
use super::rules::Rules;
use firmware::chain::Library;
use firmware::shim::{Authorised, Version};
use firmware::signature_list::Entry;
use firmware::{Certificate, Hash, Program, Signature, guid};

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
    pub(super) fn makes_same_event(&self, other: &Self) -> bool {
        (self.database, self.guid, &self.data) == (other.database, other.guid, &other.data)
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

/// The entry that is the program's digest by this hash function.
fn in_list(
    name: &'static str,
    list: &Database,
    hash: Hash,
    digest: Option<&[u8]>,
) -> Result<Option<Authority>, Problem> {
    let found = list.digest(hash, digest)?;
    Ok(found.map(|entry| from_database(name, entry, &shown_digest(hash, digest))))
}

/// Fails where a list that forbids programs has the program's digest by this hash function.
fn refuse_digest(
    name: &'static str,
    list: &Database,
    hash: Hash,
    digest: Option<&[u8]>,
) -> Result<(), Problem> {
    match list.digest(hash, digest)? {
        None => Ok(()),
        Some(_) => Err(Problem::Forbidden {
            list: name,
            entry: format!("the {}", shown_digest(hash, digest)),
        }),
    }
}

fn shown_digest(hash: Hash, digest: Option<&[u8]>) -> String {
    let by = if hash == Hash::Sha256 {
        String::new()
    } else {
        format!(" by {hash}")
    };
    format!("digest{by} {}", hex::encode(digest.unwrap_or_default()))
}

/// What firmware measures for the program that it loads.
pub(super) fn by_firmware(
    program: &Program,
    db: &Database,
    dbx: &Database,
    rules: Rules,
) -> Result<Vec<Authority>, Problem> {
    let by_digest = |hash| {
        if rules.follow_reference {
            return Ok(None);
        }
        in_list("db", db, hash, program.digest(hash))
    };
    if !program.has_certificate_table() {
        if rules.obey_dbx {
            refuse_digest("dbx", dbx, Hash::Sha256, program.digest(Hash::Sha256))?;
        }
        if let Some(authority) = by_digest(Hash::Sha256)? {
            return Ok(vec![authority]);
        }
    }
    let mut judge = Judge::new(program, rules, Library::Firmware);
    judge.check_skipped()?;
    let mut found = None;
    let mut revoked = None;
    for signature in &program.signatures {
        if !judge.reads(signature) {
            continue;
        }
        if rules.obey_dbx {
            firmware_forbids(program, rules, signature, dbx)?;
        }
        if found.is_none() {
            let anchor = if rules.follow_reference {
                judge.first(signature, db.first_of_each_list())?
            } else {
                judge.first(signature, db.every())?
            };
            let is_revoked =
                anchor.and_then(|(_, anchor)| dbx.tbs_digest(anchor).filter(|_| rules.obey_dbx));
            let by_certificate = anchor
                .map(|(entry, anchor)| from_database("db", entry, &anchor.subject().to_string()))
                .filter(|_| is_revoked.is_none());
            found = by_certificate;
            revoked = revoked.or(is_revoked);
        }
        if let Some(hash) = signature.firmware_hash() {
            if rules.obey_dbx {
                refuse_digest("dbx", dbx, hash, program.digest(hash))?;
            }
            if found.is_none() {
                found = by_digest(hash)?;
            }
        }
    }
    if let Some(authority) = found {
        return Ok(vec![authority]);
    }
    if let Some(digest) = revoked {
        return Err(forbidden_digest(&digest));
    }
    Err(match judge.verdict("db") {
        untrusted @ Problem::Untrusted { .. } => {
            rollover::problem(program, db).unwrap_or(untrusted)
        }
        other => other,
    })
}

/// Fails where the signature leads to a certificate in dbx, or dbx has the digest of its signer.
fn firmware_forbids(
    program: &Program,
    rules: Rules,
    signature: &Signature,
    dbx: &Database,
) -> Result<(), Problem> {
    let mut judge = Judge::new(program, rules, Library::Firmware);
    if let Some((_, anchor)) = judge.first(signature, dbx.every())? {
        return Err(Problem::Forbidden {
            list: "dbx",
            entry: format!("the certificate {}", anchor.subject()),
        });
    }
    match dbx.tbs_digest(signature.signer()) {
        Some(digest) => Err(forbidden_digest(&digest)),
        None => Ok(()),
    }
}

fn forbidden_digest(digest: &str) -> Problem {
    Problem::Forbidden {
        list: "dbx",
        entry: format!("the certificate with the TBS digest {digest}"),
    }
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
    if let Some(authority) = by_digest(program, db, &vendor, rules.obey_dbx.then_some(&lists))? {
        return Ok(vec![shorten(authority, shim.version)]);
    }
    let mut judge = Judge::new(program, rules, Library::Shim);
    judge.check_skipped()?;
    let mut measured: Vec<Authority> = Vec::new();
    let mut is_accepted = false;
    let mut forbidden = None;
    for signature in &program.signatures {
        if !judge.reads(signature) {
            continue;
        }
        let mut against = Judge::new(program, rules, Library::Shim);
        let denied = denied(&mut against, rules, signature, &lists)?;
        let is_denied = denied.is_some();
        let authority = if let Some((list, authority)) = denied {
            forbidden.get_or_insert_with(|| Problem::Forbidden {
                list,
                entry: authority.description.clone(),
            });
            Some(shorten(authority, shim.version))
        } else {
            match allowed(&mut judge, signature, db.for_shim())? {
                Some(authority) => Some(shorten(authority, shim.version)),
                None => vendor.authority(&mut judge, signature, shim.version)?,
            }
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

/// The entry that allows the program by its digest, which shim looks for before any signature; fails where a list that
/// denies has it.
fn by_digest(
    program: &Program,
    db: &Database,
    vendor: &Vendor<'_>,
    denying: Option<&[(&'static str, &Database)]>,
) -> Result<Option<Authority>, Problem> {
    let digest = |hash| {
        if program.has_certificate_table() {
            program.digest(hash)
        } else {
            program.digest_without_tail(hash)
        }
    };
    for (name, list) in denying.unwrap_or_default() {
        for hash in [Hash::Sha256, Hash::Sha1] {
            refuse_digest(name, list, hash, digest(hash))?;
        }
    }
    for hash in [Hash::Sha256, Hash::Sha1] {
        if let Some(authority) = in_list("db", db, hash, digest(hash))? {
            return Ok(Some(authority));
        }
    }
    match vendor {
        Vendor::Database(database) => {
            in_list("vendor_db", database, Hash::Sha256, digest(Hash::Sha256))
        }
        _ => Ok(None),
    }
}

/// The certificate of a deny list that verifies the signature.
fn denied(
    judge: &mut Judge<'_>,
    rules: Rules,
    signature: &Signature,
    lists: &[(&'static str, &Database)],
) -> Result<Option<(&'static str, Authority)>, Problem> {
    if !rules.obey_dbx {
        return Ok(None);
    }
    for (list, database) in lists {
        if let Some((entry, anchor)) = judge.first(signature, database.for_shim())? {
            let authority = from_database("dbx", entry, &anchor.subject().to_string());
            return Ok(Some((list, authority)));
        }
    }
    Ok(None)
}

/// The entry of db that verifies the signature.
fn allowed<'e>(
    judge: &mut Judge<'_>,
    signature: &Signature,
    entries: impl Iterator<Item = (&'e Entry, Result<&'e Certificate, &'e str>)>,
) -> Result<Option<Authority>, Problem> {
    let found = judge.first(signature, entries)?;
    Ok(found.map(|(entry, anchor)| from_database("db", entry, &anchor.subject().to_string())))
}

/// As this release measures it: with the entry's owner, or without.
fn shorten(authority: Authority, version: Version) -> Authority {
    if Release::of(version).measures_owners {
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
    ) -> Result<Option<Authority>, Problem> {
        Ok(match self {
            Self::Nothing => None,
            Self::Certificate(certificate) => {
                if !judge.accepts(signature, certificate)? {
                    return Ok(None);
                }
                Some(built_in(certificate, Release::of(version).vendor_event))
            }
            Self::Database(database) => {
                let found = if judge.follows_reference() {
                    judge.first(signature, database.first_of_each_list())?
                } else {
                    judge.first(signature, database.for_shim())?
                };
                found.map(|(entry, anchor)| {
                    let what = anchor.subject().to_string();
                    shorten(from_database("vendor_db", entry, &what), version)
                })
            }
        })
    }
}

/// What is measured for the certificate that is built into shim.
fn built_in(certificate: &Certificate, event: VendorEvent) -> Authority {
    let subject = certificate.subject();
    match event {
        VendorEvent::MokListRt => Authority {
            database: "MokListRT",
            guid: guid::SHIM_LOCK,
            data: [&guid::SHIM_LOCK.to_bytes_le()[..], certificate.as_der()].concat(),
            description: format!("MokListRT entry of shim, built in: {subject}"),
        },
        VendorEvent::Shim => Authority {
            database: "Shim",
            guid: guid::SHIM_LOCK,
            data: certificate.as_der().to_vec(),
            description: format!("certificate built into shim: {subject}"),
        },
    }
}

fn as_reference(
    program: &Program,
    version: Version,
    vendor: &Vendor<'_>,
    db: &Database,
    rules: Rules,
) -> Result<Vec<Authority>, Problem> {
    let mut judge = Judge::new(program, rules, Library::Shim);
    for signature in &program.signatures {
        if let Some(authority) = vendor.authority(&mut judge, signature, version)? {
            return Ok(vec![authority]);
        }
        if let Some(authority) = allowed(&mut judge, signature, db.first_of_each_list())? {
            return Ok(vec![shorten(authority, version)]);
        }
    }
    Err(judge.verdict("db and in shim's own certificates"))
}
