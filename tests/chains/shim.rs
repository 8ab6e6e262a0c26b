//! What shim's own OpenSSL said of chains. `tests/data/chains/shim-16.1.bin.gz` was recorded with the OpenSSL 1.0.2k in
//! shim 16.1's source, built for Linux and asked as its `Pkcs7Verify` asks it. For each case: 1 where the chain holds,
//! the number of certificates in the bag, then signer, anchor and bag, each behind its length (32 bits, little-endian).

use std::io::Read as _;

use firmware::Certificate;
use firmware::chain::{Bag, Library};

use crate::support;

/// One recorded case: whether the chain holds; the signer, the anchor, and the bag.
struct Case(bool, Vec<Certificate>);

fn cases() -> Vec<Case> {
    let file = std::fs::File::open(support::data("chains/shim-16.1.bin.gz")).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file)
        .read_to_end(&mut bytes)
        .unwrap();
    let mut rest = bytes.as_slice();
    let mut cases = Vec::new();
    while let [holds, count, behind @ ..] = rest {
        rest = behind;
        let certificates = (0..usize::from(*count) + 2).map(|_| {
            let (len, behind) = rest.split_first_chunk().unwrap();
            let len = usize::try_from(u32::from_le_bytes(*len)).unwrap();
            let (der, behind) = behind.split_at(len);
            rest = behind;
            Certificate::parse(der).unwrap()
        });
        cases.push(Case(*holds == 1, certificates.collect()));
    }
    cases
}

#[test]
fn shims_openssl_and_ours_agree_also_where_firmwares_does_not() {
    let (mut taken_by_shim_alone, mut taken_by_firmware_alone) = (0, 0);
    let cases = cases();
    assert_eq!(cases.len(), 83);
    for (number, Case(holds, certificates)) in cases.iter().enumerate() {
        let [signer, anchor, certificates @ ..] = certificates.as_slice() else {
            panic!("case {number} has no anchor");
        };
        let bag = Bag {
            signer,
            certificates,
        };
        let verdict = bag.leads_to(anchor, Library::Shim);
        assert_eq!(verdict.is_ok(), *holds, "case {number}: {verdict:?}");
        let firmware = bag.leads_to(anchor, Library::Firmware).is_ok();
        taken_by_shim_alone += usize::from(*holds && !firmware);
        taken_by_firmware_alone += usize::from(firmware && !*holds);
    }
    assert!(taken_by_shim_alone >= 15, "{taken_by_shim_alone}");
    assert!(taken_by_firmware_alone >= 15, "{taken_by_firmware_alone}");
}
