//! Extensions with every bit of them flipped, under a good signature: a chain holds here where it holds for OpenSSL.

use openssl::pkey::{PKey, Private};

use crate::certificates::{Scheme, Template, attribute, der, extension, name, string};
use crate::mutation::{ours, theirs};
use crate::scenario::{Keys, Random};

const OID: u8 = 0x06;

fn named(common_name: &str) -> Vec<u8> {
    name(&[vec![attribute(0x03, string::UTF8, common_name)]])
}

/// Object identifier and a sound value of each extension that decides whether a certificate may stand in a chain.
fn sound() -> Vec<(&'static str, &'static [u8], Vec<u8>)> {
    let other_name = der(
        0xa0,
        &[
            &der(OID, &[b"\x2b\x06\x01\x04\x01\x82\x37\x14\x02\x03"]),
            &der(0xa0, &[&der(string::UTF8, &[b"x@y"])]),
        ],
    );
    let names = [
        der(0xa4, &[&named("CA")]),
        other_name,
        der(0x81, &[b"a@b"]),
        der(0x82, &[b"c.d"]),
        der(0xa3, &[&der(0x30, &[])]),
        der(0x86, &[b"e:f"]),
        der(0x87, &[&[127, 0, 0, 1]]),
        der(0x88, &[&[0x2a, 3, 4]]),
    ]
    .concat();
    let authority = |parts: &[&[u8]]| der(0x30, parts);
    let bits = |bits: u8| der(0x03, &[&[0], &[bits]]);
    vec![
        (
            "key id of the authority",
            &[0x55, 0x1d, 0x23],
            authority(&[&der(0x80, &[b"key"])]),
        ),
        (
            "names of the authority",
            &[0x55, 0x1d, 0x23],
            authority(&[
                &der(0x80, &[b"key"]),
                &der(0xa1, &[&names]),
                &der(0x82, &[&[7]]),
            ]),
        ),
        ("key id", &[0x55, 0x1d, 0x0e], der(0x04, &[b"key"])),
        ("key usage", &[0x55, 0x1d, 0x0f], bits(0x86)),
        (
            "basic constraints",
            &[0x55, 0x1d, 0x13],
            der(0x30, &[&[1, 1, 0xff], &[2, 1, 2]]),
        ),
        (
            "extended key usage",
            &[0x55, 0x1d, 0x25],
            der(0x30, &[&der(OID, &[b"\x2b\x06\x01\x05\x05\x07\x03\x03"])]),
        ),
        (
            "Netscape type",
            b"\x60\x86\x48\x01\x86\xf8\x42\x01\x01",
            bits(0x07),
        ),
        (
            "revocation lists",
            &[0x55, 0x1d, 0x1f],
            der(
                0x30,
                &[
                    &der(0x30, &[&der(0xa0, &[&der(0xa0, &[&der(0x86, &[b"u:v"])])])]),
                    &der(
                        0x30,
                        &[
                            &der(0x81, &[&[1, 6]]),
                            &der(0xa2, &[&der(0xa4, &[&named("CA")])]),
                        ],
                    ),
                ],
            ),
        ),
        (
            "alternative names",
            &[0x55, 0x1d, 0x11],
            der(0x30, &[&names]),
        ),
    ]
}

/// A signer and the CA that issued it, of which one has the extension.
fn family(keys: &[&PKey<Private>; 2], is_of_ca: bool, id: &[u8], value: &[u8]) -> Vec<Vec<u8>> {
    let template = |subject: &str, serial: u8, key, extensions| Template {
        version: 2,
        serial,
        issuer: named("CA"),
        subject: named(subject),
        not_before: b"\x17\x0d200101000000Z",
        not_after: b"\x17\x0d490101000000Z",
        key,
        extensions,
        scheme: Scheme::Sha256,
        names_other_algorithm: false,
    };
    let own = extension::any(id, false, value);
    let mut of_ca = vec![own.clone()];
    for (kind, other) in [
        (&[0x55, 0x1d, 0x13][..], extension::basic(true, None, true)),
        (
            &[0x55, 0x1d, 0x0e],
            extension::subject_key_id(b"key", false),
        ),
    ] {
        if kind != id {
            of_ca.push(other);
        }
    }
    let [leaf, ca] = [
        template("leaf", 1, keys[1], vec![own]),
        template("CA", 7, keys[0], of_ca),
    ];
    let plain = |mut template: Template<'_>, extensions| {
        template.extensions = extensions;
        template.sign(keys[0])
    };
    if is_of_ca {
        vec![plain(leaf, Vec::new()), ca.sign(keys[0])]
    } else {
        let of_ca = vec![
            extension::basic(true, None, true),
            extension::subject_key_id(b"key", false),
        ];
        vec![leaf.sign(keys[0]), plain(ca, of_ca)]
    }
}

#[test]
fn an_extension_with_a_flipped_bit_counts_as_for_openssl() {
    let keys = Keys::new();
    let [ca, leaf] = keys.two_of_a_curve();
    let every = if std::env::var_os("ECI_TEST_ALL").is_some() {
        1
    } else {
        8
    };
    let mut random = Random::new(13);
    let (mut tried, mut held, mut wrong) = (0, 0, Vec::new());
    for (what, id, value) in sound() {
        for is_of_ca in [false, true] {
            let family_of = |value: &[u8]| family(&[ca, leaf], is_of_ca, id, value);
            assert_eq!(theirs(&family_of(&value)), Some(true), "{what} {is_of_ca}");
            assert_eq!(ours(&family_of(&value)), Some(true), "{what} {is_of_ca}");
            for bit in 0..value.len() * 8 {
                if random.below(every) > 0 {
                    continue;
                }
                let mut changed = value.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let family = family_of(&changed);
                tried += 1;
                match (theirs(&family), ours(&family)) {
                    (theirs, Some(ours)) if theirs == Some(ours) => {}
                    (_, None) => held += 1,
                    (theirs, ours) => wrong.push(format!(
                        "{what}, of the CA: {is_of_ca}, OpenSSL {theirs:?}, here {ours:?}: {}",
                        hex::encode(&changed)
                    )),
                }
            }
        }
    }
    println!("{tried} tried, {held} held here");
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
    assert!(held < tried * 2 / 3, "{held} of {tried}");
}

/// Which strings it may hold, libraries of several ages do not agree on: such a certificate is never guessed at.
#[test]
fn the_name_of_an_edi_party_is_no_guess() {
    let keys = Keys::new();
    let [ca, leaf] = keys.two_of_a_curve();
    let edi_party = der(
        0xa5,
        &[
            &der(0xa0, &[&der(string::PRINTABLE, &[b"who"])]),
            &der(0xa1, &[&der(string::UTF8, &["whom".as_bytes()])]),
        ],
    );
    let authority = der(
        0x30,
        &[
            &der(0x80, &[b"key"]),
            &der(0xa1, &[&edi_party]),
            &der(0x82, &[&[7]]),
        ],
    );
    for is_of_ca in [false, true] {
        let family = family(&[ca, leaf], is_of_ca, &[0x55, 0x1d, 0x23], &authority);
        assert!(theirs(&family).is_some());
        assert_eq!(ours(&family), None, "{is_of_ca}");
    }
}
