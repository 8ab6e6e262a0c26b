//! db, dbx or a list of shim's, as who lets programs boot reads it: which entries are certificates, and which are
//! digests of programs or of certificates.

use crate::efi::signature_list::{
    Entry, SHA256, SignatureList, X509, X509_SHA256, X509_SHA384, X509_SHA512,
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
    digests: Vec<Entry>,
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
                    SHA256 => database.digests.push(entry.clone()),
                    X509_SHA256 => database.tbs_digests.push((Hash::Sha256, entry.clone())),
                    X509_SHA384 => database.tbs_digests.push((Hash::Sha384, entry.clone())),
                    X509_SHA512 => database.tbs_digests.push((Hash::Sha512, entry.clone())),
                    _ => {}
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

    /// The entry that is this digest.
    pub fn digest(&self, digest: &[u8]) -> Option<&Entry> {
        self.digests.iter().find(|entry| entry.data == digest)
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
