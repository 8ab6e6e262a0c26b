//! One bit of a certificate flipped: a chain holds here where it holds for OpenSSL, or a command fails.

use firmware::Certificate;
use firmware::certificate::is_built_as_one;
use firmware::chain::{Bag, Library, Refusal};
use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Builder, X509Extension, X509NameBuilder};

use crate::judge;
use crate::scenario::{Generator, Keys, Random};

/// A family in which the chain to the first entry of db holds, and its parts in one list: signer, anchor, bag.
fn sound_family(seed: u64, keys: &Keys) -> Option<Vec<Vec<u8>>> {
    let mut generator = Generator::new(seed, keys);
    generator.faults = 0;
    let scenario = generator.scenario();
    let anchor = scenario.db.first()?.clone();
    let family = [vec![scenario.signer, anchor], scenario.bag].concat();
    (ours(&family)? && theirs(&family)?).then_some(family)
}

/// `None` where one of them cannot be read, or nobody can tell: a command then fails rather than guess.
pub fn ours(family: &[Vec<u8>]) -> Option<bool> {
    let read: Option<Vec<_>> = family
        .iter()
        .map(|der| Certificate::parse(der).ok())
        .collect();
    let (signer, rest) = read.as_ref()?.split_first()?;
    let (anchor, certificates) = rest.split_first()?;
    let bag = Bag {
        signer,
        certificates,
    };
    let _ = bag.leads_to(anchor, Library::Shim);
    let _ = bag.leads_by_reference(anchor);
    match bag.leads_to(anchor, Library::Firmware) {
        Ok(()) => Some(true),
        Err(Refusal::Unknown { .. }) => None,
        Err(_) => Some(false),
    }
}

/// `None` where one of them cannot be read.
pub fn theirs(family: &[Vec<u8>]) -> Option<bool> {
    let read: Option<Vec<_>> = family.iter().map(|der| X509::from_der(der).ok()).collect();
    let (signer, rest) = read.as_ref()?.split_first()?;
    let (anchor, bag) = rest.split_first()?;
    Some(judge::refusal(signer, bag, anchor).is_none())
}

#[test]
fn a_chain_with_a_flipped_bit_holds_where_it_holds_for_openssl() {
    let keys = Keys::new();
    let families = if std::env::var_os("ECI_TEST_ALL").is_some() {
        3_000
    } else {
        60
    };
    let mut random = Random::new(7);
    let (mut tried, mut both, mut held, mut wrong) =
        (0, 0, Vec::<String>::new(), Vec::<String>::new());
    for seed in 2_000_000..2_000_000 + families {
        let Some(family) = sound_family(seed, &keys) else {
            continue;
        };
        for _ in 0..30 {
            let mut mutated = family.clone();
            let which = random.below(mutated.len());
            let (byte, bit) = (random.below(mutated[which].len()), random.below(8));
            mutated[which][byte] ^= 1 << bit;
            tried += 1;
            let place = || format!("seed {seed}, certificate {which}, byte {byte}, bit {bit}");
            match (theirs(&mutated), ours(&mutated)) {
                (Some(true), Some(true)) => both += 1,
                (Some(true), None) => held.push(place()),
                (theirs, Some(ours)) if theirs.unwrap_or(false) != ours => {
                    let der = hex::encode(&mutated[which]);
                    wrong.push(format!(
                        "{}: OpenSSL {theirs:?}, here {ours}: {der}",
                        place()
                    ));
                }
                _ => {}
            }
        }
    }
    println!(
        "{tried} tried, {both} held for both, held here: {}",
        held.join("\n")
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 500 && both > tried / 20, "{tried} {both}");
    assert!(held.len() < tried / 20, "{}", held.join("\n"));
}

/// What firmware's library reads is a certificate here, too, or at least held for what may be one; and what it does not
/// read is none.
#[test]
fn a_changed_certificate_is_read_as_openssl_reads_it() {
    let keys = Keys::new();
    let families = if std::env::var_os("ECI_TEST_ALL").is_some() {
        3_000
    } else {
        100
    };
    let mut random = Random::new(11);
    let (mut read_by_both, mut unread, mut wrong) = (0, 0, Vec::new());
    for seed in 3_000_000..3_000_000 + families {
        let mut generator = Generator::new(seed, &keys);
        generator.faults = 0;
        let der = generator.scenario().signer;
        for _ in 0..60 {
            let mut changed = der.clone();
            // Near the start lie version, serial number, algorithm, names and times; behind them keys and extensions.
            let end = if random.below(2) == 0 {
                200.min(der.len())
            } else {
                der.len()
            };
            changed[random.below(end)] = u8::try_from(random.below(256)).unwrap();
            let theirs = X509::from_der(&changed).is_ok();
            let ours = Certificate::parse_first(&changed);
            let read = ours
                .as_ref()
                .is_ok_and(|(one, _)| one.is_read_by_firmware());
            match (theirs, read) {
                (true, true) => read_by_both += 1,
                (true, false) if ours.is_err() && is_built_as_one(&changed) => unread += 1,
                (false, false) => {}
                _ => wrong.push(format!(
                    "OpenSSL {theirs} ({:?}), here {read} ({:?}): {}",
                    X509::from_der(&changed)
                        .err()
                        .map(|error| error.to_string()),
                    ours.err().map(|error| error.to_string()),
                    hex::encode(&changed)
                )),
            }
        }
    }
    println!("{read_by_both} read by both, {unread} by OpenSSL and held for one here");
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
    assert!(read_by_both > 1_000, "{read_by_both}");
}

/// A number of an extension that is not in its shortest form makes the certificate malformed to OpenSSL since 1.1.1.
#[test]
fn a_number_of_an_extension_counts_as_for_openssl() {
    // Basic constraints with a path length of 1, an authority's serial number of 1; the latter without an issuer.
    let extension = |oid: &str, content: &[u8]| {
        let oid = Asn1Object::from_str(oid).unwrap();
        let content = Asn1OctetString::new_from_bytes(content).unwrap();
        X509Extension::new_from_der(&oid, false, &content).unwrap()
    };
    let key = |_| PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let [ca_key, leaf_key] = [0, 1].map(key);
    let certificate = |name: &str, own: &PKey<Private>, extension: Option<X509Extension>| {
        let named = |name: &str| {
            let mut builder = X509NameBuilder::new().unwrap();
            builder.append_entry_by_text("CN", name).unwrap();
            builder.build()
        };
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_u32(1).unwrap();
        builder
            .set_serial_number(&Asn1Integer::from_bn(&serial).unwrap())
            .unwrap();
        builder.set_subject_name(&named(name)).unwrap();
        builder.set_issuer_name(&named("CA")).unwrap();
        builder.set_pubkey(own).unwrap();
        builder
            .set_not_before(&Asn1Time::from_unix(1_000_000_000).unwrap())
            .unwrap();
        builder
            .set_not_after(&Asn1Time::from_unix(2_000_000_000).unwrap())
            .unwrap();
        if let Some(extension) = extension {
            builder.append_extension(extension).unwrap();
        }
        builder.sign(&ca_key, MessageDigest::sha256()).unwrap();
        builder.build().to_der().unwrap()
    };
    let basic = |number: &[u8]| {
        let number = [&[0x02, u8::try_from(number.len()).unwrap()], number].concat();
        let content = [&[0x01, 0x01, 0xff][..], &number].concat();
        let content = [&[0x30, u8::try_from(content.len()).unwrap()], &content[..]].concat();
        extension("2.5.29.19", &content)
    };
    let authority = |number: &[u8]| {
        let number = [&[0x82, u8::try_from(number.len()).unwrap()], number].concat();
        let content = [&[0x30, u8::try_from(number.len()).unwrap()], &number[..]].concat();
        extension("2.5.29.35", &content)
    };
    for (number, holds) in [(&[1][..], true), (&[0, 1], false), (&[0, 0, 1], false)] {
        let ca = certificate("CA", &ca_key, Some(basic(&[1])));
        let leaf = certificate("leaf", &leaf_key, Some(authority(number)));
        let of_leaf = vec![leaf, ca];
        let ca = certificate("CA", &ca_key, Some(basic(number)));
        let of_ca = vec![certificate("leaf", &leaf_key, None), ca];
        for family in [of_leaf, of_ca] {
            assert_eq!(theirs(&family), Some(holds), "{number:x?}");
            assert_eq!(ours(&family), Some(holds), "{number:x?}");
        }
    }
}
