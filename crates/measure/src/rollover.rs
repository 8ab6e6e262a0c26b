//! Microsoft's UEFI CAs of 2011 and of 2023: a shim is signed under one of them or both, and a guest's db holds one
//! of them or both. Where the one that is there is not the one that is needed, the message says so, since
//! nothing else about image and guest looks wrong.

use super::database::Database;
use super::error::Problem;
use super::identity::KNOWN_AUTHORITIES;
use firmware::Program;
use firmware::authority::{Microsoft, microsoft};

/// The years of the CAs, in the order of [`KNOWN_AUTHORITIES`].
const YEARS: [(u16, Microsoft); 2] = [(2011, Microsoft::UefiCa2011), (2023, Microsoft::UefiCa2023)];

/// The problem of a program that is signed under one CA alone, where db holds the other alone.
pub(super) fn problem(program: &Program, db: &Database) -> Option<Problem> {
    let signed = KNOWN_AUTHORITIES.map(|(subject, key)| {
        let mut signatures = program.signatures.iter();
        signatures.any(|signature| signature.bag().leads_to_known(subject, key))
    });
    let held = YEARS.map(|(_, ca)| {
        let mut certificates = db.every();
        certificates.any(|(_, certificate)| {
            certificate.is_ok_and(|certificate| microsoft(certificate.as_der()) == Some(ca))
        })
    });
    let [(old, _), (new, _)] = YEARS;
    match (signed, held) {
        ([true, false], [false, true]) => Some(Problem::Rollover {
            signed: old,
            held: new,
        }),
        ([false, true], [true, false]) => Some(Problem::Rollover {
            signed: new,
            held: old,
        }),
        _ => None,
    }
}
