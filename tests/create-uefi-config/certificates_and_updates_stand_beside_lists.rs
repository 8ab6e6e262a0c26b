//! A directory may hold certificates and signed updates, too.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use firmware::{Database, SignatureList, guid};
use uuid::Uuid;

use crate::{certificate, created, digests, refused, support};

fn folder() -> tempfile::TempDir {
    let scratch = support::scratch();
    fs::create_dir(scratch.path().join("in")).unwrap();
    write(scratch.path(), "PK.esl", &digests(&[1]));
    scratch
}

fn write(folder: &Path, name: &str, content: &[u8]) {
    fs::write(folder.join("in").join(name), content).unwrap();
}

fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

fn x509(owner: Uuid, der: &[u8]) -> Vec<u8> {
    SignatureList::x509(owner, der).unwrap().to_bytes()
}

/// A signed update with a signature of no meaning.
fn update(value: &[u8]) -> Vec<u8> {
    let mut update = vec![
        0xe8, 0x07, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0, 2, 0xf1, 0x0e,
    ];
    update.extend(uuid::uuid!("4aafd29d-68df-49ee-8aa9-347d375665a7").to_bytes_le());
    [&update[..], b"DER!", value].concat()
}

#[test]
fn certificates_become_lists_in_the_order_of_the_names() {
    let scratch = folder();
    let (old, new, debian) = (
        certificate("microsoft-uefi-ca-2011"),
        certificate("microsoft-uefi-ca-2023"),
        certificate("debian-secure-boot-ca"),
    );
    let owner = uuid::uuid!("11111111-2222-3333-4444-123456789abc");
    write(scratch.path(), "db-1.esl", &digests(&[2]));
    write(
        scratch.path(),
        "db-2.pem",
        (pem(&old) + "text between\n" + &pem(&new)).as_bytes(),
    );
    write(scratch.path(), &format!("db-{owner}-Debian.der"), &debian);
    write(scratch.path(), "db-x.esl", &digests(&[3]));
    write(
        scratch.path(),
        &format!("KEK-{owner}.crt"),
        pem(&debian).as_bytes(),
    );
    let (config, ..) = created(scratch.path(), &["-i", "in"]);
    let expected = [
        x509(owner, &debian), // "db-11…" comes before "db-1." and "db-2."
        digests(&[2]),
        x509(guid::MICROSOFT, &old),
        x509(guid::MICROSOFT, &new),
        digests(&[3]),
    ];
    let mut by_name = [
        ("db-1.esl", 1),
        ("db-2.pem", 2),
        ("db-11111111", 0),
        ("db-x.esl", 4),
    ];
    by_name.sort_unstable();
    let order: Vec<u8> = by_name
        .iter()
        .flat_map(|(_, index)| match index {
            2 => [&expected[2][..], &expected[3]].concat(),
            other => expected[*other].clone(),
        })
        .collect();
    assert_eq!(config.content(Database::Db), order);
    assert_eq!(config.content(Database::Kek), x509(owner, &debian));
}

#[test]
fn an_owner_is_never_guessed() {
    let scratch = folder();
    let debian = certificate("debian-secure-boot-ca");
    write(scratch.path(), "db-1.pem", pem(&debian).as_bytes());
    assert_eq!(
        refused(scratch.path(), &["-i", "in"]),
        "error: in/db-1.pem holds the certificate \"Debian Secure Boot CA\" and does not say who owns it\n\
         hint: PCR 7 measures the owner: name the file VARIABLE-GUID-NAME.pem, as virt-fw-vars does, or give --certificate-owner GUID (d281fad2-8d88-47a4-9792-5baa47bb1b89 on Google Compute Engine)\n"
    );
    let owner = guid::ENROLL_DEFAULT_KEYS;
    let (config, ..) = created(
        scratch.path(),
        &["-i", "in", "--certificate-owner", &owner.to_string()],
    );
    assert_eq!(config.content(Database::Db), x509(owner, &debian));
}

#[test]
fn a_certificate_beside_the_list_made_from_it_changes_nothing() {
    let scratch = folder();
    let old = certificate("microsoft-uefi-ca-2011");
    write(scratch.path(), "db-1.esl", &x509(guid::MICROSOFT, &old));
    let (lists_alone, ..) = created(scratch.path(), &["-i", "in"]);
    write(scratch.path(), "db-1.pem", pem(&old).as_bytes());
    write(scratch.path(), "PK.auth", &update(&digests(&[1])));
    let (config, said, _) = created(scratch.path(), &["-i", "in"]);
    assert_eq!(config, lists_alone);
    assert!(
        said.ends_with(
            "note: PK.auth is left out: what it holds is in the .esl files of PK already\n\
         note: db-1.pem is left out: what it holds is in the .esl files of db already\n"
        ),
        "{said}"
    );
}

/// Of two certificates in one file each counts for itself.
#[test]
fn a_certificate_that_is_in_a_list_is_not_taken_twice() {
    let scratch = folder();
    let [old, new] = ["microsoft-uefi-ca-2011", "microsoft-uefi-ca-2023"].map(certificate);
    let old_list = x509(guid::MICROSOFT, &old);
    write(scratch.path(), "db-1.esl", &old_list);
    let both = [pem(&old), pem(&new)].concat();
    write(scratch.path(), "db-2.pem", both.as_bytes());
    let (config, said, _) = created(scratch.path(), &["-i", "in"]);
    let expected = [old_list, x509(guid::MICROSOFT, &new)].concat();
    assert_eq!(config.content(Database::Db), expected);
    let note = "note: 1 of the certificates in db-2.pem is left out: the .esl files of db hold it already\n";
    assert!(said.ends_with(note), "{said}");
}

/// As by virt-fw-vars, and by firmware that appends to a variable.
#[test]
fn a_certificate_in_two_files_is_taken_once() {
    let scratch = folder();
    let [old, new] = ["microsoft-uefi-ca-2011", "microsoft-uefi-ca-2023"].map(certificate);
    write(scratch.path(), "db-1.pem", pem(&old).as_bytes());
    write(scratch.path(), "db-2.der", &old);
    write(
        scratch.path(),
        "db-3.pem",
        [pem(&new), pem(&old), pem(&new)].concat().as_bytes(),
    );
    // Of another variable, and of another owner.
    write(scratch.path(), "KEK-1.pem", pem(&old).as_bytes());
    let owner = guid::ENROLL_DEFAULT_KEYS;
    write(
        scratch.path(),
        &format!("db-{owner}-4.pem"),
        pem(&old).as_bytes(),
    );
    let (config, said, _) = created(scratch.path(), &["-i", "in"]);
    let microsoft = |certificate: &[u8]| x509(guid::MICROSOFT, certificate);
    let mut names = [
        ("db-1.pem", microsoft(&old)),
        ("db-3.pem", microsoft(&new)),
        (&*format!("db-{owner}-4.pem"), x509(owner, &old)),
    ];
    names.sort_unstable();
    let expected: Vec<u8> = names.iter().flat_map(|(_, list)| list.clone()).collect();
    assert_eq!(config.content(Database::Db), expected);
    assert_eq!(config.content(Database::Kek), microsoft(&old));
    let notes = "\
        note: a certificate in db-2.der is left out: db-1.pem has it, under the same owner\n\
        note: a certificate in db-3.pem is left out: db-1.pem has it, under the same owner\n\
        note: a certificate in db-3.pem is left out: db-3.pem has it, under the same owner\n";
    assert!(said.ends_with(notes), "{said}");

    // What a list repeats is measured, and stays.
    let twice = [x509(guid::MICROSOFT, &old), x509(guid::MICROSOFT, &old)].concat();
    let scratch = folder();
    write(scratch.path(), "db-1.esl", &twice);
    write(scratch.path(), "db-2.esl", &twice);
    let (config, ..) = created(scratch.path(), &["-i", "in"]);
    assert_eq!(config.content(Database::Db), [&twice[..], &twice].concat());
}

#[test]
fn an_update_gives_the_value_behind_its_signature() {
    let scratch = folder();
    write(scratch.path(), "KEK-1.auth", &update(&digests(&[4])));
    write(scratch.path(), "dbx-1.auth", &update(&digests(&[5, 6])));
    write(scratch.path(), "db-1.auth", &update(&[]));
    let (config, _, warned) = created(scratch.path(), &["-i", "in"]);
    assert_eq!(config.content(Database::Kek), digests(&[4]));
    assert_eq!(config.content(Database::Dbx), digests(&[5, 6]));
    assert!(warned.contains("warning: db-1.auth holds no new value: firmware deletes the variable on such an update\n"), "{warned}");
    assert!(warned.contains("warning: dbx comes from signed updates alone (dbx-1.auth): firmware adds a published update to the dbx that it has, so a guest's dbx may hold more\n"), "{warned}");
    write(scratch.path(), "dbx-2.esl", &digests(&[7]));
    let (config, _, warned) = created(scratch.path(), &["-i", "in"]);
    assert_eq!(
        config.content(Database::Dbx),
        [digests(&[5, 6]), digests(&[7])].concat()
    );
    assert!(!warned.contains("dbx comes from"), "{warned}");
}

#[test]
fn the_reference_reads_lists_alone() {
    let scratch = folder();
    write(
        scratch.path(),
        "db-1.pem",
        pem(&certificate("microsoft-uefi-ca-2011")).as_bytes(),
    );
    write(scratch.path(), "KEK-1.auth", &update(&digests(&[4])));
    let (config, ..) = created(scratch.path(), &["-i", "in", "--compat", "reference"]);
    assert_eq!(config.content(Database::Pk), digests(&[1]));
    assert_eq!(
        (config.get(Database::Db), config.get(Database::Kek)),
        (None, None)
    );
}
