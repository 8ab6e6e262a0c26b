//! One bit of a certificate flipped: no chain holds here that does not hold for OpenSSL.

use encrypt_cloud_image::efi::Certificate;
use encrypt_cloud_image::efi::certificate::is_built_as_one;
use encrypt_cloud_image::efi::chain::{Bag, Library};
use openssl::x509::X509;

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

/// `None` where one of them cannot be read.
fn ours(family: &[Vec<u8>]) -> Option<bool> {
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
    Some(bag.leads_to(anchor, Library::Firmware).is_ok())
}

fn theirs(family: &[Vec<u8>]) -> Option<bool> {
    let read: Option<Vec<_>> = family.iter().map(|der| X509::from_der(der).ok()).collect();
    let (signer, rest) = read.as_ref()?.split_first()?;
    let (anchor, bag) = rest.split_first()?;
    Some(judge::refusal(signer, bag, anchor).is_none())
}

#[test]
fn a_chain_with_a_flipped_bit_holds_only_where_it_holds_for_openssl() {
    let keys = Keys::new();
    let families = if std::env::var_os("ECI_TEST_ALL").is_some() {
        3_000
    } else {
        60
    };
    let mut random = Random::new(7);
    let (mut tried, mut both, mut stricter, mut wrong) =
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
                (Some(true), other) => stricter.push(format!("{}: {other:?}", place())),
                (refused, Some(true)) => {
                    let der = hex::encode(&mutated[which]);
                    wrong.push(format!("{}: OpenSSL {refused:?} {der}", place()));
                }
                _ => {}
            }
        }
    }
    println!(
        "{tried} tried, {both} held for both, stricter here: {}",
        stricter.join("\n")
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 500 && both > tried / 20, "{tried} {both}");
    assert!(stricter.len() < tried / 50, "{}", stricter.join("\n"));
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
