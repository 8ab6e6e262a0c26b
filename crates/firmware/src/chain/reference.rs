//! The reference's rule: names as bytes, key identifiers equal or both absent, and no signature verified.
//!
//! It decides where the reference is to be followed, and which table of rules a program belongs to.

use super::Bag;
use crate::certificate::{Certificate, KeyType};

impl Bag<'_> {
    /// True where the signer is `anchor`, or was issued below it.
    pub fn leads_by_reference(&self, anchor: &Certificate) -> bool {
        let chain = self.walk();
        let mut chain = chain.iter();
        chain.any(|one| has_issued(anchor, one) || is_same(one, anchor))
    }

    /// True where some certificate of the signer's chain was issued by an authority with an RSA key, of which only
    /// these are known.
    pub fn leads_to_known(&self, subject: &[u8], subject_key_id: &[u8]) -> bool {
        let chain = self.walk();
        let mut chain = chain.iter();
        chain.any(|one| {
            one.issuer().as_der() == subject
                && authority_key_id(one) == subject_key_id
                && KeyType::Rsa.fits_by_reference(one.algorithm())
        })
    }

    /// The certificates that a walk from the signer along issuers meets. Each is met once; one that issued itself is
    /// not walked further.
    fn walk(&self) -> Vec<&Certificate> {
        let mut found = vec![self.signer];
        let mut next = 0;
        while let Some(current) = found.get(next).copied() {
            next = next.saturating_add(1);
            if has_issued(current, current) {
                continue;
            }
            for issuer in self.certificates {
                if !found.contains(&issuer) && has_issued(issuer, current) {
                    found.push(issuer);
                }
            }
        }
        found
    }
}

fn has_issued(issuer: &Certificate, subject: &Certificate) -> bool {
    subject.issuer() == issuer.subject()
        && authority_key_id(subject) == subject_key_id(issuer)
        && issuer.key_type().fits_by_reference(subject.algorithm())
}

/// The same certificate, as far as names, key identifiers, key type and signature algorithm tell; the keys themselves
/// may differ.
fn is_same(one: &Certificate, other: &Certificate) -> bool {
    one.subject() == other.subject()
        && one.issuer() == other.issuer()
        && subject_key_id(one) == subject_key_id(other)
        && authority_key_id(one) == authority_key_id(other)
        && one.key_type() == other.key_type()
        && one.algorithm() == other.algorithm()
}

fn subject_key_id(certificate: &Certificate) -> &[u8] {
    certificate
        .extensions()
        .subject_key_id()
        .unwrap_or_default()
}

fn authority_key_id(certificate: &Certificate) -> &[u8] {
    let authority = certificate.extensions().authority_key_id();
    authority
        .and_then(|authority| authority.key_id.as_deref())
        .unwrap_or_default()
}
