//! `--efivars`: a copy of efivarfs, and what such copies look like.

use std::fs;
use std::path::Path;

use firmware::{Database, guid};

use crate::{created, digests, program, refused, support};

fn write(folder: &Path, name: &str, vendor: uuid::Uuid, data: &[u8]) {
    let content = [&[0x27, 0, 0, 0], data].concat();
    fs::write(
        folder.join("efivars").join(format!("{name}-{vendor}")),
        content,
    )
    .unwrap();
}

/// What the copy has in a database: two digests, in PK one.
fn content(database: Database) -> Vec<u8> {
    match database {
        Database::Pk => digests(&[1]),
        other => digests(&[2, other.name().as_bytes()[0]]),
    }
}

/// A copy of efivarfs with Secure Boot on.
fn copy() -> tempfile::TempDir {
    let scratch = support::scratch();
    fs::create_dir(scratch.path().join("efivars")).unwrap();
    for database in Database::ALL {
        write(
            scratch.path(),
            database.name(),
            database.vendor(),
            &content(database),
        );
    }
    write(scratch.path(), "SecureBoot", guid::GLOBAL_VARIABLE, &[1]);
    write(
        scratch.path(),
        "Boot-with-dashes",
        guid::GLOBAL_VARIABLE,
        b"x",
    );
    write(scratch.path(), "PK", guid::SHIM_LOCK, b"another namespace");
    scratch
}

#[test]
fn the_content_stands_behind_the_attributes() {
    let scratch = copy();
    let (config, said, _) = created(scratch.path(), &["--efivars", "efivars"]);
    for database in Database::ALL {
        assert_eq!(config.content(database), content(database));
    }
    assert!(said.contains("SHA-256  2 entries; owner"), "{said}");
}

#[test]
fn names_may_have_upper_case_guids_and_files_lack_the_attributes() {
    let scratch = copy();
    let efivars = scratch.path().join("efivars");
    let pk = format!("PK-{}", guid::GLOBAL_VARIABLE);
    fs::rename(efivars.join(&pk), efivars.join(pk.to_uppercase())).unwrap();
    let db = format!("db-{}", guid::IMAGE_SECURITY_DATABASE);
    fs::write(efivars.join(&db), digests(&[9])).unwrap();
    fs::write(
        efivars.join(format!("dbx-{}", guid::IMAGE_SECURITY_DATABASE)),
        [],
    )
    .unwrap();
    write(scratch.path(), "SbatLevelRT", guid::SHIM_LOCK, b"sbat");
    let (config, said, warned) = created(scratch.path(), &["--efivars", "efivars"]);
    assert_eq!(config.content(Database::Pk), content(Database::Pk));
    assert_eq!(config.content(Database::Db), digests(&[9]));
    assert_eq!(config.get(Database::Dbx), None);
    assert!(said.ends_with(&format!(
        "note: efivars/{db} is a bare signature list, without the 4 bytes of attributes of a file in efivarfs\n\
         note: shim's variables SbatLevelRT are not part of the configuration; a machine owner key that verifies the kernel leads to another PCR 7\n"
    )), "{said}");
    assert!(
        warned.contains("warning: dbx is empty: if the guest's is not, PCR 7 differs\n"),
        "{warned}"
    );
}

#[test]
fn a_guest_with_secure_boot_off_is_refused() {
    let scratch = copy();
    write(scratch.path(), "SecureBoot", guid::GLOBAL_VARIABLE, &[0]);
    assert_eq!(
        refused(scratch.path(), &["--efivars", "efivars"]),
        "error: efivars: Secure Boot is switched off in this guest\n\
         hint: PCR 7 of such a guest protects little; --secure-boot off describes it all the same\n"
    );
    let (config, _, warned) = created(
        scratch.path(),
        &["--efivars", "efivars", "--secure-boot", "off"],
    );
    assert_eq!(config.content(Database::Pk), content(Database::Pk));
    assert_eq!(warned, "");
    write(scratch.path(), "SecureBoot", guid::GLOBAL_VARIABLE, &[1]);
    let (_, _, warned) = created(
        scratch.path(),
        &["--efivars", "efivars", "--secure-boot", "off"],
    );
    assert_eq!(
        warned,
        "warning: Secure Boot is on in this guest, though --secure-boot off was given\n"
    );
}

#[test]
fn copies_that_cannot_be_meant_are_refused() {
    let scratch = copy();
    let efivars = scratch.path().join("efivars");
    let pk = format!("PK-{}", guid::GLOBAL_VARIABLE);
    fs::copy(efivars.join(&pk), efivars.join(pk.to_uppercase())).unwrap();
    assert_eq!(
        refused(scratch.path(), &["--efivars", "efivars"]),
        format!(
            "error: efivars/{} and {pk} are two files for one variable\n",
            pk.to_uppercase()
        )
    );
    fs::remove_file(efivars.join(pk.to_uppercase())).unwrap();
    fs::write(efivars.join(&pk), [0x27, 0]).unwrap();
    assert_eq!(
        refused(scratch.path(), &["--efivars", "efivars"]),
        format!(
            "error: efivars/{pk}: only 2 bytes, and a file of efivarfs begins with 4 bytes of attributes\n"
        )
    );
    fs::create_dir(scratch.path().join("empty")).unwrap();
    assert_eq!(
        refused(scratch.path(), &["--efivars", "empty"]),
        "error: empty holds none of the variables PK, KEK, db and dbx\n"
    );
}

/// Firmware sets it where there is no PK. Beside one it says that the files are not of one moment.
#[test]
fn setup_mode_and_a_platform_key_contradict_each_other() {
    let scratch = copy();
    let setup_mode = |value: u8| {
        write(scratch.path(), "SetupMode", guid::GLOBAL_VARIABLE, &[value]);
    };
    setup_mode(0);
    created(scratch.path(), &["--efivars", "efivars"]);
    fs::remove_file(scratch.path().join("out.json")).unwrap();
    setup_mode(1);
    let message = "error: efivars: SetupMode is 1, as in a guest without a PK, and a PK lies beside it: the files are not of one \
                   moment\n\
                   hint: copy them again; --secure-boot off describes such a guest all the same\n";
    assert_eq!(refused(scratch.path(), &["--efivars", "efivars"]), message);
    // Also where nothing says whether Secure Boot is on: it was taken to be.
    let secure_boot = format!("efivars/SecureBoot-{}", guid::GLOBAL_VARIABLE);
    fs::remove_file(scratch.path().join(secure_boot)).unwrap();
    assert_eq!(refused(scratch.path(), &["--efivars", "efivars"]), message);
    created(
        scratch.path(),
        &["--efivars", "efivars", "--secure-boot", "off"],
    );
}

#[test]
fn without_a_source_the_host_is_not_looked_at() {
    let scratch = support::scratch();
    let output = support::exits(program(scratch.path()).args(["-o", "out.json"]), 2);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("error: give one source: "), "{said}");
    assert!(!scratch.path().join("out.json").exists());
}
