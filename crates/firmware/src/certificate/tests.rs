//! Certificates made by hand, whose signature nobody made, with one thing changed at a time.

use super::name::ORGANISATION;
use super::*;

/// Object identifiers, as the content octets of their DER.
mod oid {
    pub const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
    pub const RSA_SHA256: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b";
    pub const EXTENDED_KEY_USAGE: &[u8] = b"\x55\x1d\x25";
    pub const MODULE_SIGNING: &[u8] = b"\x2b\x06\x01\x04\x01\x92\x08\x10\x01\x02";
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &len[..], &content].concat()
}

fn identifier(name: &[u8]) -> Vec<u8> {
    der(tag::OBJECT_IDENTIFIER, &[name])
}

fn algorithm(name: &[u8]) -> Vec<u8> {
    der(tag::SEQUENCE, &[&identifier(name)])
}

fn name(attributes: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
    let sets = attributes.iter().map(|(kind, tag, value)| {
        let attribute = [identifier(kind), der(*tag, &[value])].concat();
        der(tag::SET, &[&der(tag::SEQUENCE, &[&attribute])])
    });
    der(tag::SEQUENCE, &[&sets.collect::<Vec<_>>().concat()])
}

fn extension(name: &[u8], value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = &[0x01, 1, 0xff];
    der(
        tag::SEQUENCE,
        &[
            &identifier(name),
            critical,
            &der(tag::OCTET_STRING, &[value]),
        ],
    )
}

const CN: &[u8] = b"\x55\x04\x03";
const TIME: &[u8] = b"\x17\x0d260101000000Z";
const UTF8: u8 = 0x0c;

/// A certificate of an RSA key for this subject, with these extensions.
fn certificate(subject: &[u8], extensions: &[Vec<u8>], unused_bits: u8) -> Vec<u8> {
    let key = der(tag::BIT_STRING, &[&[unused_bits], b"key"]);
    let issuer = name(&[(CN, UTF8, b"issuer")]);
    let list = der(tag::SEQUENCE, &[&extensions.concat()]);
    let tbs = der(
        tag::SEQUENCE,
        &[
            &der(tag::CONTEXT_0, &[&[tag::INTEGER, 1, 2]]),
            &[tag::INTEGER, 1, 7],
            &algorithm(oid::RSA_SHA256),
            &issuer,
            &der(tag::SEQUENCE, &[TIME, TIME]),
            subject,
            &der(tag::SEQUENCE, &[&algorithm(oid::RSA), &key]),
            &der(tag::CONTEXT_3, &[&list]),
        ],
    );
    let signature = der(tag::BIT_STRING, &[&[0], b"signature"]);
    der(
        tag::SEQUENCE,
        &[&tbs, &algorithm(oid::RSA_SHA256), &signature],
    )
}

fn with(extensions: &[Vec<u8>]) -> Certificate {
    let subject = name(&[(CN, UTF8, b"subject")]);
    Certificate::parse(&certificate(&subject, extensions, 0)).unwrap()
}

#[test]
fn a_certificate_for_kernel_modules_is_known_among_its_other_usages() {
    let usages = |names: &[&[u8]]| {
        let names: Vec<_> = names.iter().map(|name| identifier(name)).collect();
        extension(
            oid::EXTENDED_KEY_USAGE,
            &der(tag::SEQUENCE, &[&names.concat()]),
        )
    };
    let code_signing = b"\x2b\x06\x01\x05\x05\x07\x03\x03";
    assert!(!with(&[]).signs_modules());
    assert!(!with(&[usages(&[code_signing])]).signs_modules());
    assert!(with(&[usages(&[code_signing, oid::MODULE_SIGNING])]).signs_modules());
}

#[test]
fn a_certificate_is_one_whole_value_of_whole_bytes() {
    let subject = name(&[(CN, UTF8, b"subject")]);
    let good = certificate(&subject, &[], 0);
    assert_eq!(Certificate::parse(&good).unwrap().as_der(), good);
    let longer = [good.as_slice(), &[0]].concat();
    assert_eq!(
        Certificate::parse(&longer).unwrap_err().to_string(),
        format!("a certificate ends before its {} bytes do", longer.len())
    );
    let bits = certificate(&subject, &[], 3);
    assert_eq!(
        Certificate::parse(&bits).unwrap_err().to_string(),
        "a public key is not made of whole bytes"
    );
    for end in 0..good.len() {
        assert!(Certificate::parse(&good[..end]).is_err());
    }
}

#[test]
fn a_name_is_shown_backwards_without_control_characters() {
    let subject = name(&[
        (b"\x55\x04\x06", 0x13, b"GB"),
        (ORGANISATION, UTF8, b"A, B + \"C\" \\ <D>;\x1b[2J"),
        (b"\x55\x04\x19", UTF8, b"\xff"),
        (CN, 0x1e, b"\0H\0\xe9\xd8\0"),
    ]);
    let shown = Name::new(&subject);
    assert_eq!(
        shown.to_string(),
        "CN=H\u{e9}\u{fffd},?=\u{fffd},O=A\\, B \\+ \\\"C\\\" \\\\ \\<D\\>\\;[2J,C=GB"
    );
    assert_eq!(shown.organisation().unwrap(), "A, B + \"C\" \\ <D>;\x1b[2J");
    // What is no name shows what could be read of it.
    let broken = der(
        tag::SEQUENCE,
        &[&name(&[(CN, UTF8, b"a")])[4..], b"\x31\x05"],
    );
    assert_eq!(Name::new(&broken).to_string(), "CN=a");
    // A certificate must not have such a name: no library reads it.
    for subject in [subject, broken] {
        let error = Certificate::parse(&certificate(&subject, &[], 0)).unwrap_err();
        assert!(matches!(error, Error::Asn1 { .. }), "{error}");
    }
}

#[test]
fn names_are_compared_without_case_white_space_and_type_of_string() {
    let canonical = |attributes: &[(&[u8], u8, &[u8])]| {
        let name = name(attributes);
        Name::new(&name).canonical().unwrap()
    };
    let plain = canonical(&[(CN, UTF8, b"test ca")]);
    for (tag, text) in [
        (0x13, b"Test CA".as_slice()),
        (0x16, b"  TEST \t\n ca "),
        (0x14, b"test  CA"),
        (0x1e, b"\0t\0e\0S\0t\0 \0c\0a"),
        (0x1c, b"\0\0\0t\0\0\0e\0\0\0s\0\0\0t\0\0\0 \0\0\0c\0\0\0a"),
    ] {
        assert_eq!(canonical(&[(CN, tag, text)]), plain, "{tag:#x}");
    }
    // Letters beyond ASCII keep their case; T61 is read as Latin-1.
    let umlaut = canonical(&[(CN, UTF8, "\u{e4}".as_bytes())]);
    assert_eq!(canonical(&[(CN, 0x14, b"\xe4")]), umlaut);
    assert_ne!(canonical(&[(CN, UTF8, "\u{c4}".as_bytes())]), umlaut);
    // Digits of a type of their own are not strings, nor is white space nothing.
    let digits = canonical(&[(CN, 0x12, b"1")]);
    assert_ne!(canonical(&[(CN, UTF8, b"1")]), digits);
    assert_ne!(canonical(&[(CN, UTF8, b"testca")]), plain);
    assert_ne!(canonical(&[(ORGANISATION, UTF8, b"test ca")]), plain);
    for (tag, text) in [(UTF8, b"\xff".as_slice()), (0x1e, b"\0"), (0x1a, b"a")] {
        let name = name(&[(CN, tag, text)]);
        assert!(Name::new(&name).canonical().is_err(), "{tag:#x}");
    }
}

#[test]
fn the_order_counts_between_relative_names_and_not_within_one() {
    let one = [identifier(CN), der(UTF8, &[b"a"])].concat();
    let other = [identifier(ORGANISATION), der(UTF8, &[b"b"])].concat();
    let [one, other] = [one, other].map(|attribute| der(tag::SEQUENCE, &[&attribute]));
    let canonical = |sets: &[&[&[u8]]]| {
        let sets: Vec<_> = sets.iter().map(|set| der(tag::SET, set)).collect();
        let name = der(tag::SEQUENCE, &[&sets.concat()]);
        Name::new(&name).canonical().unwrap()
    };
    assert_eq!(canonical(&[&[&one, &other]]), canonical(&[&[&other, &one]]));
    assert_ne!(
        canonical(&[&[&one], &[&other]]),
        canonical(&[&[&other], &[&one]])
    );
    assert_ne!(
        canonical(&[&[&one], &[&other]]),
        canonical(&[&[&one, &other]])
    );
    assert_eq!(canonical(&[&[], &[&one]]), canonical(&[&[&one]]));
}
