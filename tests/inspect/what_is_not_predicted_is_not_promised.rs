//! Where more is measured than can be predicted, `inspect --against` judges by the other PCRs alone.

use std::collections::BTreeSet;
use std::ops::Deref;

use base::secret::{SecretBytes, SystemEntropy};
use keyobject::secboot::{self, PcrProfile};
use serde_json::Value;
use tpm::{Bank, Selection, SrkFile};

use crate::encrypted::{Encrypted, SEALED_KEY};
use crate::support::boot_programs::{Signer, grub, kernel, systemd_boot, unified, unknown};
use crate::support::workshop::{stderr, stdout};
use crate::support::{exits, programs};
use crate::systemd_guest::KEY_OBJECT;
use crate::{inspect, judged, ways};

const AGAINST: [&str; 2] = ["--uefi-config", "uefi-config.json"];
const SRK: [&str; 2] = ["--srk-pub", "srk.pub"];
const PCR_4: &str = "--add-efi-boot-manager-profile";
const PCR_12: &str = "--add-ubuntu-kernel-profile";
const GRUB: &str = "grubx64.efi: is GRUB: the kernel that it loads";

fn ready() -> bool {
    crate::encrypted::ready() && programs(&["openssl", "sbsign"])
}

/// An image, and somebody whose signatures its guest trusts.
struct Trusting {
    image: Encrypted,
    signer: Signer,
}

impl Deref for Trusting {
    type Target = Encrypted;

    fn deref(&self) -> &Encrypted {
        &self.image
    }
}

/// An image whose shim loads a unified kernel image, sealed to the PCRs of these flags.
fn deployed(flags: &[&str]) -> Trusting {
    let (image, signer) = (Encrypted::new(), Signer::new());
    let kernel = signer.signed(&unified("257.1"));
    image.boots(&[("grubx64.efi".to_owned(), kernel)]);
    image.trusts(&signer.certificate());
    let image = image.deployed(&[&SRK[..], &AGAINST, flags].concat());
    Trusting { image, signer }
}

/// Puts another program in the place of the kernel image.
fn boots_now(image: &Trusting, program: &[u8]) {
    put(image, &image.signer.signed(program));
}

fn put(image: &Encrypted, program: &[u8]) {
    let file = image.workshop.write("program", program);
    let to = "::/EFI/ubuntu/grubx64.efi";
    image.change_esp("mcopy", &["-o", file.to_str().unwrap(), to]);
}

/// Seals to what `predict` shows, as programs do that take it for the whole.
fn seal_to_what_is_shown(image: &Encrypted, flags: &[&str]) {
    let mut predict = image.workshop.command(image.workshop.program());
    predict.args(["predict", "--json", "disk.img"]).args(flags);
    let shown = exits(predict.args(AGAINST), 0);
    let shown: Value = serde_json::from_str(&stdout(&shown)).unwrap();
    let composites = shown["branches"].as_array().unwrap().iter();
    let composites: Vec<_> = composites
        .map(|branch| hex::decode(branch["composite"].as_str().unwrap()).unwrap())
        .collect();
    let pcrs = shown["selection"].as_array().unwrap().iter();
    let pcrs: BTreeSet<u8> = pcrs
        .map(|pcr| u8::try_from(pcr.as_u64().unwrap()).unwrap())
        .collect();
    let selection = Selection {
        bank: Bank::Sha256,
        pcrs,
    };
    let profile = PcrProfile::new(selection, composites.iter().map(Vec::as_slice)).unwrap();
    let srk = std::fs::read(image.workshop.path("srk.pub")).unwrap();
    let SrkFile::PublicArea(parent) = SrkFile::read(&srk).unwrap() else {
        panic!("a public area")
    };
    let key = SecretBytes::new(vec![7; 16]);
    let sealed = secboot::seal(&parent, &profile, &key, &mut SystemEntropy::new()).unwrap();
    let file = image.workshop.write("sealed", &sealed);
    let to = format!("::/{SEALED_KEY}");
    image.change_esp("mcopy", &["-o", file.to_str().unwrap(), &to]);
}

/// The verdict on the one way to boot: whether it unlocks, and why.
#[track_caller]
fn verdict(image: &Encrypted, flags: &[&str]) -> (Value, String) {
    let ways = ways(&judged(image, &[&AGAINST[..], flags].concat()));
    let [way] = &ways[..] else { panic!("{ways:?}") };
    let why = way["reason"].as_str().unwrap_or_default().to_owned();
    (way["unlocks"].clone(), why)
}

#[test]
fn a_key_that_is_sealed_to_less_than_is_measured_does_not_come_out() {
    if !ready() {
        return;
    }
    for (program, said) in [
        (grub(), GRUB),
        (systemd_boot(), "grubx64.efi: is systemd-boot: "),
    ] {
        let image = deployed(&[PCR_4]);
        boots_now(&image, &program);
        seal_to_what_is_shown(&image, &[PCR_4]);
        let (unlocks, why) = verdict(&image, &[]);
        assert_eq!(unlocks, false);
        let sealed_to_less = format!("sealed to less than is measured: {said}");
        assert!(why.starts_with(&sealed_to_less), "{why}");
        let table = inspect(&image, &[&["--against"], &AGAINST[..]].concat());
        let table = stdout(&{ table }.output().unwrap());
        let line = format!("grubx64.efi: does not unlock: it is {sealed_to_less}");
        assert!(table.contains(&line), "{table}");
    }
}

/// An unknown program may load another one, and an addon may be for another kernel.
#[test]
fn what_may_be_measured_besides_makes_it_unknown() {
    if !ready() {
        return;
    }
    let image = deployed(&[PCR_4]);
    boots_now(&image, &unknown());
    seal_to_what_is_shown(&image, &[PCR_4]);
    let (unlocks, why) = verdict(&image, &[]);
    assert_eq!(unlocks, Value::Null);
    assert!(
        why.starts_with("grubx64.efi: is no unified kernel image"),
        "{why}"
    );

    let image = deployed(&[PCR_4]);
    assert_eq!(verdict(&image, &[]).0, true);
    image.change_esp("mmd", &["::/loader", "::/loader/addons"]);
    let addon = image.workshop.write("addon", &unknown());
    let to = "::/loader/addons/debug.addon.efi";
    image.change_esp("mcopy", &[addon.to_str().unwrap(), to]);
    let (unlocks, why) = verdict(&image, &[]);
    assert_eq!(unlocks, Value::Null);
    let said = "grubx64.efi: its systemd-stub may load loader/addons/debug.addon.efi: ";
    assert!(why.starts_with(said), "{why}");
}

/// The guest's own PCR 4 has more in it than is predicted: whether that is what was sealed to, nobody can say here.
#[test]
fn a_lock_on_such_a_pcr_is_not_judged() {
    if !ready() {
        return;
    }
    let image = deployed(&[PCR_4]);
    boots_now(&image, &grub());
    let (unlocks, why) = verdict(&image, &[]);
    assert_eq!(unlocks, Value::Null);
    assert!(why.starts_with(GRUB), "{why}");
}

#[test]
fn the_other_pcrs_are_judged_and_what_they_leave_open_is_said() {
    if !ready() {
        return;
    }
    for (flags, program, said) in [
        (&[PCR_12][..], grub(), GRUB),
        (&[PCR_12], kernel(), "grubx64.efi: is a kernel alone"),
        (&[PCR_4, PCR_12], kernel(), "grubx64.efi: is a kernel alone"),
    ] {
        let image = deployed(flags);
        boots_now(&image, &program);
        seal_to_what_is_shown(&image, flags);
        assert_eq!(verdict(&image, &[]), (true.into(), String::new()));
        let output = exits(
            &mut inspect(&image, &[&["--against"], &AGAINST[..]].concat()),
            0,
        );
        let warning = format!("warning: {said}");
        assert!(stderr(&output).contains(&warning), "{}", stderr(&output));
    }
}

#[test]
fn a_shim_alone_opens_nothing() {
    if !ready() {
        return;
    }
    let image = deployed(&[PCR_4]);
    image.change_esp("mdel", &["::/EFI/ubuntu/grubx64.efi"]);
    seal_to_what_is_shown(&image, &[PCR_4, "--allow-no-kernel"]);
    let (unlocks, why) = verdict(&image, &["--allow-no-kernel"]);
    assert_eq!(unlocks, false);
    assert!(
        why.starts_with("does not start: shimx64.efi: is a shim, and loads no kernel"),
        "{why}"
    );
}

/// GRUB starts well: that nothing is measured into PCR 11 then is no reason to say that it does not.
#[test]
fn what_starts_is_not_said_not_to_start() {
    if !ready() {
        return;
    }
    let image = deployed(&[&[PCR_4, "--bind-pcr11"][..], &KEY_OBJECT].concat());
    boots_now(&image, &grub());
    let (unlocks, why) = verdict(&image, &[]);
    assert_eq!(unlocks, Value::Null);
    assert!(
        why.starts_with("grubx64.efi: is no unified kernel image"),
        "{why}"
    );
}

/// Where signatures are not looked at, values that fit say nothing of a program that does not start.
#[test]
fn what_does_not_start_is_not_promised() {
    if !ready() {
        return;
    }
    let image = deployed(&[PCR_12]);
    put(&image, &unified("257.1"));
    let (unlocks, why) = verdict(&image, &["--no-verify-signatures"]);
    assert_eq!(unlocks, Value::Null);
    assert_eq!(
        why,
        "grubx64.efi: has no signature and its digest is not in db and in shim's own certificates: it cannot boot under Secure Boot; --no-verify-signatures predicts it all the same, and no guest with Secure Boot on asks for a key then"
    );
    let (unlocks, why) = verdict(&image, &[]);
    assert_eq!(unlocks, false);
    assert!(
        why.starts_with("does not start: grubx64.efi: has no signature"),
        "{why}"
    );
}
