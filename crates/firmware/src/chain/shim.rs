//! The rules of OpenSSL 1.0.2, which every shim of 15 and 16 carries.
//!
//! Where they differ from firmware's: the bag is tried before the anchor, and what was built is shortened until the
//! anchor fits; the key usage tells already who may have issued whom, the kind of key does not; an extension that
//! cannot be read counts as absent; an issuer that does not say it is a CA passes for one by old marks anywhere in
//! the chain; and **nothing is asked of the anchor** (but that it is no proxy certificate of another), which may be no CA at all.

use super::{
    Authority, Bag, Built, Refusal, Rule, authority, broken, is_self_issued, key_id_fits, path_len,
};
use crate::certificate::Certificate;

/// Builds the chain to `anchor`: as far through the bag as it goes, then back until the anchor fits. `None` where it
/// does not get there.
pub(super) fn build<'a>(bag: &Bag<'a>, anchor: &'a Certificate) -> Option<Built<'a>> {
    let mut chain = through_bag(bag);
    if let [signer] = chain.as_slice()
        && is_self_signed(signer)
    {
        return (*signer == anchor).then_some(Built {
            chain,
            untrusted: 0,
        });
    }
    if chain.last().is_some_and(|last| is_self_signed(last)) {
        chain.pop(); // its copy in the database counts, if there is one
    }
    let mut untrusted = chain.len();
    loop {
        let current = *chain.last()?;
        if !is_self_signed(current) && may_have_issued(anchor, current) {
            chain.push(anchor);
            return Some(Built { chain, untrusted });
        }
        if bag.signer == anchor {
            return Some(Built {
                chain,
                untrusted: 0,
            });
        }
        if untrusted <= 1 {
            return None;
        }
        untrusted = untrusted.saturating_sub(1);
        chain.truncate(untrusted);
    }
}

fn through_bag<'a>(bag: &Bag<'a>) -> Vec<&'a Certificate> {
    let mut chain = vec![bag.signer];
    let mut current = bag.signer;
    let mut rest: Vec<&Certificate> = bag.certificates.iter().collect();
    while !is_self_signed(current) {
        let place = rest
            .iter()
            .position(|candidate| may_have_issued(candidate, current));
        let Some(place) = place else {
            break;
        };
        current = rest.remove(place);
        chain.push(current);
    }
    chain
}

/// By names, key identifiers and key usage.
fn may_have_issued(issuer: &Certificate, subject: &Certificate) -> bool {
    issuer.subject_canonical() == subject.issuer_canonical()
        && key_id_fits(issuer, subject)
        && issuer.extensions().may_sign_certificates()
}

fn is_self_signed(certificate: &Certificate) -> bool {
    is_self_issued(certificate) && may_have_issued(certificate, certificate)
}

/// What each certificate must be at its place; of the database's hardly anything is asked.
pub(super) fn check(built: &Built<'_>) -> Result<(), Refusal> {
    // A proxy certificate of the database could pass, if its name were its issuer's and one more.
    for (depth, certificate) in built.chain.iter().enumerate() {
        let is_passed_over = depth > 0 && depth >= built.untrusted && is_self_issued(certificate);
        if certificate.extensions().is_proxy() && !is_passed_over {
            return Err(broken(certificate, Rule::Proxy));
        }
    }
    let mut below = 0_u64;
    for (depth, certificate) in built.chain.iter().take(built.untrusted).enumerate() {
        let extensions = certificate.extensions();
        if extensions.has_unknown_critical() || extensions.has_later_critical() {
            return Err(broken(certificate, Rule::Critical));
        }
        if depth > 0
            && let Authority::No(rule) = authority(certificate, is_self_signed(certificate))
        {
            return Err(broken(certificate, rule));
        }
        let is_counted = !is_self_issued(certificate);
        // The signer is counted as well, so the limit is one more.
        let is_over = |allowed: u64| below > allowed.saturating_add(1);
        if depth > 1 && is_counted && path_len(extensions).is_some_and(is_over) {
            return Err(broken(certificate, Rule::PathLength));
        }
        if is_counted {
            below = below.saturating_add(1);
        }
    }
    Ok(())
}
