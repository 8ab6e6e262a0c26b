//! Images that `encrypt --profile generic` made have no label: Ubuntu's initramfs would not find their root.

use crate::encrypted::{Encrypted, FLAGS, find_key, ready};
use crate::support::workshop::{refused, stderr, stdout};
use crate::support::{exits, files};

fn for_systemd(more: &[&'static str]) -> Vec<&'static str> {
    [&FLAGS[..], &["--key-object", "systemd-tpm2"], more].concat()
}

#[test]
fn without_a_label_the_sealed_key_file_is_refused_and_tokens_are_not() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::generic();
    let before = files::digest(&encrypted.image);
    assert_eq!(
        refused(encrypted.deploy(&FLAGS).arg("disk.img")),
        "error: disk.img: the LUKS2 container in partition 1 has no label, and Ubuntu's initramfs finds it by the label cloudimg-rootfs-enc\n\
         hint: encrypt with --profile ubuntu, or deploy with --key-object systemd-tpm2 for a guest whose initrd systemd runs\n"
    );
    assert_eq!(files::digest(&encrypted.image), before);
    let deployed = encrypted.deployed(&for_systemd(&[]));
    assert_eq!(find_key(&deployed.image, &deployed.clear_key), None);
    let container = deployed.container();
    let keyslots = container.metadata["keyslots"].as_object().unwrap();
    assert_eq!(keyslots.keys().collect::<Vec<_>>(), ["1"]);
}

/// The label is not asked: both ways to encrypt give images whose tokens say that they are deployed.
#[test]
fn a_second_deploy_knows_the_first_by_its_tokens() {
    if !ready() {
        return;
    }
    for encrypted in [Encrypted::new(), Encrypted::generic()] {
        let deployed = encrypted.deployed(&for_systemd(&[]));
        let before = files::digest(&deployed.image);
        for flags in [for_systemd(&[]), FLAGS.to_vec()] {
            assert_eq!(
                refused(deployed.deploy(&flags).arg("disk.img")),
                "error: disk.img: the image is deployed already: partition 1 holds no clear key, in no header copy\n\
                 hint: --unlock-with FILE seals it again, with a recovery key or a passphrase; or deploy a copy of the encrypted image, with --output\n"
            );
        }
        assert_eq!(files::digest(&deployed.image), before);
    }
}

#[test]
fn a_dry_run_tells_who_reads_the_key_and_where_the_srk_lies() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::generic();
    let plan = |more: &[&'static str]| {
        let mut flags = for_systemd(more);
        flags.push("--dry-run");
        stdout(&exits(encrypted.deploy(&flags).arg("disk.img"), 0))
    };
    let derived = plan(&[]);
    for line in [
        "key object  systemd-tpm2, tokens in the LUKS2 header",
        "SRK place   derived by systemd's legacy template; nothing has to lie in the guest's TPM",
        "keyslot 1   the key that is sealed to the vTPM",
    ] {
        assert!(derived.lines().any(|found| found == line), "{derived}");
    }
    assert!(derived.contains(", no label, header 2\n"), "{derived}");
    assert!(!derived.contains("ESP:"), "{derived}");
    assert!(!derived.contains("keyslot 0 "), "{derived}");
    let persistent = plan(&["--srk-mode", "persistent", "--srk-handle", "0x81000005"]);
    let line = "SRK place   must lie at 0x81000005 in the guest's TPM before the root is opened";
    assert!(
        persistent.lines().any(|found| found == line),
        "{persistent}"
    );
}

#[test]
fn options_of_one_reader_do_not_go_with_the_other() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    for option in [
        &["--srk-mode", "derived"][..],
        &["--srk-handle", "0x81000002"],
        &["--os-separator", "both"],
    ] {
        let flags = [&FLAGS[..], option].concat();
        let text = stderr(&exits(encrypted.deploy(&flags).arg("disk.img"), 2));
        let message = format!("{} goes with --key-object systemd-tpm2 only", option[0]);
        assert!(text.contains(&message), "{text}");
    }
    let flags = for_systemd(&["--srk-mode", "derived", "--srk-handle", "0x81000002"]);
    let text = stderr(&exits(encrypted.deploy(&flags).arg("disk.img"), 2));
    assert!(
        text.contains("--srk-handle does not go with --srk-mode derived"),
        "{text}"
    );
}
