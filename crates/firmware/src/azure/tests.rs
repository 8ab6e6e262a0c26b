//! Descriptions of disks and image versions, and what is wrong with each.

use super::*;

fn certificate() -> String {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/data/certificates/"
    );
    json::text(&std::fs::read(format!("{folder}microsoft-uefi-ca-2011.der")).unwrap())
}

fn digest(byte: u8) -> String {
    json::text(&[byte; 32])
}

/// A disk with these members in `signatures`.
fn disk(signatures: &str) -> String {
    format!(
        r#"{{"type":"Microsoft.Compute/disks","properties":{{"uefiSettings":{{"signatureMode":"Replace","signatures":{{{signatures}}}}}}}}}"#
    )
}

fn image_version(settings: &str) -> String {
    format!(
        r#"{{"type":"Microsoft.Compute/galleries/images/versions","properties":{{"securityProfile":{{"uefiSettings":{{{settings}}}}}}}}}"#
    )
}

fn read(text: &str) -> FromAzure {
    from_json(text.as_bytes(), Rules::Ours).unwrap()
}

fn message(text: &str) -> String {
    from_json(text.as_bytes(), Rules::Ours)
        .unwrap_err()
        .to_string()
}

fn reference(text: &str) -> Result<FromAzure, Error> {
    from_json(text.as_bytes(), Rules::Reference)
}

#[test]
fn each_certificate_is_a_list_and_digests_share_one() {
    let (a, one, two) = (certificate(), digest(1), digest(2));
    let two_values = read(&disk(&format!(
        r#""DB":[{{"type":"x509","value":["{a}","{a}"]}}],"dbx":[{{"TYPE":"sha256","Value":["{one}","{two}"]}}]"#
    )));
    let two_objects = read(&disk(&format!(
        r#""db":[{{"type":"x509","value":["{a}"]}},{{"type":"x509","value":["{a}"]}}],"dbx":[{{"type":"sha256","value":["{one}","{two}"]}}],"other":1"#
    )));
    assert_eq!(two_objects.unknown_members, ["other"]);
    assert_eq!(
        two_values,
        FromAzure {
            unknown_members: Vec::new(),
            ..two_objects
        }
    );
    let sizes = |database| {
        let lists = two_values.config.lists(database).unwrap();
        lists
            .iter()
            .map(|list| list.entries.len())
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(Database::Db), [1, 1]);
    assert_eq!(sizes(Database::Dbx), [2]);
    assert_eq!(two_values.config.get(Database::Pk), None);
    assert_eq!(two_values.digests, 2);
    let owners = two_values
        .config
        .lists(Database::Dbx)
        .unwrap()
        .remove(0)
        .entries;
    assert!(owners.iter().all(|entry| entry.owner == guid::MICROSOFT));
}

#[test]
fn the_value_of_a_certificate_is_taken_as_it_is_by_the_reference() {
    let found = reference(&disk(r#""db":[{"type":"x509","value":["AAEC"]}]"#)).unwrap();
    assert_eq!(
        hex::encode(found.config.content(Database::Db)),
        "a159c0a5e494a74a87b5ab155c2bf0722f0000000000000013000000bd9afa775903324dbd6028f4e78f784b000102"
    );
    assert!(
        message(&disk(r#""db":[{"type":"x509","value":["AAEC"]}]"#))
            .starts_with("a value in db is not exactly one certificate in DER: ")
    );
}

#[test]
fn types_and_modes_are_exact() {
    let a = certificate();
    for (text, expected) in [
        (
            disk(&format!(r#""PK":[{{"type":"x509","value":["{a}"]}}]"#)),
            "the member PK is no object",
        ),
        (
            disk(&format!(r#""db":{{"type":"x509","value":["{a}"]}}"#)),
            "the member db is no array of objects",
        ),
        (
            disk(&format!(r#""db":[{{"type":"x509","value":"{a}"}}]"#)),
            "the member value is no array of texts",
        ),
        (
            disk(&format!(r#""db":[{{"type":"X509","value":["{a}"]}}]"#)),
            "a list in db has the type \"X509\"; x509 and sha256 are known",
        ),
        (
            disk(r#""db":[{"type":"x509","value":["-_8="]}]"#),
            "a value in db is no base64: Invalid symbol 45, offset 0.",
        ),
        (
            disk("").replace("disks", "Disks"),
            "a resource of the type \"Microsoft.Compute/Disks\"; Microsoft.Compute/disks and Microsoft.Compute/galleries/images/versions are known",
        ),
        (
            disk("").replace("Replace", "replace"),
            "the signatureMode \"replace\" is not known; only Replace can be computed",
        ),
        (
            disk("").replace("\"signatureMode\":\"Replace\",", ""),
            "the signatureMode \"\" is not known; only Replace can be computed",
        ),
        (
            disk("").replace("Replace", "Append"),
            "the settings build upon signatures of the service (signatureMode Append), whose bytes are not known here",
        ),
        (
            disk("").replace("Replace", "Default"),
            "the settings build upon signatures of the service (signatureMode Default), whose bytes are not known here",
        ),
        (
            "[]".to_owned(),
            "no description of an Azure disk in JSON: invalid type: sequence, expected an object at line 1 column 0",
        ),
    ] {
        assert_eq!(message(&text), expected, "{text}");
        assert!(reference(&text).is_err(), "{text}");
    }
}

#[test]
fn what_the_reference_overlooks_is_refused() {
    let (one, short) = (digest(1), json::text(&[1; 31]));
    for (text, expected) in [
        (
            r#"{"type":"Microsoft.Compute/disks"}"#.to_owned(),
            "no properties.uefiSettings: this describes no guest with UEFI settings of its own",
        ),
        (
            disk("").replace("uefiSettings", "other"),
            "no properties.uefiSettings: this describes no guest with UEFI settings of its own",
        ),
        (
            disk("").replace("signatures", "other"),
            "no properties.uefiSettings.signatures: this describes no guest with UEFI settings of its own",
        ),
        (
            disk(r#""dbx":[{"type":"sha256","value":[]}]"#),
            "a list in dbx has no value",
        ),
        (
            disk(r#""db":[{"type":"x509","value":[]}]"#),
            "a list in db has no value",
        ),
        (
            disk(&format!(
                r#""dbx":[{{"type":"sha256","value":["{short}"]}}]"#
            )),
            "a digest in dbx has 31 bytes; SHA-256 has 32",
        ),
        (
            disk(r#""db":[],"DB":[]"#),
            "the member db stands twice in one object, perhaps in different letter case",
        ),
    ] {
        assert_eq!(message(&text), expected, "{text}");
        assert!(reference(&text).is_ok(), "{text}");
    }
    let mixed = disk(&format!(
        r#""dbx":[{{"type":"sha256","value":["{one}","{short}"]}}]"#
    ));
    assert_eq!(
        reference(&mixed).unwrap_err().to_string(),
        "a list in dbx cannot be made: the entries of one signature list have one size, but there are 32 bytes and 31 bytes"
    );
    let empty = reference(&disk(r#""dbx":[{"type":"sha256","value":[]}]"#)).unwrap();
    assert_eq!(empty.config.content(Database::Dbx).len(), 28);
}

#[test]
fn an_image_version_says_the_same_in_other_words() {
    let (a, one) = (certificate(), digest(1));
    let additional = |template: &str| {
        image_version(&format!(
            r#""signatureTemplateNames":[{template}],"additionalSignatures":{{"pk":{{"type":"x509","value":["{a}"]}},"dbx":[{{"type":"sha256","value":["{one}"]}}]}}"#
        ))
    };
    let same = read(&disk(&format!(
        r#""PK":{{"type":"x509","value":["{a}"]}},"dbx":[{{"type":"sha256","value":["{one}"]}}]"#
    )));
    let whole = additional("\"NoSignatureTemplate\"");
    assert_eq!(read(&whole), same);
    assert_eq!(
        read(&whole.replacen(
            "\"type\":\"Microsoft.Compute/galleries/images/versions\",",
            "",
            1
        )),
        same
    );
    let template = format!(
        r#"{{"resources":[{{"type":"Microsoft.Compute/virtualMachines","properties":{{}}}},{whole}]}}"#
    );
    assert_eq!(read(&template), same);
    assert_eq!(
        message(&additional("\"MicrosoftUefiCertificateAuthorityTemplate\"")),
        "the settings build upon signatures of the service (signatureTemplateNames: MicrosoftUefiCertificateAuthorityTemplate), whose bytes are not known here"
    );
    assert_eq!(
        message(&additional("")),
        "the settings build upon signatures of the service (signatureTemplateNames: no template named, hence the default), whose bytes are not known here"
    );
    assert_eq!(
        message(&whole.replace("\"pk\"", "\"x\"")),
        "no PK, and NoSignatureTemplate gives the guest none: Secure Boot would be off"
    );
    assert_eq!(
        message(&whole.replace("additionalSignatures", "x")),
        "no properties.securityProfile.uefiSettings.additionalSignatures: this describes no guest with UEFI settings of its own"
    );
}

#[test]
fn one_resource_of_a_template_has_settings() {
    assert_eq!(
        message(r#"{"resources":[]}"#),
        "0 resources with UEFI settings; one is needed"
    );
    let two = format!(r#"{{"resources":[{0},{0}]}}"#, disk(""));
    assert_eq!(
        message(&two),
        "2 resources with UEFI settings; one is needed"
    );
}

#[test]
fn expressions_of_a_template_are_to_be_expanded_first() {
    let expected =
        "the template expression \"[parameters('x')]\" is no value: expand the template first";
    for text in [
        disk(r#""db":[{"type":"x509","value":["[parameters('x')]"]}]"#),
        disk(r#""db":[{"type":"[parameters('x')]","value":[]}]"#),
        disk("").replace("Replace", "[parameters('x')]"),
        image_version(r#""signatureTemplateNames":["[parameters('x')]"]"#),
    ] {
        assert_eq!(message(&text), expected, "{text}");
    }
}

#[test]
fn digests_are_counted_and_sizes_have_limits() {
    let digests = |count: usize| {
        let values = vec![format!("\"{}\"", digest(1)); count].join(",");
        disk(&format!(
            r#""dbx":[{{"type":"sha256","value":[{values}]}}]"#
        ))
    };
    assert_eq!(read(&digests(257)).digests, 257);
    assert_eq!(
        message(&digests(21846)),
        "dbx has 1048636 bytes, which is more than 1 MiB"
    );
    assert_eq!(
        message(&" ".repeat(MAX_FILE_BYTES + 1)),
        "no description of an Azure disk: 4194305 bytes, which is more than 4 MiB"
    );
}

#[test]
fn other_variables_are_named() {
    let with = disk("").replacen(
        "\"signatures\"",
        "\"Boot0001\":{\"guid\":\"\"},\"signatures\"",
        1,
    );
    assert_eq!(read(&with).other_variables, ["Boot0001"]);
}
