//! The rules of OpenSSL 3, which edk2 carries, and but for rare cases those of its 1.1.1.

use super::{
    Authority, Bag, Built, Refusal, Rule, UNKNOWN_ALGORITHM, authority, broken, is_self_issued,
    key_id_fits, path_len,
};
use crate::certificate::{Certificate, KeyType};

/// Builds the chain to `anchor`: at each step the anchor first, then the first certificate of the bag that fits.
/// `None` where it does not get there.
pub(super) fn build<'a>(
    bag: &Bag<'a>,
    anchor: &'a Certificate,
) -> Result<Option<Built<'a>>, Refusal> {
    let mut chain = vec![bag.signer];
    let mut current = bag.signer;
    let mut rest: Vec<&Certificate> = bag.certificates.iter().collect();
    loop {
        let is_last = is_self_signed(current)?;
        if may_have_issued(anchor, current)? {
            let untrusted = chain.len();
            if !is_last {
                chain.push(anchor);
                return Ok(Some(Built { chain, untrusted }));
            }
            if current == anchor {
                let untrusted = untrusted.saturating_sub(1);
                return Ok(Some(Built { chain, untrusted }));
            }
        }
        let next = if is_last {
            None
        } else {
            take_issuer(&mut rest, &chain, current)?
        };
        let Some(next) = next else {
            break;
        };
        chain.push(next);
        current = next;
    }
    // The signer itself may be trusted; what was built above it stays.
    let is_trusted = bag.signer == anchor;
    Ok(is_trusted.then_some(Built {
        chain,
        untrusted: 0,
    }))
}

fn take_issuer<'a>(
    rest: &mut Vec<&'a Certificate>,
    chain: &[&'a Certificate],
    current: &Certificate,
) -> Result<Option<&'a Certificate>, Refusal> {
    let may_repeat = chain.len() == 1 && is_self_issued(current);
    let mut place = None;
    for (index, candidate) in rest.iter().enumerate() {
        if may_have_issued(candidate, current)? && (may_repeat || !chain.contains(candidate)) {
            place = Some(index);
            break;
        }
    }
    Ok(place.map(|index| rest.remove(index)))
}

/// By names, key identifiers and the kind of key; both must be readable.
fn may_have_issued(issuer: &Certificate, subject: &Certificate) -> Result<bool, Refusal> {
    if issuer.subject_canonical() != subject.issuer_canonical()
        || issuer.extensions().malformed().is_some()
        || subject.extensions().malformed().is_some()
        || !key_id_fits(issuer, subject)
    {
        return Ok(false);
    }
    let fits = match issuer.has_readable_key() {
        Some(true) => issuer.key_type().fits(subject.algorithm()),
        unreadable => unreadable,
    };
    fits.ok_or_else(|| Refusal::Unknown {
        certificate: subject.subject().to_string(),
        what: UNKNOWN_ALGORITHM,
    })
}

fn is_self_signed(certificate: &Certificate) -> Result<bool, Refusal> {
    Ok(is_self_issued(certificate) && may_have_issued(certificate, certificate)?)
}

/// What each certificate must be at its place, those of the database included.
pub(super) fn check(built: &Built<'_>) -> Result<(), Refusal> {
    let count = built.chain.len();
    let mut cas_below = 0_u64;
    for (depth, certificate) in built.chain.iter().enumerate() {
        let extensions = certificate.extensions();
        if extensions.has_unknown_critical() {
            return Err(broken(certificate, Rule::Critical));
        }
        if extensions.is_proxy() {
            return Err(broken(certificate, Rule::Proxy));
        }
        if depth > 0 {
            let is_anchor = depth.saturating_add(1) == count;
            match authority(certificate, is_self_signed(certificate)?) {
                Authority::Yes => {}
                Authority::Perhaps if is_anchor => {}
                Authority::Perhaps => return Err(broken(certificate, Rule::MaybeCa)),
                Authority::No(rule) => return Err(broken(certificate, rule)),
            }
        }
        if count > 1 && certificate.key_type() == KeyType::ExplicitCurve {
            return Err(broken(certificate, Rule::ExplicitCurve));
        }
        if depth > 1 && path_len(extensions).is_some_and(|allowed| cas_below > allowed) {
            return Err(broken(certificate, Rule::PathLength));
        }
        if depth > 0 && !is_self_issued(certificate) {
            cas_below = cas_below.saturating_add(1);
        }
    }
    Ok(())
}
