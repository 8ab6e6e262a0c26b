//! A signature, a table of them, or a certificate: what the first byte says.

use firmware::chain::{Bag, Library};
use firmware::pkcs7::Flaw;
use firmware::{self, Certificate, Signature};

use super::{shown, told};

const LIBRARIES: [Library; 2] = [Library::Firmware, Library::Shim];

/// Certificates that signatures of real programs lead to.
const ANCHORS: [&[u8]; 3] = [
    include_bytes!("../../tests/data/certificates/debian-secure-boot-ca.der"),
    include_bytes!("../../tests/data/certificates/microsoft-uefi-ca-2011.der"),
    include_bytes!("../../tests/data/certificates/microsoft-uefi-ca-2023.der"),
];

pub fn run(input: &[u8]) -> bool {
    let Some((kind, bytes)) = input.split_first() else {
        return false;
    };
    match kind % 3 {
        0 => accepted(Signature::parse(bytes)).is_some_and(|signature| {
            judge(&signature);
            true
        }),
        1 => accepted(firmware::signatures(bytes)).is_some_and(|signatures| {
            signatures.read.iter().for_each(judge);
            for skipped in &signatures.skipped {
                assert!(!skipped.reason.is_empty());
            }
            !signatures.read.is_empty()
        }),
        _ => accepted(Certificate::parse(bytes)).is_some_and(|certificate| {
            assert!(certificate.as_der() == bytes);
            tell(&certificate);
            true
        }),
    }
}

fn accepted<T>(read: firmware::Result<T>) -> Option<T> {
    read.map_err(|error| told(&error)).ok()
}

fn tell(certificate: &Certificate) {
    shown(&certificate.subject());
    shown(&certificate.issuer());
    let _ = certificate.signs_modules();
    let alone = Bag {
        signer: certificate,
        certificates: &[],
    };
    assert!(alone.leads_by_reference(certificate));
    for library in LIBRARIES {
        led(&alone, certificate, library);
    }
}

/// A chain that holds is one that names lead along.
fn led(bag: &Bag<'_>, anchor: &Certificate, library: Library) {
    match bag.leads_to(anchor, library) {
        Ok(()) => assert!(bag.names_lead_to(anchor, library)),
        Err(refusal) => told(&refusal),
    }
}

/// What holds for every signature, whoever made it.
fn judge(signature: &Signature) {
    let signer = signature.signer();
    tell(signer);
    let bag = signature.bag();
    assert!(bag.leads_by_reference(signer));
    let anchors = ANCHORS.map(|anchor| Certificate::parse(anchor).unwrap());
    for anchor in anchors.iter().chain(bag.certificates) {
        for library in LIBRARIES {
            led(&bag, anchor, library);
        }
        let _ = bag.leads_by_reference(anchor);
        let _ = bag.leads_to_known(anchor.subject().as_der(), b"");
    }
    let _ = (signature.is_wrapped(), signature.names_pe_image_data());
    let own = signature.image_digest().to_vec();
    let flaw = signature.flaw(&own);
    let mut other = own.clone();
    other[0] ^= 1;
    assert_eq!(signature.flaw(&other), Some(Flaw::Digest));
    assert_eq!(signature.flaw(&own), flaw);
}
