//! Warnings: each is said when it is due, and a plain configuration has none.

use std::fs;
use std::path::Path;

use firmware::{SignatureList, guid, signature_list};
use uuid::Uuid;

use crate::{certificate, created, digests, support};

/// A directory that gives no reason for a warning.
fn plain() -> tempfile::TempDir {
    let scratch = support::scratch();
    fs::create_dir(scratch.path().join("in")).unwrap();
    let authorities = ["microsoft-uefi-ca-2011", "microsoft-uefi-ca-2023"].map(certificate);
    let db = authorities.map(|der| x509(guid::MICROSOFT, &der)).concat();
    for (name, content) in [
        ("PK.esl", digests(&[1])),
        ("KEK-1.esl", digests(&[2])),
        ("db-1.esl", db),
        ("dbx-1.esl", digests(&[3])),
    ] {
        write(scratch.path(), name, &content);
    }
    scratch
}

fn write(folder: &Path, name: &str, content: &[u8]) {
    fs::write(folder.join("in").join(name), content).unwrap();
}

fn x509(owner: Uuid, der: &[u8]) -> Vec<u8> {
    SignatureList::x509(owner, der).unwrap().to_bytes()
}

fn warnings(folder: &Path) -> Vec<String> {
    let warned = created(folder, &["-i", "in"]).2;
    warned
        .lines()
        .map(|line| line.strip_prefix("warning: ").unwrap().to_owned())
        .collect()
}

/// The warnings when one file of the plain directory is another one.
fn with(name: &str, content: &[u8]) -> Vec<String> {
    let scratch = plain();
    write(scratch.path(), name, content);
    warnings(scratch.path())
}

fn list(kind: Uuid, owner: Uuid, data: &[&[u8]]) -> Vec<u8> {
    SignatureList::new(kind, owner, data.iter().copied())
        .unwrap()
        .to_bytes()
}

#[test]
fn nothing_is_said_about_a_plain_configuration() {
    let scratch = plain();
    assert_eq!(warnings(scratch.path()), [""; 0]);
    assert_eq!(created(scratch.path(), &["-i", "in"]).2, "");
}

#[test]
fn an_empty_database() {
    for (name, expected) in [
        (
            "KEK-1.esl",
            "KEK is empty: if the guest's is not, PCR 7 differs",
        ),
        (
            "db-1.esl",
            "db is empty: such a guest starts nothing under Secure Boot",
        ),
        (
            "dbx-1.esl",
            "dbx is empty: if the guest's is not, PCR 7 differs",
        ),
    ] {
        assert_eq!(with(name, &[]), [expected]);
        let scratch = plain();
        fs::remove_file(scratch.path().join("in").join(name)).unwrap();
        assert_eq!(warnings(scratch.path()), [expected]);
    }
}

/// The reference reads it as nothing, too.
#[test]
fn an_empty_file_beside_others() {
    assert_eq!(
        with("db-2.esl", &[]),
        ["db-2.esl is empty, and adds nothing to db"]
    );
}

#[test]
fn authorities_that_a_shim_needs() {
    let db = |names: &[&str]| {
        names
            .iter()
            .flat_map(|name| x509(guid::MICROSOFT, &certificate(name)))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        with("db-1.esl", &db(&["microsoft-uefi-ca-2011"])),
        [
            "db holds Microsoft's UEFI CA of 2011 and not the one of 2023: a shim that is signed under the new one alone does not start"
        ]
    );
    assert_eq!(
        with("db-1.esl", &db(&["microsoft-uefi-ca-2023"])),
        [
            "db holds Microsoft's UEFI CA of 2023 and not the one of 2011: a shim that is signed under the old one alone does not start"
        ]
    );
    assert_eq!(
        with("db-1.esl", &db(&["debian-secure-boot-ca"])),
        [
            "db holds neither of Microsoft's UEFI CAs: a shim as distributions ship it does not start"
        ]
    );
}

#[test]
fn owners_and_entries_that_a_tool_got_wrong() {
    let old = certificate("microsoft-uefi-ca-2011");
    assert_eq!(
        with("KEK-1.esl", &x509(Uuid::nil(), &old)),
        [
            "KEK holds Microsoft's certificate \"Microsoft Corporation UEFI CA 2011\" with the owner 00000000-0000-0000-0000-000000000000; guests have it with 77fa9abd-0359-4d32-bd60-28f4e78f784b, those of Google Compute Engine with d281fad2-8d88-47a4-9792-5baa47bb1b89",
            "KEK has an entry whose owner is all zeros: a tool that was told none writes that, and PCR 7 measures it",
        ]
    );
    assert_eq!(
        with(
            "dbx-1.esl",
            &list(
                signature_list::SHA256,
                guid::SHIM_LOCK,
                &[&[1; 32], &[0; 32]]
            )
        ),
        ["dbx has a digest of zeros: a tool that could not read its file writes that"]
    );
    assert_eq!(
        with(
            "dbx-1.esl",
            &list(guid::SHIM_LOCK, guid::SHIM_LOCK, &[&[1; 31]])
        ),
        [
            "dbx has a list of the unknown type 605dab50-e046-4300-abb6-3dd810dd8b23: it is measured and nothing else"
        ]
    );
    assert_eq!(
        with(
            "dbx-1.esl",
            &x509(guid::MICROSOFT, &[&old[..], &[0]].concat())
        ),
        [
            "dbx has an entry at offset 28 with bytes behind its certificate: firmware takes it, shim does not"
        ]
    );
}

#[test]
fn several_certificates_in_one_list() {
    let (old, new) = (
        certificate("microsoft-uefi-ca-2011"),
        certificate("microsoft-uefi-ca-2023"),
    );
    let mut padded = new.clone();
    padded.resize(old.len(), 0);
    let content = list(signature_list::X509, guid::MICROSOFT, &[&old, &padded]);
    assert_eq!(
        with("db-1.esl", &content),
        [
            "db has 2 certificates in one list: shim looks at the first one only",
            "db has an entry at offset 1600 with bytes behind its certificate: firmware takes it, shim does not",
        ]
    );
}

#[test]
fn numbers_in_names_that_stand_in_another_order() {
    let scratch = plain();
    write(scratch.path(), "dbx-10.esl", &digests(&[4]));
    assert_eq!(
        warnings(scratch.path()),
        [""; 0],
        "1 and 10 stand in the same order both ways"
    );
    write(scratch.path(), "dbx-2.esl", &digests(&[5]));
    assert_eq!(
        warnings(scratch.path()),
        [
            "dbx-10.esl comes before dbx-2.esl: files are in the order of the bytes of their names, and PCR 7 depends on it; write numbers with leading zeros"
        ]
    );
}

#[test]
fn names_that_nothing_takes() {
    let scratch = plain();
    for name in ["db.esl", "PK-1.esl", "KEK-1.ESL", "DB-1.pem", "notes.txt"] {
        write(scratch.path(), name, b"anything");
    }
    assert_eq!(
        warnings(scratch.path()),
        [
            "not read: DB-1.pem, KEK-1.ESL, PK-1.esl, db.esl; names are PK.esl, KEK-*.esl, db-*.esl, dbx-*.esl"
        ]
    );
}

#[test]
fn more_digests_than_azure_takes() {
    let digests_of = |count: usize| {
        let digest = [7; 32];
        list(
            signature_list::SHA256,
            guid::MICROSOFT,
            &vec![&digest[..]; count],
        )
    };
    // PK and KEK of the plain directory hold one each.
    assert_eq!(with("dbx-1.esl", &digests_of(254)), [""; 0]);
    assert_eq!(
        with("dbx-1.esl", &digests_of(255)),
        [
            "there are 257 SHA-256 digests: Azure refuses more than 256 in the UEFI settings of an image or disk"
        ]
    );
}

#[test]
fn azure_itself_and_its_other_variables() {
    use base64::Engine as _;
    let text = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let authorities = ["microsoft-uefi-ca-2011", "microsoft-uefi-ca-2023"]
        .map(|name| format!("\"{}\"", text(&certificate(name))))
        .join(",");
    let digests = vec![format!("\"{}\"", text(&[1; 32])); 257].join(",");
    let x509 = format!(r#"{{"type":"x509","value":[{authorities}]}}"#);
    let pk = format!(
        r#"{{"type":"x509","value":["{}"]}}"#,
        text(&certificate("microsoft-uefi-ca-2011"))
    );
    let profile = format!(
        r#"{{"type":"Microsoft.Compute/disks","properties":{{"uefiSettings":{{"signatureMode":"Replace","Boot0001":{{}},
        "signatures":{{"PK":{pk},"KEK":[{x509}],"db":[{x509}],"dbx":[{{"type":"sha256","value":[{digests}]}}]}}}}}}}}"#
    );
    let scratch = support::scratch();
    fs::write(scratch.path().join("disk.json"), profile).unwrap();
    let (_, said, warned) = created(scratch.path(), &["--az-disk-profile", "disk.json"]);
    assert!(said.ends_with("note: the description sets other variables, which PCR 4, 7 and 12 do not measure: Boot0001\n"), "{said}");
    assert_eq!(
        warned,
        "warning: there are 257 SHA-256 digests: Azure refuses more than 256 in the UEFI settings of an image or disk\n"
    );
}

#[test]
fn machine_owner_keys_in_azures_description() {
    use base64::Engine as _;
    let text = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let list = |name: &str| {
        let certificate = text(&certificate(name));
        format!(r#"{{"type":"x509","value":["{certificate}"]}}"#)
    };
    let (old, new, debian) = (
        list("microsoft-uefi-ca-2011"),
        list("microsoft-uefi-ca-2023"),
        list("debian-secure-boot-ca"),
    );
    let digest = format!(r#"{{"type":"sha256","value":["{}"]}}"#, text(&[1; 32]));
    let profile = |more: &str| {
        format!(
            r#"{{"type":"Microsoft.Compute/disks","properties":{{"uefiSettings":{{"signatureMode":"Replace",
            "signatures":{{"PK":{debian},"KEK":[{debian}],"db":[{old},{new}],"dbx":[{digest}]{more}}}}}}}}}"#
        )
    };
    let scratch = support::scratch();
    let read = |more: &str| {
        fs::write(scratch.path().join("disk.json"), profile(more)).unwrap();
        created(scratch.path(), &["--az-disk-profile", "disk.json"])
    };
    let (plain, _, warned) = read("");
    assert_eq!(warned, "");
    let lists = format!(r#","MokList":[{debian}],"mokListX":[{digest}],"dbt":[]"#);
    let (config, _, warned) = read(&lists);
    assert_eq!(config, plain);
    assert_eq!(
        warned,
        "warning: the description sets MokList, mokListX: shim trusts and refuses programs by them, which is not predicted; \
         a kernel that a machine owner key alone verifies leads to another PCR 7\n\
         warning: members that are not known are passed over: dbt\n"
    );
}

/// A description that was made with machine owner keys.
#[test]
fn machine_owner_keys_in_a_real_description() {
    let Some(file) = support::shared("real-machines/hyperv/made-with-MOKList.json") else {
        return;
    };
    let file = file.display().to_string();
    let (.., warned) = created(support::scratch().path(), &["--az-disk-profile", &file]);
    assert!(
        warned.contains("warning: the description sets MokList: "),
        "{warned}"
    );
}
