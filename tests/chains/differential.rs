//! For each certificate of a database, in its order: does a chain lead to it? OpenSSL and this library say the same,
//! so the first one is the same, too.

use std::time::Instant;

use firmware::Certificate;
use firmware::chain::{Bag, Library, Refusal};
use openssl::x509::X509;

use crate::judge;
use crate::scenario::{Generator, Keys, Scenario};
use crate::support;

/// A family of certificates as both have read it; `None` where one cannot be read.
struct Family {
    theirs: (X509, Vec<X509>, Vec<X509>),
    ours: (Certificate, Vec<Certificate>, Vec<Certificate>),
}

/// Both read each certificate, or neither does.
fn read(scenario: &Scenario) -> Option<Family> {
    let both = |der: &Vec<u8>| {
        let theirs = X509::from_der(der).ok();
        let ours = Certificate::parse(der).ok();
        assert_eq!(theirs.is_some(), ours.is_some(), "{}", hex::encode(der));
        theirs.zip(ours)
    };
    let all = |list: &[Vec<u8>]| -> Option<(Vec<X509>, Vec<Certificate>)> {
        list.iter().map(both).collect()
    };
    let signer = both(&scenario.signer)?;
    let (bag, db) = (all(&scenario.bag)?, all(&scenario.db)?);
    Some(Family {
        theirs: (signer.0, bag.0, db.0),
        ours: (signer.1, bag.1, db.1),
    })
}

/// How often what was seen.
#[derive(Debug, Default)]
struct Tally {
    chains: usize,
    held: usize,
    related: usize,
    unknown: usize,
    not_first: usize,
}

/// Judges a database, entry by entry; what differs, in words.
fn compare(seed: u64, family: &Family, tally: &mut Tally, wrong: &mut Vec<String>) {
    let (their_signer, their_bag, their_db) = &family.theirs;
    let (signer, certificates, db) = &family.ours;
    let bag = Bag {
        signer,
        certificates,
    };
    let mut first = None;
    for (place, (theirs, ours)) in their_db.iter().zip(db).enumerate() {
        tally.chains += 1;
        let refusal = judge::refusal(their_signer, their_bag, theirs);
        let verdict = bag.leads_to(ours, Library::Firmware);
        match (&refusal, &verdict) {
            (_, Err(Refusal::Unknown { .. })) => tally.unknown += 1,
            (None, Ok(())) => {
                tally.held += 1;
                first = first.or(Some(place));
            }
            (Some(_), Err(Refusal::Unrelated)) => {}
            (Some(_), Err(_)) => tally.related += 1,
            _ => wrong.push(format!(
                "seed {seed}, entry {place}: OpenSSL {refusal:?}, ours {verdict:?}"
            )),
        }
    }
    tally.not_first += usize::from(first.is_some_and(|first| first > 0));
}

#[test]
fn firmwares_openssl_and_ours_agree_on_every_entry_of_thousands_of_databases() {
    let keys = Keys::new();
    let families = if std::env::var_os("ECI_TEST_ALL").is_some() {
        60_000
    } else {
        1_200
    };
    let (mut tally, mut wrong) = (Tally::default(), Vec::new());
    let start = Instant::now();
    for seed in 0..families {
        let scenario = Generator::new(seed, &keys).scenario();
        if let Some(family) = read(&scenario) {
            let before = wrong.len();
            compare(seed, &family, &mut tally, &mut wrong);
            if wrong.len() > before {
                wrong.push(format!("kept in {}", scenario.keep(seed).display()));
            }
        }
    }
    println!("{tally:?} in {:.1} s", start.elapsed().as_secs_f64());
    assert!(
        wrong.is_empty(),
        "{} of {tally:?}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // The families are worth something only where all of this happens often.
    let enough = usize::try_from(families).unwrap();
    assert!(tally.chains > 2 * enough, "{tally:?}");
    assert!(
        tally.held > enough / 2 && tally.related > enough / 4,
        "{tally:?}"
    );
    assert!(tally.not_first > enough / 10, "{tally:?}");
    assert!(tally.unknown < enough / 20, "{tally:?}");
}

#[test]
fn the_program_openssl_agrees() {
    if !support::programs(&["openssl"]) {
        return;
    }
    let keys = Keys::new();
    let families = if std::env::var_os("ECI_TEST_ALL").is_some() {
        2_000
    } else {
        25
    };
    let folder = support::scratch();
    let mut asked = 0;
    for seed in 1_000_000..1_000_000 + families {
        let scenario = Generator::new(seed, &keys).scenario();
        let Some(Family { theirs, ours }) = read(&scenario) else {
            continue;
        };
        let bag = Bag {
            signer: &ours.0,
            certificates: &ours.1,
        };
        for (place, (anchor, own)) in theirs.2.iter().zip(&ours.2).enumerate() {
            let verdict = bag.leads_to(own, Library::Firmware);
            if matches!(verdict, Err(Refusal::Unknown { .. })) {
                continue;
            }
            asked += 1;
            let takes = judge::program_takes(&theirs.0, &theirs.1, anchor, folder.path());
            assert_eq!(
                takes,
                verdict.is_ok(),
                "seed {seed}, entry {place}: {verdict:?}"
            );
        }
    }
    assert!(asked > families, "{asked}");
}
