//! SRKs of both kinds, with and without a template.

use std::fs;

use crate::encrypted::{
    Encrypted, SEALED_KEY, TEMPLATE, WITHOUT_PCRS, open_offline, ready, soft_srk, standard_srk,
};
use crate::support::tpm::{self, Tpm};
use crate::support::workshop::{refused, stderr};
use crate::support::{exits, programs, run, scratch};

#[test]
fn every_kind_of_srk_is_sealed_to() {
    if !ready() {
        return;
    }
    for name in ["soft-rsa", "soft-ecc", "soft-rsa-aes256", "soft-ecc-aes256"] {
        let encrypted = Encrypted::new();
        let srk = fs::read(soft_srk(name)).unwrap();
        encrypted.workshop.write("srk.pub", &srk);
        let key = encrypted.clear_key.clone();
        let deployed = encrypted.deployed(&WITHOUT_PCRS);
        let files = deployed.esp().files();
        // The digest over no value at all.
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(
            open_offline(&files[SEALED_KEY], name, &[nothing.to_owned()]),
            key,
            "{name}"
        );
        assert!(!files[TEMPLATE].is_empty());
    }
}

/// The standard SRK of a TPM, in the four forms that `tpm2_readpublic` writes.
#[test]
fn an_srk_comes_in_four_forms() {
    if !ready() || !programs(&tpm::PROGRAMS) {
        return;
    }
    let encrypted = Encrypted::new();
    let folder = scratch();
    let path = |name: &str| folder.path().join(name);
    let tpm = Tpm::start(&path("tpm"));
    fs::write(path("zeros"), [&[0, 1][..], &[0; 256]].concat()).unwrap();
    let attributes =
        "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda";
    let mut create = tpm.tool("tpm2_createprimary");
    create.args(["-a", attributes, "-u"]).arg(path("zeros"));
    run(create.arg("-c").arg(path("srk.ctx")));
    tpm.flush_objects();
    for form in ["tss", "tpmt", "pem", "der"] {
        let mut read = tpm.tool("tpm2_readpublic");
        read.args(["-f", form, "-o"]).arg(path(form));
        read.arg("-n").arg(path("name"));
        run(read.arg("-c").arg(path("srk.ctx")));
        tpm.flush_objects();
        let name = hex::encode(fs::read(path("name")).unwrap());
        let srk = fs::read(path(form)).unwrap();
        encrypted.workshop.write("srk.pub", &srk);
        let report = format!("{form}.json");
        let flags = [
            &WITHOUT_PCRS[..],
            &["--standard-srk-template", "--report", &report],
            &["--overwrite", "-o", "copy.img", "disk.img"],
        ];
        let output = exits(&mut encrypted.deploy(&flags.concat()), 0);
        assert!(!stderr(&output).contains("warning: --standard"), "{form}");
        let report = fs::read(encrypted.workshop.path(&report)).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["srk"]["name"], name, "{form}");
    }
}

#[test]
fn a_stale_template_is_removed_for_the_standard_one() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let stale = encrypted.workshop.write("stale", &[7; 1000]);
    encrypted.change_esp("mcopy", &[stale.to_str().unwrap(), "::/tpm2-srk.tmpl"]);
    let mut before = encrypted.esp().files();
    assert!(before.remove(TEMPLATE).is_some());
    encrypted.workshop.write("srk.pub", &standard_srk());
    let flags = [&WITHOUT_PCRS[..], &["--standard-srk-template"]].concat();
    let output = exits(encrypted.deploy(&flags).arg("disk.img"), 0);
    assert!(
        stderr(&output).contains(
            "warning: --standard-srk-template: tpm2-srk.tmpl of an earlier deploy is removed\n"
        ),
        "{}",
        stderr(&output)
    );
    let esp = encrypted.esp();
    esp.assert_clean();
    let mut files = esp.files();
    assert!(files.remove(SEALED_KEY).is_some());
    assert!(files == before);
}

/// Each field of the public area by which a key is not the standard one, and an ECC key in PEM.
#[test]
fn a_key_that_the_standard_template_does_not_make_is_refused() {
    if !ready() || !programs(&["openssl"]) {
        return;
    }
    let encrypted = Encrypted::new();
    let private = encrypted.workshop.path("private.pem");
    let mut openssl = crate::support::command("openssl");
    openssl.args([
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]);
    exits(openssl.arg("-out").arg(&private), 0);
    let mut openssl = crate::support::command("openssl");
    openssl.args(["pkey", "-pubout", "-in"]).arg(&private);
    let ecc_in_pem = exits(&mut openssl, 0).stdout;
    let changed = |place: usize, bytes: &[u8]| {
        let mut public = standard_srk();
        public[place..][..bytes.len()].copy_from_slice(bytes);
        public
    };
    let plain = fs::read(soft_srk("soft-rsa")).unwrap();
    let before = crate::support::files::digest(&encrypted.image);
    for (srk, difference) in [
        (
            plain,
            "its attributes are 0x00030072, the standard ones are 0x00030472 (noda; tpm2_createprimary leaves it out)",
        ),
        (
            // keyBits of the cipher stand behind the empty policy and the cipher's name.
            changed(14, &[1, 0]),
            "it encrypts with AES-256, the standard one with AES-128",
        ),
        (
            // The exponent, behind the mode, the scheme and the key's bits.
            changed(22, &[0, 1, 0, 1]),
            "its exponent is written as 65537, that of the standard one as 0",
        ),
        (
            fs::read(soft_srk("soft-ecc")).unwrap(),
            "it is an ECC key, the standard one is RSA",
        ),
        (ecc_in_pem, "it is an ECC key, the standard one is RSA"),
    ] {
        encrypted.workshop.write("srk.pub", &srk);
        let flags = [&WITHOUT_PCRS[..], &["--standard-srk-template"]].concat();
        assert_eq!(
            refused(encrypted.deploy(&flags).arg("disk.img")),
            format!(
                "error: --standard-srk-template: that template does not make the SRK in srk.pub: {difference}; the guest would make another SRK, and never unlock\n\
                 hint: leave --standard-srk-template out, and give the output of tpm2_readpublic -o: the guest gets a template of this key\n"
            )
        );
    }
    assert_eq!(crate::support::files::digest(&encrypted.image), before);
}

#[test]
fn a_longer_stale_template_leaves_no_tail() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let stale = encrypted.workshop.write("stale", &[7; 5000]);
    encrypted.change_esp("mcopy", &[stale.to_str().unwrap(), "::/tpm2-srk.tmpl"]);
    let deployed = encrypted.deployed(&WITHOUT_PCRS);
    let esp = deployed.esp();
    esp.assert_clean();
    let fresh = Encrypted::new().deployed(&WITHOUT_PCRS);
    assert_eq!(esp.files()[TEMPLATE], fresh.esp().files()[TEMPLATE]);
}

/// `PolicyA` of the endorsement keys.
const POLICY_A: &str = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";

/// RSA or ECC, for each reader.
#[test]
fn an_endorsement_key_is_refused_with_what_to_fetch_instead() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    for name in ["soft-rsa", "soft-ecc"] {
        let mut area = fs::read(soft_srk(name)).unwrap();
        let policy = hex::decode(POLICY_A).unwrap();
        area.splice(6..12, [&[0, 3, 0, 0xb2, 0, 32][..], &policy].concat());
        let len = u16::try_from(area.len() - 2).unwrap();
        area[..2].copy_from_slice(&len.to_be_bytes());
        encrypted.workshop.write("srk.pub", &area);
        for reader in ["secboot", "systemd-tpm2"] {
            let flags = [&WITHOUT_PCRS[..], &["--key-object", reader, "disk.img"]].concat();
            assert_eq!(
                refused(&mut encrypted.deploy(&flags)),
                format!(
                    "error: --srk-pub: srk.pub: the key is an endorsement key, not the storage root key: its authPolicy is {POLICY_A}\n\
                     hint: read the SRK on the guest: tpm2_createprimary -C o -c srk.ctx && tpm2_readpublic -c srk.ctx -o srk.pub\n"
                ),
                "{name} {reader}"
            );
        }
    }
}

#[test]
fn a_key_alone_needs_the_standard_template() {
    if !ready() || !crate::support::programs(&["openssl"]) {
        return;
    }
    let encrypted = Encrypted::new();
    let mut openssl = crate::support::command("openssl");
    openssl.args([
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
    ]);
    let private = encrypted.workshop.path("private.pem");
    exits(openssl.arg("-out").arg(&private), 0);
    let mut openssl = crate::support::command("openssl");
    let public = encrypted.workshop.path("srk.pub");
    exits(
        openssl
            .args(["pkey", "-pubout", "-in"])
            .arg(&private)
            .arg("-out")
            .arg(&public),
        0,
    );
    assert_eq!(
        refused(encrypted.deploy(&WITHOUT_PCRS).arg("disk.img")),
        "error: --srk-pub: srk.pub holds a key alone, and the guest's SRK has attributes, too\n\
         hint: add --standard-srk-template if the SRK is the standard one, or give the output of tpm2_readpublic\n"
    );
    let flags = [&WITHOUT_PCRS[..], &["--standard-srk-template"]].concat();
    let output = exits(encrypted.deploy(&flags).arg("disk.img"), 0);
    assert!(
        stderr(&output).contains(
            "warning: --srk-pub: srk.pub holds a key without attributes, which do not show whether it is the guest's SRK or its endorsement key, as clouds hand out; no guest unlocks what is sealed to the latter\n"
        ),
        "{}",
        stderr(&output)
    );
}

#[test]
fn unique_data_of_both_forms_come_into_the_template() {
    if !ready() {
        return;
    }
    let unique: Vec<u8> = (0..=255).collect();
    let template = |file: &[u8]| {
        let encrypted = Encrypted::new();
        encrypted.workshop.write("unique", file);
        let flags = [&WITHOUT_PCRS[..], &["--srk-template-unique-data", "unique"]].concat();
        let output = exits(encrypted.deploy(&flags).arg("disk.img"), 0);
        let note = stderr(&output).contains(
            "warning: --srk-template-unique-data: unique is in the form of tpm2-tools and was taken as that\n",
        );
        (encrypted.esp().files()[TEMPLATE].clone(), note)
    };
    let (wire, wire_note) = template(&[&[1, 0], &unique[..]].concat());
    let (tools, tools_note) = template(&[&[0, 1], &unique[..]].concat());
    assert_eq!(wire, tools);
    assert_eq!((wire_note, tools_note), (false, true));
    assert!(wire.ends_with(&unique));

    let encrypted = Encrypted::new();
    encrypted.workshop.write("unique", &[9; 7]);
    let flags = [&WITHOUT_PCRS[..], &["--srk-template-unique-data", "unique"]].concat();
    let message = refused(encrypted.deploy(&flags).arg("disk.img"));
    assert!(
        message.starts_with("error: --srk-template-unique-data: unique: "),
        "{message}"
    );
}
