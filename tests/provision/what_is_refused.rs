//! What cannot be provisioned is refused before anything is written, in the words of what is wrong.

use crate::encrypted::{Encrypted, FLAGS, WITHOUT_PCRS, ready};
use crate::plain::Plain;
use crate::support::boot_programs::grub;
use crate::support::exits;
use crate::support::workshop::{refused, stderr};

const TO: [&str; 3] = ["-o", "guest.img", "plain.img"];

#[test]
fn command_lines_that_make_no_sense() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    let names = plain.workshop().names();
    let wrong = |arguments: &[&str]| stderr(&exits(&mut plain.provision(arguments), 2));
    for (arguments, said) in [
        (
            [&WITHOUT_PCRS[..], &["plain.img"]].concat(),
            "--output <FILE>",
        ),
        ([&FLAGS[2..], &TO].concat(), "--srk-pub <FILE>"),
        (
            [&FLAGS[..2], &TO].concat(),
            "--add-efi-boot-manager-profile",
        ),
        (
            [&FLAGS[..2], &FLAGS[4..], &TO].concat(),
            "say what the guest's firmware holds",
        ),
        (
            [&FLAGS[..], &["--no-pcr-policy"], &TO].concat(),
            "cannot be used with",
        ),
        (
            [&FLAGS[..], &["--bind-pcr11"], &TO].concat(),
            "--bind-pcr11 goes with --key-object systemd-tpm2 only",
        ),
        (
            [&FLAGS[..], &["--srk-mode", "derived"], &TO].concat(),
            "--srk-mode goes with --key-object systemd-tpm2 only",
        ),
        (
            [&FLAGS[..], &["--print"], &TO].concat(),
            "--recovery-key-out",
        ),
        (
            [&FLAGS[..], &["--recovery-key-file", "k", "--print"], &TO].concat(),
            "cannot be used with",
        ),
        (
            [
                &FLAGS[..],
                &["--recovery-key-out", "k", "--print", "--dry-run"],
                &TO,
            ]
            .concat(),
            "cannot be used with",
        ),
        (
            [&FLAGS[..], &["-o", "-", "plain.img"]].concat(),
            "images are files",
        ),
    ] {
        let text = wrong(&arguments);
        assert!(text.contains(said), "{said} in {text}");
    }
    let text = wrong(&FLAGS[..4]);
    assert!(text.contains("encrypt-cloud-image provision"), "{text}");
    assert_eq!(plain.workshop().names(), names);
}

#[test]
fn sources_outputs_and_guests_that_do_not_do() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    plain.workshop().write("old.img", b"precious");
    plain.workshop().write("bad.pub", b"no public area");
    let names = plain.workshop().names();
    let refusal = |more: &[&str]| {
        let arguments = [&WITHOUT_PCRS[2..], more].concat();
        refused(&mut plain.provision(&arguments))
    };
    let srk = ["--srk-pub", "srk.pub"];
    let with_srk = |more: &[&'static str]| refusal(&[&srk[..], more].concat());
    assert_eq!(
        with_srk(&["-o", "old.img", "plain.img"]),
        "error: old.img: the output exists already\nhint: --overwrite replaces it\n"
    );
    assert_eq!(
        with_srk(&["--overwrite", "-o", "plain.img", "plain.img"]),
        "error: plain.img: the output is the source itself\nhint: name another file\n"
    );
    assert_eq!(
        with_srk(&["-o", "guest.img", "disk.img"]),
        "error: disk.img: the root partition is already encrypted by this program, and not deployed yet\n\
         hint: an image is encrypted once; deploy binds it to a guest\n"
    );
    assert_eq!(
        with_srk(&["--profile", "generic", "-o", "guest.img", "plain.img"]),
        "error: plain.img: the LUKS2 container in partition 1 has no label, and Ubuntu's initramfs finds it by the label cloudimg-rootfs-enc\n\
         hint: add --profile ubuntu, or --key-object systemd-tpm2 for a guest whose initrd systemd runs\n"
    );
    assert_eq!(
        with_srk(&["--report", "srk.pub", "-o", "guest.img", "plain.img"]),
        "error: --report and --srk-pub name one file: srk.pub\n"
    );
    assert_eq!(
        with_srk(&[
            "--recovery-key-out",
            "old.img",
            "-o",
            "guest.img",
            "plain.img"
        ]),
        "error: --recovery-key-out: old.img exists already\n\
         hint: --recovery-key-file takes a key that is there already\n"
    );
    let message = refusal(&["--srk-pub", "bad.pub", "-o", "guest.img", "plain.img"]);
    assert!(message.starts_with("error: --srk-pub: "), "{message}");
    assert_eq!(plain.workshop().names(), names);
}

/// The same plan as `deploy`'s: nothing is sealed to what is predicted in part, and nothing is written.
#[test]
fn a_boot_that_is_predicted_in_part() {
    if !ready() {
        return;
    }
    let plain = Encrypted::plain();
    plain.boots(&[("grubx64.efi".to_owned(), grub())]);
    let names = plain.workshop.names();
    let provision = |more: &[&str]| {
        let mut provision = plain.workshop.command(plain.workshop.program());
        provision.arg("provision").args(&FLAGS[..5]);
        provision.args(["--no-verify-signatures", "-o", "guest.img", "disk.img"]);
        provision.args(more);
        refused(&mut provision)
    };
    for more in [
        &[][..],
        &["--key-object", "systemd-tpm2"],
        &["--allow-uncovered-initrd"],
    ] {
        let message = provision(more);
        assert!(
            message.starts_with("error: disk.img: grubx64.efi: is GRUB: the kernel that it loads is measured into PCR 4 as well")
                && message.contains("; a key that is sealed to PCR 4 would stay locked\nhint: "),
            "{message}"
        );
        assert_eq!(plain.workshop.names(), names);
    }
}
