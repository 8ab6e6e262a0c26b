//! Storage root keys in every form that tools write them in, and the templates from which a guest makes them again.

use serde_json::Value;
use tpm::{KeyKind, SrkFile, StandardDifference, StorageParent, UniqueData, UniqueForm};

use crate::{bytes, support};

fn cases() -> Value {
    let path = support::data("srk-template/cases.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn area(file: &[u8]) -> StorageParent {
    match SrkFile::read(file).unwrap() {
        SrkFile::PublicArea(parent) => parent,
        SrkFile::KeyAlone(_) => panic!("a public area"),
    }
}

#[test]
fn the_template_is_the_one_that_a_tpm_made_the_key_from() {
    let cases = cases();
    let mut with_unique = 0;
    for case in cases["cases"].as_array().unwrap() {
        let name = &case["name"];
        let parent = area(&bytes(&case["srk_pub_tpm2b"]));
        assert_eq!(parent, area(&bytes(&case["srk_pub_tpmt"])), "{name}");
        assert_eq!(parent.name().to_string(), case["srk_name"], "{name}");
        assert_eq!(parent.to_bytes(), bytes(&case["srk_pub_tpm2b"]), "{name}");
        let template = bytes(&case["template_file"]);
        if case["unique_wire"].is_null() {
            let none = UniqueData::none(parent.kind());
            assert_eq!(parent.template(&none).unwrap(), template, "{name}");
            continue;
        }
        with_unique += 1;
        for (member, form) in [
            ("unique_wire", UniqueForm::Wire),
            ("unique_tpm2_tools", UniqueForm::Tools),
        ] {
            let (unique, found) = UniqueData::read(&bytes(&case[member]), parent.kind()).unwrap();
            assert_eq!(found, form, "{name}");
            assert_eq!(parent.template(&unique).unwrap(), template, "{name}");
        }
    }
    assert_eq!(with_unique, 2);
}

#[test]
fn a_bare_public_key_gets_the_standard_templates_attributes() {
    for case in cases()["pem"].as_array().unwrap() {
        let der = bytes(&case["spki_der"]);
        let SrkFile::KeyAlone(parent) = SrkFile::read(&der).unwrap() else {
            panic!("a public key alone");
        };
        let expected = bytes(&case["public_tpmt"]);
        assert_eq!(parent.to_bytes()[2..], expected, "{}", case["name"]);
        assert_eq!(parent.name().to_string(), case["srk_name"]);
        // A guest without a template makes an RSA key: what it is not, no guest would find.
        let difference = match parent.kind() {
            KeyKind::Rsa => None,
            KeyKind::Ecc => Some(StandardDifference::Kind),
        };
        assert_eq!(parent.differs_from_standard(), difference);
    }
}

#[test]
fn what_is_no_storage_parent_is_refused_by_field() {
    let good = crate::file("soft-rsa.pub");
    assert_eq!(area(&good).kind(), KeyKind::Rsa);
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        SrkFile::read(&file).unwrap_err().to_string()
    };
    // 2 length, 2 type, 2 nameAlg, 4 attributes, 2 policy, then the symmetric cipher.
    assert_eq!(
        changed(4, &[0, 0x0c]),
        "nameAlg at byte 4 is 0x000c; only 0x000b (SHA-256) is supported"
    );
    assert_eq!(
        changed(12, &[0, 0x26]),
        "symmetric at byte 12 is 0x0026; only 0x0006 (AES) or 0x0010 (none) is supported"
    );
    assert_eq!(
        changed(14, &[0, 192]),
        "symmetric keyBits at byte 14 is 0x00c0; only 0x0080 or 0x0100 (AES-128, AES-256) is supported"
    );
    assert_eq!(
        SrkFile::read(&[good.as_slice(), b"x"].concat())
            .unwrap_err()
            .to_string(),
        format!(
            "1 bytes follow the public area, which ends at byte {}",
            good.len()
        )
    );
    assert_eq!(
        SrkFile::read(b"").unwrap_err().to_string(),
        "not a TPM public area (TPM2B_PUBLIC or TPMT_PUBLIC) and not a public key in PEM or DER form; write one with tpm2_readpublic -o"
    );
    for len in 1..good.len() {
        SrkFile::read(&good[..len]).unwrap_err();
    }
}
