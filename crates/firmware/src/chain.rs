//! Chains of certificates: from who signed a program to an entry of a database.
//!
//! Firmware and shim each carry a copy of OpenSSL, hand it *one* entry of a database as the only *anchor*, the
//! certificates of the signature as the *bag*, and ask whether a chain leads from the signer to the anchor. The
//! anchor need not be self-signed; dates, revocation lists and policies are not looked at; any purpose will do. So
//! what OpenSSL's `X509_verify_cert` says decides which entry is measured, and its rules are these, built anew here
//! (RFC 5280 section 6.1 is what they come from, not what they are):
//!
//! * *Who may have issued whom*: the names are equal in their canonical form; where the subject has an authority key
//!   identifier, its key id must be the issuer's (if that has one), its serial number and name those of the issuer.
//! * *Building*: at each step the anchor is tried before (firmware) or behind (shim) the bag; of the bag the first
//!   fitting certificate is taken, and nothing is tried again when it does not hold later.
//! * *Holding*: issuers must be CAs, may sign certificates, have no more CAs below them than they allow; critical
//!   extensions must be known; each signature must verify, but for the anchor's own.
//!
//! The two copies are of different age ([`Library`]), and do differ.
//!
//! The reference's own rule, [`Bag::leads_by_reference`], compares names as bytes and verifies nothing.

mod firmware;
mod reference;
mod shim;

use super::certificate::{Certificate, Extensions, Verified};

/// Whose copy of OpenSSL builds the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// edk2's: OpenSSL 1.1.1 or 3. Rules where these two differ are those of 3.
    Firmware,
    /// shim's, all of 15 and 16: OpenSSL 1.0.2, without elliptic curves.
    Shim,
}

/// Why no chain leads from a signer to an anchor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Names and key identifiers lead elsewhere.
    #[error("nothing leads to it")]
    Unrelated,
    /// A signature of a certificate in the chain is not one by its issuer.
    #[error("the signature of {certificate} is not one by {issuer}")]
    Signature {
        /// Whose certificate.
        certificate: String,
        /// Who should have signed it.
        issuer: String,
    },
    /// A certificate must not stand where it stands.
    #[error("{certificate} {rule}")]
    Rule {
        /// Whose certificate.
        certificate: String,
        /// Which rule it breaks.
        rule: Rule,
    },
    /// Firmware or shim may take it, and nobody here can say.
    #[error("{certificate} {what}")]
    Unknown {
        /// Whose certificate.
        certificate: String,
        /// What it has that cannot be judged.
        what: &'static str,
    },
}

/// What a certificate in a chain must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// Its basic constraints say that it is none.
    #[error("is no CA (CA:FALSE), and stands as the issuer of another")]
    NotCa,
    /// It does not say that it is one.
    #[error("does not say that it is a CA, and stands as the issuer of another")]
    MaybeCa,
    /// Its key usage is there and lacks keyCertSign.
    #[error("must not sign certificates (its key usage lacks keyCertSign)")]
    KeyUsage,
    /// There are more CAs below it than it allows.
    #[error("allows fewer CAs below it (pathlen) than there are")]
    PathLength,
    /// It has a critical extension that the library does not know.
    #[error("has a critical extension that the verifier does not know")]
    Critical,
    /// It is a proxy certificate.
    #[error("is a proxy certificate")]
    Proxy,
    /// It has a key of an elliptic curve whose parameters are spelled out.
    #[error("spells out the parameters of its elliptic curve")]
    ExplicitCurve,
    /// Its key is none that the library reads.
    #[error("has a key that the verifier cannot read")]
    Key,
}

const UNKNOWN_ALGORITHM: &str = "is signed by an algorithm or a key that cannot be verified here";

/// A signer and the certificates that came with the signature, in their order.
#[derive(Debug, Clone, Copy)]
pub struct Bag<'a> {
    /// Who signed; it may be in the bag as well.
    pub signer: &'a Certificate,
    /// The certificates of the signature.
    pub certificates: &'a [Certificate],
}

/// A chain as it was built, from the signer on.
struct Built<'a> {
    chain: Vec<&'a Certificate>,
    /// How many from the start were not taken from the database.
    untrusted: usize,
}

impl<'a> Bag<'a> {
    /// Says why no chain leads from the signer to `anchor`, which is the only certificate that is trusted.
    pub fn leads_to(&self, anchor: &'a Certificate, library: Library) -> Result<(), Refusal> {
        match library {
            Library::Firmware => {
                let built = firmware::build(self, anchor)?.ok_or(Refusal::Unrelated)?;
                firmware::check(&built)?;
                signatures(&built.chain, library)?;
                names(&built.chain)
            }
            Library::Shim => {
                let built = shim::build(self, anchor).ok_or(Refusal::Unrelated)?;
                shim::check(&built)?;
                signatures(&built.chain, library)?;
                names(&built.chain)
            }
        }?;
        demand_key(self.signer, library)
    }

    /// The same where certificates are not looked at any closer: names and key identifiers decide.
    pub fn names_lead_to(&self, anchor: &'a Certificate, library: Library) -> bool {
        match library {
            Library::Firmware => firmware::build(self, anchor).is_ok_and(|built| built.is_some()),
            Library::Shim => shim::build(self, anchor).is_some(),
        }
    }
}

/// What the key identifiers say, where both have them: RFC 5280 section 4.2.1.1.
fn key_id_fits(issuer: &Certificate, subject: &Certificate) -> bool {
    let Some(authority) = subject.extensions().authority_key_id() else {
        return true;
    };
    let key_id = authority.key_id.as_deref();
    let has_other_key = key_id
        .zip(issuer.extensions().subject_key_id())
        .is_some_and(|(wanted, own)| wanted != own);
    let serial = authority.serial.as_deref();
    let has_other_serial = serial.is_some_and(|serial| serial != issuer.serial());
    let name = authority.issuer.as_ref();
    let has_other_issuer = name.is_some_and(|name| name != issuer.issuer_canonical());
    !(has_other_key || has_other_serial || has_other_issuer)
}

fn is_self_issued(certificate: &Certificate) -> bool {
    certificate.subject_canonical() == certificate.issuer_canonical()
}

/// How much a certificate is one of a CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Authority {
    /// It is not, for this reason.
    No(Rule),
    /// It does not say so, and old rules take it for one.
    Perhaps,
    Yes,
}

fn authority(certificate: &Certificate, is_self_signed: bool) -> Authority {
    let extensions = certificate.extensions();
    if !extensions.may_sign_certificates() {
        return Authority::No(Rule::KeyUsage);
    }
    match extensions.basic() {
        Some(basic) if basic.is_ca => Authority::Yes,
        Some(_) => Authority::No(Rule::NotCa),
        None if certificate.is_version_1() && is_self_signed
            || extensions.has_key_usage()
            || extensions.is_netscape_ca() =>
        {
            Authority::Perhaps
        }
        None => Authority::No(Rule::MaybeCa),
    }
}

fn broken(certificate: &Certificate, rule: Rule) -> Refusal {
    Refusal::Rule {
        certificate: certificate.subject().to_string(),
        rule,
    }
}

fn path_len(extensions: &Extensions) -> Option<u64> {
    extensions.basic().and_then(|basic| basic.path_len)
}

/// Each signature but the last one's, from the anchor down.
fn signatures(chain: &[&Certificate], library: Library) -> Result<(), Refusal> {
    let pairs = chain.iter().zip(chain.iter().skip(1));
    for (certificate, issuer) in pairs.rev() {
        if !issuer.extensions().may_sign_certificates() {
            return Err(broken(issuer, Rule::KeyUsage));
        }
        demand_key(issuer, library)?;
        match certificate.verified_by(issuer) {
            Verified::Yes => {}
            Verified::No => {
                return Err(Refusal::Signature {
                    certificate: certificate.subject().to_string(),
                    issuer: issuer.subject().to_string(),
                });
            }
            Verified::Unknown => {
                return Err(Refusal::Unknown {
                    certificate: certificate.subject().to_string(),
                    what: UNKNOWN_ALGORITHM,
                });
            }
        }
    }
    Ok(())
}

/// Fails where the library cannot use the certificate's key, or may not be able to.
fn demand_key(certificate: &Certificate, library: Library) -> Result<(), Refusal> {
    let is_of_a_kind = library == Library::Firmware || !certificate.key_type().is_elliptic();
    match certificate.has_readable_key() {
        Some(true) if is_of_a_kind => Ok(()),
        None if is_of_a_kind => Err(Refusal::Unknown {
            certificate: certificate.subject().to_string(),
            what: UNKNOWN_ALGORITHM,
        }),
        _ => Err(broken(certificate, Rule::Key)),
    }
}

/// Constraints on names are not applied here.
fn names(chain: &[&Certificate]) -> Result<(), Refusal> {
    let mut issuers = chain.iter().skip(1);
    match issuers.find(|issuer| issuer.extensions().constrains_names()) {
        None => Ok(()),
        Some(issuer) => Err(Refusal::Unknown {
            certificate: issuer.subject().to_string(),
            what: "constrains the names of those below it, which is not judged here",
        }),
    }
}

#[cfg(test)]
mod tests;
