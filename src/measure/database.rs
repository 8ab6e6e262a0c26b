//! db, dbx or a list of shim's, as who lets programs boot reads it: which entries are certificates, and which are
//! digests of programs or of certificates.

use uuid::Uuid;

use super::error::Problem;
use crate::efi::signature_list::{
    Entry, SHA1, SHA256, SHA384, SHA512, SignatureList, X509, X509_SHA256, X509_SHA384, X509_SHA512,
};
use crate::efi::{Certificate, Hash};

/// How a certificate of 256 to 65535 bytes begins; shim takes no other for one.
const LONG_SEQUENCE: [u8; 2] = [0x30, 0x82];

/// An entry, with its certificate and the number of bytes behind that; `None` where it is none.
type Read = (Entry, Option<(Certificate, usize)>);

/// A database, its certificates parsed.
#[derive(Debug, Clone, Default)]
pub(super) struct Database {
    /// The lists of certificates.
    certificates: Vec<Vec<Read>>,
    /// Digests of programs.
    digests: Vec<(Hash, Entry)>,
    /// Digests of certificates' signed parts, each with the time of its revocation behind it.
    tbs_digests: Vec<(Hash, Entry)>,
    /// The number of each entry that is no certificate, counted from 1.
    pub skipped: Vec<usize>,
    /// The same of each with bytes behind its certificate. Firmware takes it, and measures it whole; shim and the
    /// reference pass over it.
    pub padded: Vec<usize>,
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
                        let read = Certificate::parse_first(&entry.data).ok();
                        match &read {
                            None => database.skipped.push(number),
                            Some((_, 0)) => {}
                            Some(_) => database.padded.push(number),
                        }
                        certificates.push((entry.clone(), read));
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

    /// Every certificate, as firmware reads it.
    pub fn every(&self) -> impl Iterator<Item = (&Entry, &Certificate)> {
        let all = self.certificates.iter().flatten();
        all.filter_map(|(entry, read)| Some((entry, &read.as_ref()?.0)))
    }

    /// The first entry of each list, where it is exactly one certificate: what shim and the reference look at.
    pub fn first_of_each_list(&self) -> impl Iterator<Item = (&Entry, &Certificate)> {
        let first = self.certificates.iter().filter_map(|list| list.first());
        first.filter_map(|(entry, read)| match read {
            Some((certificate, 0)) => Some((entry, certificate)),
            _ => None,
        })
    }

    /// Of these the ones that shim hands to its library.
    pub fn for_shim(&self) -> impl Iterator<Item = (&Entry, &Certificate)> {
        self.first_of_each_list()
            .filter(|(_, certificate)| !certificate.signs_modules())
            .filter(|(entry, _)| entry.data.starts_with(&LONG_SEQUENCE))
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

/// Offset and type of each list that nobody looks at: of another type, and of certificates' digests where that is not dbx.
pub(super) fn passed_over(lists: &[SignatureList], is_dbx: bool) -> Vec<(usize, Uuid)> {
    let counts =
        |kind| kind == X509 || of_program(kind).is_some() || (is_dbx && of_tbs(kind).is_some());
    let others = lists
        .iter()
        .filter(|list| !counts(list.kind) && !list.entries.is_empty());
    others.map(|list| (list.offset_bytes, list.kind)).collect()
}
