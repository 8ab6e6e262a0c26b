//! The key that is sealed for the guest opens the image, and nothing in the image tells it otherwise.

use crate::encrypted::{FLAGS, SEALED_KEY, WITHOUT_PCRS, ready};
use crate::plain::Plain;
use crate::support::exits;
use crate::support::systemd::Systemd;
use crate::support::tpm::{PROGRAMS, Tpm};
use crate::support::workshop::stdout;
use crate::support::{programs, scratch};
use crate::systemd_guest::SRKS;

#[test]
fn in_the_predicted_states() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    let all = &FLAGS[4..];
    for profiles in [all, &all[..1], &all[1..2], &all[..2]] {
        let flags = [&FLAGS[..4], profiles, &["--overwrite"]].concat();
        let made = plain.provisioned(&flags);
        let composites = plain.composites("guest.img", &[&FLAGS[2..4], profiles].concat());
        let key = made.unsealed(&composites);
        assert_eq!(key.len(), 16);
        assert_eq!(made.container.test_key(0, &key), 0, "{profiles:?}");
        assert_eq!(made.container.test_key(10, &key), 2);
        let dump = made.container.dump();
        assert!(!dump.contains("ubuntu-fde-cloudimg-key"), "{dump}");
        made.esp.assert_clean();
    }
}

/// tpm2-tools unseal on a TPM of the guest, in the state that it will be in.
#[test]
fn on_the_tpm_that_made_the_srk() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    let plain = Plain::new();
    let folder = scratch();
    let tpm = Tpm::start(&folder.path().join("tpm"));
    let public = folder.path().join("srk.pub");
    tpm.make_srk(&["-C", "o", "-G", "rsa"], &public);
    let public = std::fs::read(public).unwrap();
    plain.workshop().write("srk.pub", &public);
    let made = plain.provisioned(&FLAGS);
    let sealed = folder.path().join("sealed-key");
    std::fs::write(&sealed, &made.esp.files()[SEALED_KEY]).unwrap();
    let other = Tpm::start(&folder.path().join("other"));
    other.make_srk(&["-C", "o", "-G", "rsa"], &folder.path().join("other.pub"));
    tpm.unseal(&sealed).unwrap_err();
    for (pcr, digest) in plain.events("guest.img", &FLAGS[2..]) {
        tpm.extend(pcr, &digest);
        other.extend(pcr, &digest);
    }
    let key = tpm.unseal(&sealed).unwrap();
    assert_eq!(made.container.test_key(0, &key), 0);
    other.unseal(&sealed).unwrap_err();
}

#[test]
fn by_a_recovery_key_too() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    let flags = [
        &WITHOUT_PCRS[..],
        &["--recovery-key-out", "new.key", "--print"],
        &["-o", "guest.img", "plain.img"],
    ];
    let output = exits(&mut plain.provision(&flags.concat()), 0);
    assert_eq!(stdout(&output).trim().len(), 8 * 5 + 7);
    let key = std::fs::read(plain.path("new.key")).unwrap();
    let made = crate::plain::Made::of(plain.path("guest.img"));
    assert_eq!(made.container.test_key(1, &key), 0);
    let token = &made.container.metadata["tokens"]["0"];
    assert_eq!(token["type"], "ubuntu-fde-recovery");
}

#[test]
fn by_the_tokens_that_systemd_reads() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    let Some(systemd) = Systemd::find() else {
        return;
    };
    for srk in SRKS {
        let plain = Plain::new();
        plain.workshop().write("srk.pub", &srk.public());
        let flags = ["--key-object", "systemd-tpm2", "--profile", "generic"];
        let made = plain.provisioned(&[&WITHOUT_PCRS[..], &flags].concat());
        let folder = scratch();
        let tpm = Tpm::of_data(srk.tpm, &folder.path().join("tpm"));
        let header = &made.container.header;
        systemd.enroll(header, &tpm).unwrap();
        let opened = systemd.open(header, &tpm, None);
        assert_eq!(opened.answer, "keyslot 1", "{}", opened.log);
        // Keyslot 0 would open by a key that no token has; it is not there.
        let keyslots = made.container.metadata["keyslots"].as_object().unwrap();
        assert_eq!(keyslots.keys().collect::<Vec<_>>(), ["1"]);
        let other = Tpm::start(&folder.path().join("other"));
        let opened = systemd.open(header, &other, None);
        assert!(opened.answer.starts_with('E'), "{}", opened.answer);
    }
}
