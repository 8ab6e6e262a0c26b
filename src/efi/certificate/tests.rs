//! Certificates made by hand, whose signature nobody made, with one thing changed at a time.

use super::*;

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
            &der(tag::SEQUENCE, &[]),
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
fn key_identifiers_join_certificates_and_so_does_their_absence() {
    let subject_key =
        |id: &[u8]| extension(oid::SUBJECT_KEY_IDENTIFIER, &der(tag::OCTET_STRING, &[id]));
    let authority_key = |id: &[u8]| {
        let id = der(tag::CONTEXT_0_PRIMITIVE, &[id]);
        extension(oid::AUTHORITY_KEY_IDENTIFIER, &der(tag::SEQUENCE, &[&id]))
    };
    let authority = |extensions: &[Vec<u8>]| {
        let subject = name(&[(CN, UTF8, b"issuer")]);
        Certificate::parse(&certificate(&subject, extensions, 0)).unwrap()
    };
    let leaf = with(&[authority_key(b"one")]);
    assert!(leaf.is_issued_by_name(&authority(&[subject_key(b"one")])));
    assert!(!leaf.is_issued_by_name(&authority(&[subject_key(b"other")])));
    assert!(!leaf.is_issued_by_name(&authority(&[])));
    assert!(with(&[]).is_issued_by_name(&authority(&[])));
    assert!(!with(&[]).is_issued_by_name(&with(&[])));
    // By name alone: nobody made the signature.
    assert!(!leaf.is_issued_by(&authority(&[subject_key(b"one")])));
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
        (oid::ORGANISATION, UTF8, b"A, B + \"C\" \\ <D>;\x1b[2J"),
        (b"\x55\x04\x99", UTF8, b"\xff"),
        (CN, 0x1e, b"\0H\0\xe9\xd8\0"),
    ]);
    let parsed = Certificate::parse(&certificate(&subject, &[], 0)).unwrap();
    assert_eq!(
        parsed.subject().to_string(),
        "CN=H\u{e9}\u{fffd},?=\u{fffd},O=A\\, B \\+ \\\"C\\\" \\\\ \\<D\\>\\;[2J,C=GB"
    );
    assert_eq!(
        parsed.subject().organisation().unwrap(),
        "A, B + \"C\" \\ <D>;\x1b[2J"
    );
    // What is no name shows what could be read of it.
    let broken = der(
        tag::SEQUENCE,
        &[&name(&[(CN, UTF8, b"a")])[4..], b"\x31\x05"],
    );
    let parsed = Certificate::parse(&certificate(&broken, &[], 0)).unwrap();
    assert_eq!(parsed.subject().to_string(), "CN=a");
}
