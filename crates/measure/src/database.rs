//! db, dbx or a list of shim's, as who lets programs boot reads it: which entries are certificates, and which are
//! digests of programs or of certificates.

use uuid::Uuid;

use super::error::{Problem, Warning};
use firmware::certificate::is_built_as_one;
use firmware::config::Database as Variable;
use firmware::signature_list::{
    self, Entry, SHA1, SHA256, SHA384, SHA512, SignatureList, X509, X509_SHA256, X509_SHA384,
    X509_SHA512,
};
use firmware::{Certificate, Hash};

/// How a certificate of 256 to 65535 bytes begins; shim takes no other for one.
const LONG_SEQUENCE: [u8; 2] = [0x30, 0x82];

/// What an entry of a list of certificates holds.
#[derive(Debug, Clone)]
enum Reading {
    /// A certificate, and so many bytes behind it.
    Certificate(Box<Certificate>, usize),
    /// What is built as a certificate and cannot be read here; firmware or shim may.
    Unread(String),
    /// Nothing that any reader takes for one.
    Nothing,
}

/// Why not everybody takes an entry for a certificate.
#[derive(Debug, Clone)]
enum Oddity {
    /// It is none.
    NoCertificate,
    /// It has bytes behind its certificate. Firmware takes it, and measures it whole; shim and the reference pass over it.
    BytesBehind,
    /// Shim reads it, and firmware does not.
    ForShimAlone,
    /// It cannot be read here, for this reason.
    Unread(String),
}

/// An entry's certificate, or why it cannot be read here.
type Candidate<'a> = (&'a Entry, Result<&'a Certificate, &'a str>);

/// A database, its certificates parsed.
#[derive(Debug, Clone, Default)]
pub(super) struct Database {
    /// The lists of certificates.
    certificates: Vec<Vec<(Entry, Reading)>>,
    /// Digests of programs.
    digests: Vec<(Hash, Entry)>,
    /// Digests of certificates' signed parts, each with the time of its revocation behind it.
    tbs_digests: Vec<(Hash, Entry)>,
    /// Entries that not everybody takes for a certificate, by their numbers, counted from 1.
    odd: Vec<(usize, Oddity)>,
}

impl Database {
    /// Reads the entries.
    pub fn new(lists: &[SignatureList]) -> Self {
        let mut database = Self::default();
        let mut number = 0_usize;
        for list in lists {
            let mut certificates = Vec::new();
            for entry in &list.entries {
                number = number.saturating_add(1);
                match list.kind {
                    X509 => {
                        let reading = Reading::of(&entry.data);
                        database.note(number, &reading);
                        certificates.push((entry.clone(), reading));
                    }
                    kind => {
                        let of_program = of_program(kind).map(|hash| (hash, entry.clone()));
                        database.digests.extend(of_program);
                        let of_tbs = of_tbs(kind).map(|hash| (hash, entry.clone()));
                        database.tbs_digests.extend(of_tbs);
                    }
                }
            }
            database.certificates.push(certificates);
        }
        database
    }

    fn note(&mut self, number: usize, reading: &Reading) {
        let oddity = match reading {
            Reading::Nothing => Oddity::NoCertificate,
            Reading::Unread(reason) => Oddity::Unread(reason.clone()),
            Reading::Certificate(certificate, _) if !certificate.is_read_by_firmware() => {
                Oddity::ForShimAlone
            }
            Reading::Certificate(_, 0) => return,
            Reading::Certificate(..) => Oddity::BytesBehind,
        };
        self.odd.push((number, oddity));
    }

    /// What is said of its entries; `database` is its name.
    pub fn warnings(&self, database: &'static str) -> impl Iterator<Item = Warning> {
        self.odd.iter().map(move |(entry, oddity)| {
            let entry = *entry;
            match oddity {
                Oddity::NoCertificate => Warning::NotACertificate { database, entry },
                Oddity::BytesBehind => Warning::BytesBehindCertificate { database, entry },
                Oddity::ForShimAlone => Warning::ForShimAlone { database, entry },
                Oddity::Unread(reason) => Warning::EntryUnread {
                    database,
                    entry,
                    reason: reason.clone(),
                },
            }
        })
    }

    /// Every certificate, as firmware reads it.
    pub fn every(&self) -> impl Iterator<Item = Candidate<'_>> {
        let all = self.certificates.iter().flatten();
        all.filter_map(|(entry, reading)| match reading {
            Reading::Certificate(certificate, _) => certificate
                .is_read_by_firmware()
                .then_some((entry, Ok(certificate.as_ref()))),
            Reading::Unread(reason) => Some((entry, Err(reason.as_str()))),
            Reading::Nothing => None,
        })
    }

    /// The first entry of each list, where it is exactly one certificate: what the reference looks at.
    pub fn first_of_each_list(&self) -> impl Iterator<Item = Candidate<'_>> {
        let first = self.certificates.iter().filter_map(|list| list.first());
        first.filter_map(|(entry, reading)| match reading {
            Reading::Certificate(certificate, 0) => Some((entry, Ok(certificate.as_ref()))),
            _ => None,
        })
    }

    /// The first entry of each list, as shim hands it to its library.
    pub fn for_shim(&self) -> impl Iterator<Item = Candidate<'_>> {
        let first = self.certificates.iter().filter_map(|list| list.first());
        first
            .filter(|(entry, _)| entry.data.starts_with(&LONG_SEQUENCE))
            .filter_map(|(entry, reading)| match reading {
                Reading::Certificate(certificate, 0) if !certificate.signs_modules() => {
                    Some((entry, Ok(certificate.as_ref())))
                }
                Reading::Unread(reason) => Some((entry, Err(reason.as_str()))),
                _ => None,
            })
    }

    /// The entry that is the program's digest by this hash function. Fails where `digest` was not read and one could be
    /// here.
    pub fn digest(&self, hash: Hash, digest: Option<&[u8]>) -> Result<Option<&Entry>, Problem> {
        let mut entries = self.digests.iter().filter(|(of, _)| *of == hash);
        match digest {
            Some(digest) => Ok(entries
                .find(|(_, entry)| entry.data == digest)
                .map(|(_, entry)| entry)),
            None if entries.next().is_none() => Ok(None),
            None => Err(Problem::DigestMissing),
        }
    }

    /// The digest of the certificate's signed part that is here, in hexadecimal. A time behind it spares what was
    /// signed before, where a certificate in dbt vouches for that; there is taken to be none.
    pub fn tbs_digest(&self, certificate: &Certificate) -> Option<String> {
        let of = |hash: Hash| (hash, hash.digest(certificate.tbs()));
        let digests = [Hash::Sha256, Hash::Sha384, Hash::Sha512].map(of);
        self.tbs_digests.iter().find_map(|(hash, entry)| {
            let (_, digest) = digests.iter().find(|(of, _)| of == hash)?;
            let is_it = entry.data.starts_with(digest.as_ref());
            is_it.then(|| hex::encode(digest.as_ref()))
        })
    }
}

impl Reading {
    fn of(bytes: &[u8]) -> Self {
        match Certificate::parse_first(bytes) {
            Ok((certificate, behind_bytes)) => {
                Self::Certificate(Box::new(certificate), behind_bytes)
            }
            Err(reason) if is_built_as_one(bytes) => Self::Unread(reason.to_string()),
            Err(_) => Self::Nothing,
        }
    }
}

/// The hash function of a list of programs' digests.
fn of_program(kind: Uuid) -> Option<Hash> {
    match kind {
        SHA1 => Some(Hash::Sha1),
        SHA256 => Some(Hash::Sha256),
        SHA384 => Some(Hash::Sha384),
        SHA512 => Some(Hash::Sha512),
        _ => None,
    }
}

/// The hash function of a list of digests of certificates' signed parts.
fn of_tbs(kind: Uuid) -> Option<Hash> {
    match kind {
        X509_SHA256 => Some(Hash::Sha256),
        X509_SHA384 => Some(Hash::Sha384),
        X509_SHA512 => Some(Hash::Sha512),
        _ => None,
    }
}

/// What is said of lists that nobody looks at: of another type, and of certificates' digests where that is not dbx.
pub(super) fn passed_over(database: Variable, lists: &[SignatureList]) -> Vec<Warning> {
    let is_dbx = database == Variable::Dbx;
    let counts =
        |kind| kind == X509 || of_program(kind).is_some() || (is_dbx && of_tbs(kind).is_some());
    let others = lists
        .iter()
        .filter(|list| !counts(list.kind) && !list.entries.is_empty());
    let others = others.map(|list| {
        let name = signature_list::type_name(list.kind);
        Warning::ListPassedOver {
            database: database.name(),
            offset_bytes: list.offset_bytes,
            kind: name.map_or_else(|| list.kind.to_string(), str::to_owned),
        }
    });
    others.collect()
}
