//! The three sections of a shim, with one thing wrong at a time.

use super::*;

const CERTIFICATE: &[u8] =
    include_bytes!("../../../../tests/data/certificates/debian-secure-boot-ca.der");

#[test]
fn the_version_stands_in_a_line_of_its_own() {
    for (line, version) in [
        ("$Version: 16.1 $", Version(16, 1)),
        ("$Version:16.0$", Version(16, 0)),
        ("$Version: \t15 $", Version(15, 0)),
        (
            "$BuildMachine: x $\n$Version: rc1 $\n$Version: 15.8 $",
            Version(15, 8),
        ),
        ("$Version: 15.8 $\n$Version: 9 $", Version(15, 8)),
    ] {
        let section = format!("UEFI SHIM\n{line}\n$Commit: abc $\n\0$Version: 1 $");
        assert_eq!(
            Version::parse(section.as_bytes()).unwrap(),
            version,
            "{line}"
        );
    }
    assert_eq!(Version(15, 8).to_string(), "15.8");
    assert!(Version(15, 10) > Version(15, 9) && Version(16, 0) > Version(15, 10));
}

#[test]
fn what_is_no_version_is_refused() {
    for text in [
        "",
        "$Version: 16.1 $",
        "UEFI SHIM",
        "UEFI SHIM \n$Version: 16.1 $\n",
        "uefi shim\n$Version: 16.1 $\n",
        "UEFI SHIM\n$Version: 15.8-rc1 $\n",
        "UEFI SHIM\n$Version:  $\n",
        "UEFI SHIM\n$Version: 15.8\n",
        "UEFI SHIM\n\0$Version: 15.8 $\n",
    ] {
        assert_eq!(
            Version::parse(text.as_bytes()).unwrap_err().to_string(),
            "the section .data.ident names no version of shim",
            "{text:?}"
        );
    }
    for text in ["1.2.3", ".", "15.", "4294967296"] {
        let section = format!("UEFI SHIM\n$Version: {text} $\n");
        assert_eq!(
            Version::parse(section.as_bytes()).unwrap_err().to_string(),
            format!("the version of shim, {text}, is not made of one or two numbers")
        );
    }
}

/// `.vendor_cert` of these two parts, each as it is given and where it is said to be.
fn vendor(authorised: (u32, u32), forbidden: (u32, u32), behind: &[u8]) -> Vec<u8> {
    let numbers = [authorised.0, forbidden.0, authorised.1, forbidden.1];
    let header = numbers.iter().flat_map(|number| number.to_le_bytes());
    header.chain(behind.iter().copied()).collect()
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

fn list() -> Vec<u8> {
    let owner = uuid::Uuid::from_u128(7);
    let list = SignatureList::new(signature_list::SHA256, owner, [&[9; 32][..]]);
    list.unwrap().to_bytes()
}

#[test]
fn a_blob_is_one_certificate_or_signature_lists_or_nothing() {
    let parse = |section: &[u8]| Vendor::parse(section, false).unwrap();
    let nothing = parse(&vendor((0, 0xffff_ffff), (0, 0xffff_ffff), &[]));
    assert_eq!(nothing.authorised, Authorised::Nothing);
    let one = parse(&vendor((len(CERTIFICATE), 16), (0, 0), CERTIFICATE));
    assert!(
        matches!(&one.authorised, Authorised::Certificate(read) if read.as_der() == CERTIFICATE)
    );
    let lists = parse(&vendor((76, 16), (76, 16), &list()));
    assert!(matches!(&lists.authorised, Authorised::Lists(read) if *read == lists.forbidden));
    assert_eq!(lists.forbidden.len(), 1);
    // One byte behind the certificate, and it is neither.
    let section = vendor(
        (len(CERTIFICATE) + 1, 16),
        (0, 0),
        &[CERTIFICATE, &[0]].concat(),
    );
    assert!(matches!(
        Vendor::parse(&section, false),
        Err(Error::VendorLists(_))
    ));
}

#[test]
fn what_reaches_beyond_the_section_is_refused_but_not_by_the_reference() {
    let parse = |section: &[u8]| Vendor::parse(section, false).unwrap_err().to_string();
    assert_eq!(
        parse(&[0; 15]),
        "the section .vendor_cert has 15 bytes, less than its header of 16"
    );
    let told = |what: &str, len_bytes: u32, offset: u32| {
        format!(
            "the {what} part of .vendor_cert claims {len_bytes} bytes at {offset}, in a section of 92 bytes"
        )
    };
    for (section, told) in [
        (
            vendor((77, 16), (0, 0), &list()),
            told("authorised", 77, 16),
        ),
        (vendor((1, 93), (0, 0), &list()), told("authorised", 1, 93)),
        (
            vendor((0xffff_ffff, 0xffff_ffff), (0, 0), &list()),
            told("authorised", 0xffff_ffff, 0xffff_ffff),
        ),
        (vendor((0, 0), (77, 16), &list()), told("forbidden", 77, 16)),
    ] {
        assert_eq!(parse(&section), told);
    }
    // The reference takes what there is, and does not look at what is forbidden.
    let lenient = Vendor::parse(&vendor((77, 16), (9, 9), &list()), true).unwrap();
    assert!(matches!(&lenient.authorised, Authorised::Lists(lists) if lists.len() == 1));
    assert!(lenient.forbidden.is_empty());
}

fn levels(version: u32, previous: u32, latest: u32, behind: &[u8]) -> Vec<u8> {
    let numbers = [version, previous, latest];
    let header = numbers.iter().flat_map(|number| number.to_le_bytes());
    header.chain(behind.iter().copied()).collect()
}

#[test]
fn levels_are_counted_from_the_first_offset_and_end_with_a_nul() {
    let read = Levels::parse(&levels(0, 10, 8, b"b\0a\n\0")).unwrap();
    assert_eq!(read.previous, "a\n");
    assert_eq!(read.latest, "b");
    // The last one may end with the section; a NUL at once is an empty level.
    let read = Levels::parse(&levels(0, 8, 9, b"\0a")).unwrap();
    assert_eq!((read.previous.as_str(), read.latest.as_str()), ("", "a"));
}

#[test]
fn levels_elsewhere_are_refused() {
    let parse = |section: &[u8]| Levels::parse(section).unwrap_err().to_string();
    for len in [0, 3, 4, 11] {
        assert_eq!(
            parse(&levels(0, 0, 0, b"")[..len]),
            format!("the section .sbatlevel has {len} bytes, less than its header of 12")
        );
    }
    assert_eq!(
        parse(&levels(1, 8, 8, b"a")),
        "the section .sbatlevel is of version 1; only 0 is known"
    );
    for (previous, latest, offset) in [(9, 8, 9_u32), (8, 9, 9), (0xffff_ffff, 8, 0xffff_ffff)] {
        assert_eq!(
            parse(&levels(0, previous, latest, b"a")),
            format!("a level starts at offset {offset} of .sbatlevel, which has 13 bytes")
        );
    }
}
