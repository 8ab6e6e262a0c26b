//! A key is taken for a storage root key only where a TPM makes it as one, keeps it, and loads below it with an empty
//! password.

use std::fs;
use std::path::Path;

use ::tpm::StorageParent;

use crate::support::tpm::{self, Tpm};
use crate::support::{programs, run, scratch};

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, decrypt.
const PLAIN: u32 = 0x0003_0072;

/// Where `objectAttributes` stand in a `TPM2B_PUBLIC`.
const ATTRIBUTES: std::ops::Range<usize> = 6..10;

fn answer(area: &[u8]) -> Result<(), String> {
    let parent = StorageParent::read(area);
    let checked = parent.and_then(|parent| parent.check_is_srk());
    checked.map_err(|problem| problem.to_string())
}

/// True where the TPM makes a P-256 key with these attributes in the owner hierarchy, keeps it at a handle, and makes
/// an object below it without a password.
fn is_srk_to(tpm: &Tpm, attributes: u32, folder: &Path) -> bool {
    let path = |name: &str| folder.join(name);
    let works = |tool: &str, arguments: &[&str]| {
        let mut command = tpm.tool(tool);
        command.args(arguments).current_dir(folder);
        let is_done = command.output().unwrap().status.success();
        tpm.flush_objects();
        is_done
    };
    fs::write(path("data"), "0123456789abcdef").unwrap();
    let attributes = format!("{attributes:#010x}");
    works(
        "tpm2_createprimary",
        &["-C", "o", "-G", "ecc", "-a", &attributes, "-c", "key.ctx"],
    ) && works(
        "tpm2_create",
        &[
            "-C",
            "key.ctx",
            "-i",
            "data",
            "-u",
            "child.pub",
            "-r",
            "child.priv",
        ],
    ) && works(
        "tpm2_evictcontrol",
        &["-C", "o", "-c", "key.ctx", "0x81000007"],
    ) && works("tpm2_evictcontrol", &["-C", "o", "-c", "0x81000007"])
}

#[test]
fn what_is_taken_for_an_srk_is_one_to_a_tpm() {
    if !programs(&tpm::PROGRAMS) || !programs(&["tpm2_create"]) {
        return;
    }
    let folder = scratch();
    let tpm = Tpm::start(&folder.path().join("tpm"));
    let public = folder.path().join("srk.pub");
    tpm.make_srk(&["-G", "ecc"], &public);
    let good = fs::read(&public).unwrap();
    assert_eq!(good[ATTRIBUTES], PLAIN.to_be_bytes());
    let mut taken = Vec::new();
    for bit in 0..32 {
        let attributes = PLAIN ^ (1 << bit);
        let mut area = good.clone();
        area[ATTRIBUTES].copy_from_slice(&attributes.to_be_bytes());
        if answer(&area).is_ok() {
            assert!(
                is_srk_to(&tpm, attributes, folder.path()),
                "{attributes:#010x}"
            );
            taken.push(attributes);
        }
    }
    // noDA; and adminWithPolicy, which asks for a policy only where somebody changes the key.
    assert_eq!(taken, [PLAIN | 0x80, PLAIN | 0x400]);
    assert!(is_srk_to(&tpm, PLAIN, folder.path()) && answer(&good).is_ok());
    // The judge says no, too.
    assert!(!is_srk_to(&tpm, PLAIN & !0x40, folder.path()));
}

/// What clouds hand out as the machine's key. Its name in the TPM is another than that of any SRK.
#[test]
fn an_endorsement_key_is_no_srk() {
    if !programs(&tpm::PROGRAMS) || !programs(&["tpm2_createek"]) {
        return;
    }
    let folder = scratch();
    let tpm = Tpm::start(&folder.path().join("tpm"));
    for kind in ["rsa", "ecc"] {
        let public = folder.path().join(kind);
        let mut create = tpm.tool("tpm2_createek");
        create
            .args(["-G", kind, "-c"])
            .arg(folder.path().join("ek.ctx"));
        run(create.arg("-u").arg(&public));
        tpm.flush_objects();
        assert_eq!(
            answer(&fs::read(&public).unwrap()).unwrap_err(),
            "the key is an endorsement key, not the storage root key: its authPolicy is \
             837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa",
            "{kind}"
        );
    }
}

#[test]
fn a_key_is_refused_by_the_field_that_differs() {
    let good = crate::file("soft-ecc.pub");
    assert_eq!(answer(&good), Ok(()));
    let with = |attributes: u32| {
        let mut area = good.clone();
        area[ATTRIBUTES].copy_from_slice(&attributes.to_be_bytes());
        answer(&area).unwrap_err()
    };
    for (attributes, message) in [
        (
            0x0003_0032,
            "0x00030032 without userWithAuth, so that its empty password allows nothing",
        ),
        (
            0x0003_0052,
            "0x00030052 without sensitiveDataOrigin, so that no TPM makes it from a template",
        ),
        (
            0x0003_0070,
            "0x00030070 without fixedTPM, so that it may leave its TPM",
        ),
        (
            0x0003_0062,
            "0x00030062 without fixedParent, so that it may leave its TPM",
        ),
        (
            0x0003_0076,
            "0x00030076 with stClear, so that it cannot stay in the TPM at a handle",
        ),
        (
            0x0003_0872,
            "0x00030872 with encryptedDuplication, so that it may leave its TPM",
        ),
        (
            0x000b_0072,
            "0x000b0072 with x509sign, which is for keys that sign",
        ),
    ] {
        assert_eq!(
            with(attributes),
            format!("the key is no storage root key: attributes {message}")
        );
    }
    // A policy in place of none: 32 bytes behind the attributes' length field.
    let mut area = good.clone();
    area.splice(10..12, [&[0, 32][..], &[7; 32]].concat());
    let len = u16::try_from(area.len() - 2).unwrap();
    area[..2].copy_from_slice(&len.to_be_bytes());
    assert_eq!(
        answer(&area).unwrap_err(),
        format!(
            "the key is no storage root key: its authPolicy is {}, and no reader makes one with a policy",
            "07".repeat(32)
        )
    );
}
