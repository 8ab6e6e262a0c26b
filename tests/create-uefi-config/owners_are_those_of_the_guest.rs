//! The owner of an entry, which PCR 7 measures, is what the guest, the file or the caller says; only what is
//! put together by hand is warned about.

use std::fs;
use std::path::Path;

use firmware::{Database, SignatureList, UefiConfig, config, guid};
use uuid::Uuid;

use crate::{certificate, contents, created, digests, support};

const STRANGER: Uuid = uuid::uuid!("11111111-2222-3333-4444-123456789abc");

fn x509(owner: Uuid, name: &str) -> Vec<u8> {
    let list = SignatureList::x509(owner, &certificate(name));
    list.unwrap().to_bytes()
}

/// A directory of certificates as a Google machine has them, in files that tell no owner.
fn certificates() -> tempfile::TempDir {
    let scratch = support::scratch();
    let folder = scratch.path().join("in");
    fs::create_dir(&folder).unwrap();
    for (file, name) in [
        ("PK.der", "debian-secure-boot-ca"),
        ("KEK-0.der", "debian-secure-boot-ca"),
        ("db-0.der", "microsoft-uefi-ca-2011"),
        ("db-1.der", "microsoft-uefi-ca-2023"),
    ] {
        fs::write(folder.join(file), certificate(name)).unwrap();
    }
    fs::write(folder.join("dbx-0.esl"), digests(&[1])).unwrap();
    scratch
}

/// A copy of efivarfs with these contents of PK, KEK, db and dbx.
fn efivars(folder: &Path, contents: [&[u8]; 4]) {
    fs::create_dir(folder).unwrap();
    for (database, content) in Database::ALL.into_iter().zip(contents) {
        let name = format!("{}-{}", database.name(), database.vendor());
        fs::write(folder.join(name), [&[0x27, 0, 0, 0], content].concat()).unwrap();
    }
}

#[test]
fn an_explicit_owner_counts_for_microsofts_certificates_too() {
    let scratch = certificates();
    let google = guid::GOOGLE.to_string();
    let arguments = ["-i", "in", "--certificate-owner", &google];
    let (config, said, warned) = created(scratch.path(), &arguments);
    assert_eq!(
        config.content(Database::Db),
        [
            x509(guid::GOOGLE, "microsoft-uefi-ca-2011"),
            x509(guid::GOOGLE, "microsoft-uefi-ca-2023"),
        ]
        .concat()
    );
    assert_eq!(warned, "");
    let named = "owner d281fad2-8d88-47a4-9792-5baa47bb1b89 (Google Compute Engine)";
    assert_eq!(said.matches(named).count(), 4, "{said}");
}

#[test]
fn without_it_microsofts_certificates_are_taken_for_microsofts() {
    let scratch = certificates();
    let folder = scratch.path().join("in");
    fs::remove_file(folder.join("KEK-0.der")).unwrap();
    fs::rename(
        folder.join("PK.der"),
        folder.join(format!("PK-{STRANGER}.der")),
    )
    .unwrap();
    let (config, ..) = created(scratch.path(), &["-i", "in"]);
    let db = config.content(Database::Db);
    assert!(db.starts_with(&x509(guid::MICROSOFT, "microsoft-uefi-ca-2011")));
}

#[test]
fn a_name_that_tells_another_owner_counts_and_is_said() {
    let scratch = certificates();
    let folder = scratch.path().join("in");
    let name = format!("db-{STRANGER}-Old.der");
    fs::rename(folder.join("db-0.der"), folder.join(&name)).unwrap();
    let google = guid::GOOGLE.to_string();
    let arguments = ["-i", "in", "--certificate-owner", &google];
    let (config, said, warned) = created(scratch.path(), &arguments);
    let expected = [
        x509(guid::GOOGLE, "microsoft-uefi-ca-2023"),
        x509(STRANGER, "microsoft-uefi-ca-2011"),
    ];
    assert_eq!(config.content(Database::Db), expected.concat());
    assert!(
        said.ends_with(&format!(
            "note: the name of {name} tells the owner {STRANGER}, which counts before --certificate-owner\n"
        )),
        "{said}"
    );
    assert_eq!(
        warned,
        format!(
            "warning: db holds Microsoft's certificate \"Microsoft Corporation UEFI CA 2011\" with the owner {STRANGER}; \
             guests have it with {}, those of Google Compute Engine with {}\n",
            guid::MICROSOFT,
            guid::GOOGLE
        )
    );
}

#[test]
fn what_a_guest_has_is_not_warned_about_and_the_same_lists_by_hand_are() {
    for owner in [guid::GOOGLE, STRANGER, Uuid::nil()] {
        let scratch = support::scratch();
        let db = [
            x509(owner, "microsoft-uefi-ca-2011"),
            x509(owner, "microsoft-uefi-ca-2023"),
        ]
        .concat();
        let contents_of = [&digests(&[1])[..], &digests(&[2]), &db, &digests(&[3])];
        efivars(&scratch.path().join("efivars"), contents_of);
        let (config, _, warned) = created(scratch.path(), &["--efivars", "efivars"]);
        assert_eq!(contents(&config), contents_of);
        assert_eq!(warned, "", "{owner}");

        let folder = scratch.path().join("in");
        fs::create_dir(&folder).unwrap();
        for (name, content) in ["PK", "KEK-1", "db-1", "dbx-1"].iter().zip(contents_of) {
            fs::write(folder.join(format!("{name}.esl")), content).unwrap();
        }
        let (config, _, warned) = created(scratch.path(), &["-i", "in"]);
        assert_eq!(contents(&config), contents_of);
        let count = match owner {
            guid::GOOGLE => 0,
            STRANGER => 2,
            _ => 3,
        };
        assert_eq!(warned.lines().count(), count, "{warned}");
    }
}

#[test]
fn the_reference_reads_no_certificates_whoever_owns_them() {
    let scratch = certificates();
    let read = |more: &[&str]| {
        let arguments = [&["-i", "in", "--compat", "reference"], more].concat();
        created(scratch.path(), &arguments).0
    };
    let plain = read(&[]);
    assert_eq!(plain.get(Database::Db), None);
    assert_eq!(plain.content(Database::Dbx), digests(&[1]));
    assert_eq!(
        read(&["--certificate-owner", &guid::GOOGLE.to_string()]),
        plain
    );
}

#[test]
fn a_machine_of_google_is_described_as_it_is() {
    let (Some(certificates), Some(efivars)) = (
        support::shared("real-machines/gcp-certificates"),
        support::shared("real-machines/gcp-efivars"),
    ) else {
        return;
    };
    let truth = fs::read(certificates.join("truth.json")).unwrap();
    let truth = UefiConfig::from_json(&truth, config::Rules::Ours)
        .unwrap()
        .config;
    let scratch = support::scratch();
    let (google, certificates, efivars) = (
        guid::GOOGLE.to_string(),
        certificates.display().to_string(),
        efivars.display().to_string(),
    );
    let by_certificates = ["-i", &certificates, "--certificate-owner", &google];
    for arguments in [&by_certificates[..], &["--efivars", &efivars]] {
        let (config, said, warned) = created(scratch.path(), arguments);
        assert_eq!(config, truth, "{arguments:?}");
        assert!(!warned.contains("owner"), "{warned}");
        assert!(said.contains("(Google Compute Engine)"), "{said}");
    }
}
