//! A tool that could not read its input writes entries that no firmware takes: they are refused by file, before anything
//! is described or sealed to. The reference's rules take them.

use std::fs;
use std::path::Path;

use firmware::{SignatureList, guid, signature_list};
use operations::uefi_config::{self, Database, Options, Rules, Source, UefiConfig};
use uuid::Uuid;

use crate::support::{command, exits, programs, scratch};
use crate::{certificate, created, digests, refused};

const EMPTY: &str = "the entry at offset 28 is a certificate of 0 bytes, which cert-to-efi-sig-list writes where it cannot read its input\n\
                     hint: make the file again from a PEM file that is there: cert-to-efi-sig-list -g OWNER CERTIFICATE FILE\n";
const SHOWN: &str = "hint: openssl x509 -inform DER -noout -subject shows whether a file is a certificate; cert-to-efi-sig-list makes a list of one in PEM\n";

fn list(kind: Uuid, data: &[u8]) -> Vec<u8> {
    SignatureList::new(kind, guid::MICROSOFT, [data])
        .unwrap()
        .to_bytes()
}

/// A directory `in` with a good file for each variable, and one more.
fn folder(name: &str, content: &[u8]) -> tempfile::TempDir {
    let scratch = scratch();
    let put = |name: &str, content: &[u8]| {
        fs::write(scratch.path().join("in").join(name), content).unwrap();
    };
    fs::create_dir(scratch.path().join("in")).unwrap();
    for (name, number) in [
        ("PK.esl", 1),
        ("KEK-1.esl", 2),
        ("db-1.esl", 3),
        ("dbx-1.esl", 4),
    ] {
        put(name, &digests(&[number]));
    }
    put(name, content);
    scratch
}

/// The reference puts the bytes together whatever they are, and so do its rules here.
fn the_reference_takes_it(folder: &Path) {
    created(folder, &["-i", "in", "--compat", "reference"]);
}

#[test]
fn what_the_tool_writes_for_a_missing_file_is_refused() {
    if !programs(&["cert-to-efi-sig-list"]) {
        return;
    }
    for name in ["PK.esl", "KEK-2.esl", "db-2.esl", "dbx-2.esl"] {
        let folder = folder(name, b"");
        let mut tool = command("cert-to-efi-sig-list");
        tool.current_dir(folder.path())
            .args(["missing.pem", &format!("in/{name}")]);
        exits(&mut tool, 0);
        assert_eq!(
            refused(folder.path(), &["-i", "in"]),
            format!("error: in/{name}: {EMPTY}")
        );
        the_reference_takes_it(folder.path());
    }
}

#[test]
fn every_defect_is_told_by_file() {
    let ca = certificate("microsoft-uefi-ca-2011");
    let cut = &ca[..ca.len() - 1];
    for (name, content, message) in [
        (
            "db-2.esl",
            list(signature_list::X509, b"-----BEGIN CERTIFICATE-----"),
            format!("in/db-2.esl: the entry at offset 28 is a certificate in PEM, and firmware reads DER alone\n{SHOWN}"),
        ),
        (
            "KEK-2.esl",
            list(signature_list::X509, b"CERTIFICATE"),
            format!("in/KEK-2.esl: the entry at offset 28 is no certificate: it does not begin as DER\n{SHOWN}"),
        ),
        (
            "db-2.esl",
            [digests(&[5]), list(signature_list::X509, cut)].concat(),
            format!("in/db-2.esl: the entry at offset 104 holds {} bytes of a certificate of {}: it was cut off\n{SHOWN}", cut.len(), ca.len()),
        ),
        (
            "dbx-2.esl",
            list(signature_list::SHA256, &[]),
            "in/dbx-2.esl: the entry at offset 28 has 0 bytes of data, and SHA-256 has 32: firmware takes no such list\n".to_owned(),
        ),
        (
            "dbx-2.esl",
            list(signature_list::X509_SHA256, &[1; 32]),
            "in/dbx-2.esl: the entry at offset 28 has 32 bytes of data, and X.509 SHA-256 has 48: firmware takes no such list\n".to_owned(),
        ),
        (
            "PK.esl",
            digests(&[1, 2]),
            "in/PK.esl: PK has 2 entries, and firmware takes one\nhint: leave the one that the guest's firmware has; the others may belong into KEK or db\n".to_owned(),
        ),
    ] {
        let folder = folder(name, &content);
        assert_eq!(refused(folder.path(), &["-i", "in"]), format!("error: {message}"));
        the_reference_takes_it(folder.path());
    }
}

#[test]
fn two_files_are_one_pk_too_many() {
    let owned = format!("PK-{}-x.der", guid::MICROSOFT);
    let folder = folder(&owned, &certificate("microsoft-uefi-ca-2011"));
    assert_eq!(
        refused(folder.path(), &["-i", "in"]),
        "error: in: PK: PK has 2 entries, and firmware takes one\nhint: leave the one that the guest's firmware has; the others may belong into KEK or db\n"
    );
    the_reference_takes_it(folder.path());
}

/// What `predict`, `deploy`, `provision` and `inspect --against` read.
#[test]
fn a_description_that_was_written_before_is_refused_too() {
    let folder = scratch();
    let path = folder.path().join("uefi.json");
    for database in Database::ALL {
        let mut config = UefiConfig::default();
        config.set(database, Some(list(signature_list::X509, &[])));
        fs::write(&path, config.to_json()).unwrap();
        let source = Source::Json(path.clone());
        let error = uefi_config::load(&source, &Options::default()).unwrap_err();
        let hint = error.hint().unwrap();
        let told = format!("{error}\nhint: {hint}\n");
        assert_eq!(
            told,
            format!("{}: {}: {EMPTY}", path.display(), database.name())
        );
        let options = Options {
            rules: Rules::Reference,
            ..Options::default()
        };
        uefi_config::load(&source, &options).unwrap();
    }
}
