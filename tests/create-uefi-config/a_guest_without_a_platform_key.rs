//! Without a platform key Secure Boot is off: a description that lacks it is refused, unless that is meant.

use std::fs;
use std::path::Path;

use firmware::{Database, UefiConfig, guid};

use crate::{created, digests, refused, support};

const WITHOUT: &str = "and without a platform key Secure Boot is off";

/// Refused as it is; taken, with a warning or none, where Secure Boot is off or the reference is followed.
#[track_caller]
fn assert_refused(folder: &Path, source: &[&str], what: &str, hint: &str) {
    assert_eq!(
        refused(folder, source),
        format!("error: {}: {what}, {WITHOUT}\nhint: {hint}\n", source[1])
    );
    let with = |more: &[&str]| {
        let of_it = created(folder, &[source, more].concat());
        fs::remove_file(folder.join("out.json")).unwrap();
        of_it
    };
    let (config, _, warned) = with(&["--compat", "reference"]);
    assert!(config.content(Database::Pk).is_empty());
    assert!(
        warned.contains("warning: PK is empty: without a platform key Secure Boot is off\n"),
        "{warned}"
    );
    let (config, _, warned) = with(&["--secure-boot", "off"]);
    assert!(config.content(Database::Pk).is_empty());
    assert!(!warned.contains("PK"), "{warned}");
}

#[test]
fn in_a_directory() {
    let hint = "put the PK of the guest there, as PK.esl, PK.auth or PK.pem; --secure-boot off describes a guest without one";
    let scratch = support::scratch();
    let folder = scratch.path().join("in");
    fs::create_dir(&folder).unwrap();
    for name in ["KEK-1.esl", "db-1.esl", "dbx-1.esl"] {
        fs::write(folder.join(name), digests(&[1])).unwrap();
    }
    let source = ["-i", "in"];
    assert_refused(scratch.path(), &source, "no file is the guest's PK", hint);
    fs::write(folder.join("PK.esl"), []).unwrap();
    assert_refused(
        scratch.path(),
        &source,
        "the files of PK have no entry",
        hint,
    );
}

/// A guest whose Secure Boot is on has that file: the copy is not whole.
#[test]
fn in_a_copy_of_efivars() {
    let scratch = support::scratch();
    let folder = scratch.path().join("efivars");
    fs::create_dir(&folder).unwrap();
    let write = |name: &str, vendor: uuid::Uuid, data: &[u8]| {
        let content = [&[0x27, 0, 0, 0], data].concat();
        fs::write(folder.join(format!("{name}-{vendor}")), content).unwrap();
    };
    for database in [Database::Kek, Database::Db, Database::Dbx] {
        write(database.name(), database.vendor(), &digests(&[1]));
    }
    let hint = "copy PK-8be4df61-93ca-11d2-aa0d-00e098032b8c from the guest as well; --secure-boot off describes a guest without one";
    let source = ["--efivars", "efivars"];
    let what = "the file of PK is missing or empty";
    assert_refused(scratch.path(), &source, what, hint);
    write("PK", guid::GLOBAL_VARIABLE, &[]);
    assert_refused(scratch.path(), &source, what, hint);
    write("SecureBoot", guid::GLOBAL_VARIABLE, &[1]);
    assert_eq!(
        refused(scratch.path(), &source),
        format!("error: efivars: {what}, {WITHOUT}\nhint: {hint}\n")
    );
}

#[test]
fn in_a_description_of_azure() {
    let scratch = support::scratch();
    let profile = support::data("vectors/uefi/az-mixed.json");
    fs::copy(profile, scratch.path().join("disk.json")).unwrap();
    assert_refused(
        scratch.path(),
        &["--az-disk-profile", "disk.json"],
        "the description sets no PK",
        "set the PK as well, or run create-uefi-config --efivars in a guest that was made so; --secure-boot off describes a guest without one",
    );
}

/// `uefi-config.json` that somebody wrote before, or by hand; KEK may be empty.
#[test]
fn in_what_predict_is_given() {
    let scratch = support::scratch();
    let program = support::data("vectors/pe/shim-by-a.efi");
    let mut config = UefiConfig::default();
    config.set(Database::Db, Some(digests(&[1])));
    config.set(Database::Pk, Some(Vec::new()));
    let predict = |config: &UefiConfig, more: &[&str]| {
        fs::write(scratch.path().join("uefi-config.json"), config.to_json()).unwrap();
        let mut predict = support::command(env!("CARGO_BIN_EXE_encrypt-cloud-image"));
        predict.current_dir(scratch.path());
        predict.args([
            "predict",
            "--add-efi-boot-manager-profile",
            "--allow-no-kernel",
        ]);
        predict.args([
            "--no-verify-signatures",
            "--uefi-config",
            "uefi-config.json",
            "--chain",
        ]);
        let output = predict.arg(&program).args(more).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    for pk in [None, Some(Vec::new())] {
        config.set(Database::Pk, pk);
        assert_eq!(
            predict(&config, &[]),
            (
                Some(1),
                format!(
                    "error: uefi-config.json: PK is empty, {WITHOUT}\nhint: describe the guest again with create-uefi-config, where it has a PK; --secure-boot off is for a guest without one\n"
                )
            )
        );
        let (code, said) = predict(&config, &["--compat", "reference"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("PK is empty"), "{said}");
        assert_eq!(predict(&config, &["--secure-boot", "off"]).0, Some(0));
    }
    config.set(Database::Pk, Some(digests(&[2])));
    let (code, said) = predict(&config, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("KEK is empty"), "{said}");
}
