//! A signature, a table of them, or a certificate: what the first byte says.

use encrypt_cloud_image::efi::pkcs7::Flaw;
use encrypt_cloud_image::efi::{self, Certificate, Hash, Signature};

use super::{shown, told};

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
        1 => accepted(efi::signatures(bytes)).is_some_and(|signatures| {
            signatures.iter().for_each(judge);
            !signatures.is_empty()
        }),
        _ => accepted(Certificate::parse(bytes)).is_some_and(|certificate| {
            assert!(certificate.as_der() == bytes);
            tell(&certificate);
            true
        }),
    }
}

fn accepted<T>(read: efi::Result<T>) -> Option<T> {
    read.map_err(|error| told(&error)).ok()
}

fn tell(certificate: &Certificate) {
    shown(&certificate.subject());
    shown(&certificate.issuer());
    let _ = certificate.signs_modules();
    assert!(certificate.is_by_name(certificate));
    if certificate.is_issued_by(certificate) {
        assert!(certificate.is_issued_by_name(certificate));
    }
}

/// What holds for every signature, whoever made it.
fn judge(signature: &Signature) {
    let signer = signature.signer();
    tell(signer);
    assert!(signature.is_anchored(signer) && signature.is_anchored_by_name(signer));
    for anchor in ANCHORS {
        let anchor = Certificate::parse(anchor).unwrap();
        if signature.is_anchored(&anchor) {
            assert!(signature.is_anchored_by_name(&anchor));
        }
        let _ = signature.is_below_known(anchor.subject().as_der(), b"");
    }
    let _ = signature.any_in_verified_chain(&|one| Hash::Sha256.digest(one.tbs()).as_ref() == [7]);
    let _ = (signature.is_wrapped(), signature.names_pe_image_data());
    let own = *signature.image_digest();
    let flaw = signature.flaw(&own);
    let mut other = own;
    other[0] ^= 1;
    assert_eq!(signature.flaw(&other), Some(Flaw::Digest));
    assert_eq!(signature.flaw(&own), flaw);
}
