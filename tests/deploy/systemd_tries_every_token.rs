//! An image with several ways to boot has a token for each, and each is found; what is sealed besides PCR 4, 7 and 12 closes.

use crate::encrypted::{Encrypted, FLAGS};
use crate::support::tpm::Tpm;
use crate::support::workshop::refused;
use crate::support::{command, files, run};
use crate::systemd_guest::{
    Deployed, KEY_OBJECT, POLICY_DIFFERS, SRKS, UNSIGNED, all_ready, token_numbers, two_kernels,
    unsigned,
};

#[test]
fn each_kernel_has_a_token_and_every_token_is_tried() {
    let Some(systemd) = all_ready() else { return };
    for srk in &SRKS {
        let encrypted = Encrypted::new();
        encrypted.boots(&two_kernels());
        let deployed = Deployed::of(encrypted, srk, &FLAGS);
        assert_eq!(deployed.branches.len(), 2);
        assert_eq!(token_numbers(&deployed.container), [0, 1]);
        for branch in [0, 1] {
            let tpm = deployed.booted(branch);
            deployed.assert_opens(&systemd, &tpm);
            for token in [0, 1] {
                let opened = systemd.open(&deployed.container.header, &tpm, Some(token));
                if usize::try_from(token).unwrap() == branch {
                    assert_eq!(opened.answer, "keyslot 1", "{}", opened.log);
                } else {
                    assert_eq!(opened.answer, "ENOENT", "{}", opened.log);
                    assert!(opened.log.contains(POLICY_DIFFERS), "{}", opened.log);
                }
            }
        }
        deployed.assert_refused(&systemd, &deployed.reset(), POLICY_DIFFERS);
    }
}

#[test]
fn pcr_15_closes_when_a_volume_key_is_measured() {
    let Some(systemd) = all_ready() else { return };
    let flags = [&FLAGS[..], &["--bind-pcr15"]].concat();
    let encrypted = Encrypted::new();
    encrypted.boots(&two_kernels());
    let deployed = Deployed::of(encrypted, &SRKS[0], &flags);
    let pcrs = &deployed.container.metadata["tokens"]["0"]["tpm2-pcrs"];
    assert_eq!(*pcrs, serde_json::json!([4, 7, 12, 15]));
    let tpm = deployed.booted(0);
    deployed.assert_opens(&systemd, &tpm);
    tpm.extend(15, &hex::encode([9; 32]));
    deployed.assert_refused(&systemd, &tpm, POLICY_DIFFERS);
}

#[test]
fn pcr_11_closes_when_the_initrd_is_left() {
    let Some(systemd) = all_ready() else { return };
    let flags = [&FLAGS[..], &["--bind-pcr11"]].concat();
    let encrypted = Encrypted::new();
    encrypted.boots(&two_kernels());
    let deployed = Deployed::of(encrypted, &SRKS[1], &flags);
    let tpm = deployed.booted(1);
    deployed.assert_opens(&systemd, &tpm);
    // SHA-256 of "leave-initrd".
    let leave = run(command("sh").args(["-c", "printf leave-initrd | sha256sum"]));
    tpm.extend(11, leave.split(' ').next().unwrap());
    deployed.assert_refused(&systemd, &tpm, POLICY_DIFFERS);
}

#[test]
fn a_new_stub_is_sealed_for_with_the_separator_and_without() {
    let Some(systemd) = all_ready() else { return };
    let encrypted = Encrypted::new();
    encrypted.boots(&unsigned("262.1-2", 1));
    let deployed = Deployed::of(encrypted, &SRKS[1], &UNSIGNED);
    assert_eq!(token_numbers(&deployed.container), [0, 1]);
    let has_separator = |events: &[(u32, String)]| events.iter().any(|(pcr, _)| *pcr == 12);
    assert!(has_separator(&deployed.branches[0]) && !has_separator(&deployed.branches[1]));
    for branch in [0, 1] {
        let tpm = deployed.booted(branch);
        deployed.assert_opens(&systemd, &tpm);
        let token = u32::try_from(branch).unwrap();
        let opened = systemd.open(&deployed.container.header, &tpm, Some(token));
        assert_eq!(opened.answer, "keyslot 1", "{}", opened.log);
    }
    let tpm = deployed.booted(0);
    tpm.extend(12, &hex::encode([9; 32]));
    deployed.assert_refused(&systemd, &tpm, POLICY_DIFFERS);
}

#[test]
fn a_header_takes_32_tokens_and_what_goes_beyond_is_refused() {
    let Some(systemd) = all_ready() else { return };
    let of_kernels = |count| {
        let encrypted = Encrypted::new();
        encrypted.boots(&unsigned("257.13", count));
        encrypted
    };
    // RSA and a key at a handle: the longest tokens.
    let deployed = Deployed::of(of_kernels(32), &SRKS[2], &UNSIGNED);
    assert_eq!(
        token_numbers(&deployed.container),
        (0..32).collect::<Vec<_>>()
    );
    // systemd-cryptenroll has no room left for the token with which it shows that it has opened the container.
    let open = |tpm: &Tpm| systemd.open(&deployed.container.header, tpm, None).answer;
    assert_eq!(open(&deployed.booted(31)), "keyslot 1");
    assert_eq!(open(&deployed.reset()), "ENOENT");
    let deployed = Deployed::of(of_kernels(31), &SRKS[1], &UNSIGNED);
    deployed.assert_opens(&systemd, &deployed.booted(30));
    deployed.assert_refused(&systemd, &deployed.reset(), POLICY_DIFFERS);

    let refusal = |count, more: &[&str]| {
        let encrypted = of_kernels(count);
        encrypted.workshop.write("srk.pub", &SRKS[1].public());
        let before = files::digest(&encrypted.image);
        let flags = [&KEY_OBJECT, &UNSIGNED[..], more].concat();
        let message = refused(encrypted.deploy(&flags).arg("disk.img"));
        assert_eq!(files::digest(&encrypted.image), before);
        message
    };
    assert_eq!(
        refusal(33, &[]),
        "error: disk.img: 33 tokens are needed, one for each way to boot 33 kernels, and the LUKS2 header takes 32\n\
         hint: remove kernels from the EFI system partition\n"
    );
    // A recovery key's token takes one of the numbers.
    assert_eq!(
        refusal(32, &["--recovery-key-out", "new.key"]),
        "error: disk.img: 32 tokens are needed, one for each way to boot 32 kernels, and the LUKS2 header takes 31\n\
         hint: remove kernels from the EFI system partition\n"
    );
    assert_eq!(
        refusal(17, &["--os-separator", "both"]),
        "error: disk.img: 34 tokens are needed, one for each way to boot 17 kernels, and the LUKS2 header takes 32\n\
         hint: remove kernels from the EFI system partition; or give --os-separator yes or no in place of both\n"
    );
}

/// The header that cryptsetup makes unless it is told otherwise, and the reference with it: copies of 16 KiB.
#[test]
fn a_small_header_takes_the_tokens_that_fit_and_says_how_many() {
    let Some(systemd) = all_ready() else { return };
    let of_kernels = |count| {
        let encrypted = Encrypted::new();
        encrypted.with_header_of_cryptsetup();
        encrypted.boots(&unsigned("257.13", count));
        encrypted
    };
    let rsa_hint = "; or seal to an ECC SRK, whose tokens are smaller";
    for (srk, fit, smaller) in [
        (&SRKS[2], 9, rsa_hint),
        (&SRKS[0], 15, ""),
        (&SRKS[1], 20, ""),
    ] {
        let encrypted = of_kernels(fit + 1);
        encrypted.workshop.write("srk.pub", &srk.public());
        let before = files::digest(&encrypted.image);
        let flags = [&KEY_OBJECT, &UNSIGNED[..]].concat();
        assert_eq!(
            refused(encrypted.deploy(&flags).arg("disk.img")),
            format!(
                "error: disk.img: {0} tokens are needed, one for each way to boot {0} kernels, and the LUKS2 header takes {fit}\n\
                 hint: remove kernels from the EFI system partition{smaller}; or encrypt anew: containers of encrypt have room for 32 tokens\n",
                fit + 1
            )
        );
        assert_eq!(files::digest(&encrypted.image), before);
        let deployed = Deployed::of(of_kernels(fit), srk, &UNSIGNED);
        let open = |tpm: &Tpm| systemd.open(&deployed.container.header, tpm, None).answer;
        assert_eq!(open(&deployed.booted(fit - 1)), "keyslot 1");
        assert_eq!(open(&deployed.reset()), "ENOENT");
    }
}
