//! What the program says when it refuses a file: whole, with the file and the way out.

use std::fs;

use crate::{digests, refused, support};

/// What is said about a directory `in` with one file beside a good PK.
fn about(name: &str, content: &[u8]) -> String {
    let scratch = support::scratch();
    fs::create_dir(scratch.path().join("in")).unwrap();
    fs::write(scratch.path().join("in/PK.esl"), digests(&[1])).unwrap();
    fs::write(scratch.path().join("in").join(name), content).unwrap();
    refused(scratch.path(), &["-i", "in"])
}

/// What is said about a file that is given with an option.
fn about_file(option: &str, name: &str, content: &[u8]) -> String {
    let scratch = support::scratch();
    fs::write(scratch.path().join(name), content).unwrap();
    refused(scratch.path(), &[option, name])
}

#[test]
fn files_of_a_directory() {
    let mut auth = vec![
        0xe8, 0x07, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 0, 2, 0xf1, 0x0e,
    ];
    auth.resize(40, 0);
    for (name, content, expected) in [
        (
            "db-1.esl",
            b"abc".to_vec(),
            "error: in/db-1.esl: a signature list begins at offset 0 and has 28 bytes at least, but only 3 are left\n",
        ),
        (
            "db-1.esl",
            b"-----BEGIN CERTIFICATE-----\nAA==".to_vec(),
            "error: in/db-1.esl holds a certificate in PEM, and not a signature list\nhint: give the file the extension .pem, or convert it with cert-to-efi-sig-list\n",
        ),
        (
            "db-1.esl",
            auth.clone(),
            "error: in/db-1.esl: an authentication header stands at the start, as in a .auth file, and no signature list\nhint: give the file the extension .auth\n",
        ),
        (
            "db-1.esl",
            [&[7, 0, 0, 0][..], &digests(&[1])].concat(),
            "error: in/db-1.esl: 4 bytes of attributes stand at the start, as in a file of efivarfs, and no signature list\nhint: remove the first 4 bytes, or read the directory with --efivars\n",
        ),
        (
            "db-1.auth",
            digests(&[1]),
            "error: in/db-1.auth: no authentication header at the start (a time, then a certificate of type 0x0ef1)\n",
        ),
        (
            "db-1.auth",
            auth,
            "error: in/db-1.auth: the certificate in the authentication header has the format 00000000-0000-0000-0000-000000000000, not PKCS#7\n",
        ),
        (
            "db-1.pem",
            b"-----BEGIN CERTIFICATE-----\nAA==".to_vec(),
            "error: in/db-1.pem has a certificate in PEM whose text is no base64 or does not end\n",
        ),
        (
            "db-1.pem",
            Vec::new(),
            "error: in/db-1.pem is empty: it holds no certificate\nhint: the program that wrote it failed: write it again, or remove it\n",
        ),
        (
            "db-1.pem",
            b"-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n".to_vec(),
            "error: in/db-1.pem holds PEM of the kind \"EC PRIVATE KEY\", and no certificate\nhint: put the certificate of that key in its place, and keep the key elsewhere\n",
        ),
        (
            "db-1.crt",
            b"-----BEGIN PKCS7-----\nAA==\n-----END PKCS7-----\n".to_vec(),
            "error: in/db-1.crt holds PEM of the kind \"PKCS7\", and no certificate\nhint: openssl x509 -in CERTIFICATE -out FILE writes a certificate in PEM\n",
        ),
        (
            "db-1.esl",
            vec![0; (4 << 20) + 1],
            "error: in/db-1.esl has more than 4 MiB, and is not read\n",
        ),
    ] {
        assert_eq!(about(name, &content), expected);
    }
    let no_certificate = about("db-1.der", b"abc");
    assert!(
        no_certificate.starts_with("error: in/db-1.der: not exactly one certificate in DER: "),
        "{no_certificate}"
    );
    let many = digests(&vec![1; 22_000]);
    assert_eq!(
        about("db-1.esl", &[&many[..], &many].concat()),
        "error: in: db has 2112056 bytes, which is more than 1 MiB\n"
    );
}

#[test]
fn directories() {
    let scratch = support::scratch();
    fs::create_dir(scratch.path().join("in")).unwrap();
    let nothing = "error: in holds no PK.esl, KEK-*.esl, db-*.esl or dbx-*.esl, nor certificates or .auth files of such names\n";
    assert_eq!(refused(scratch.path(), &["-i", "in"]), nothing);
    fs::write(scratch.path().join("in/db.esl"), digests(&[1])).unwrap();
    assert_eq!(
        refused(scratch.path(), &["-i", "in"]),
        format!("{nothing}hint: near misses: db.esl\n")
    );
    fs::write(scratch.path().join("in/db-1.esl"), []).unwrap();
    assert_eq!(
        refused(scratch.path(), &["-i", "in"]),
        "error: in gives an empty configuration: PK, KEK, db and dbx have no content\n"
    );
    assert_eq!(
        refused(scratch.path(), &["-i", "none"]),
        "error: cannot read none\n  because: No such file or directory (os error 2)\n"
    );
    for (name, hint) in [
        ("OVMF_VARS.fd", "a variable store is given with --ovmf-vars"),
        (
            "disk.json",
            "Azure's description of a disk is given with --az-disk-profile",
        ),
        ("db.esl", "-i takes the directory that holds the files"),
    ] {
        fs::write(scratch.path().join(name), []).unwrap();
        assert_eq!(
            refused(scratch.path(), &["-i", name]),
            format!("error: {name} is no directory\nhint: {hint}\n")
        );
    }
}

#[test]
fn the_hosts_variables_where_there_are_none() {
    if fs::exists("/sys/firmware/efi/efivars").unwrap() {
        eprintln!("SKIPPED: this machine was started by UEFI");
        return;
    }
    assert_eq!(
        refused(support::scratch().path(), &["--efivars"]),
        "error: cannot read /sys/firmware/efi/efivars\n  because: No such file or directory (os error 2)\n\
         hint: this machine was not started by UEFI, or efivarfs is not mounted\n"
    );
}

#[test]
fn stores_and_descriptions() {
    assert_eq!(
        about_file("--ovmf-vars", "vars.fd", &[7; 4096]),
        "error: vars.fd: no variable store: no firmware volume has the GUID fff12b8d-7696-4c8b-a985-2747075b4f50\n\
         hint: give the guest's variables, such as OVMF_VARS_4M.ms.fd; OVMF_CODE*.fd is the firmware itself\n"
    );
    assert_eq!(
        about_file("--ovmf-vars", "vars.fd", &[0; 4096]),
        "error: vars.fd: an empty variable store: it holds no variables, hence no keys\n\
         hint: firmware writes the store at its first start; enroll keys, or take the store with keys that your distribution ships (OVMF_VARS_4M.ms.fd)\n"
    );
    assert_eq!(
        about_file("--ovmf-vars", "vars.qcow2", b"QFI\xfb\0\0\0\x03"),
        "error: vars.qcow2: the qcow2 image cannot be read: its header at offset 0 reaches beyond the end: it was cut off\n"
    );
    assert_eq!(
        about_file("--az-disk-profile", "disk.json", b"{}"),
        "error: disk.json: a resource of the type \"\"; Microsoft.Compute/disks and Microsoft.Compute/galleries/images/versions are known\n"
    );
    let append = br#"{"type":"Microsoft.Compute/disks","properties":{"uefiSettings":{"signatureMode":"Append"}}}"#;
    assert_eq!(
        about_file("--az-disk-profile", "disk.json", append),
        "error: disk.json: the settings build upon signatures of the service (signatureMode Append), whose bytes are not known here\n\
         hint: run create-uefi-config --efivars in a guest of the same template, or use a uefi-config.json that was saved from one\n"
    );
}
