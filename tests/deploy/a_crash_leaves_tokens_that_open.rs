//! The same as for the sealed-key file: whatever a crash leaves of a deploy with tokens, the image opens by the clear key
//! or by a token, and deploying it again gives a deployed image.
//!
//! One header update brings the tokens and takes the clear key and its keyslot; the EFI system partition is not written.
//! A sample is judged by cryptsetup, by systemd's reader with the guest's TPM, and by a second run of the program.

use base::secret::SecretBytes;
use base::storage::{FileStorage, Overlay, ReadAt, Slice};
use operations::deploy::{
    DEFAULT_SRK_HANDLE, KeyObject, ReadyToDeploy, RecoverySource, SrkMode, WritePhase,
};

use crate::crashed::{
    self, COPY_BYTES, Run, damage_header, each_state, laid_out, recorded_of_header,
};
use crate::encrypted::{Encrypted, ROOT, WITHOUT_PCRS, find_key};
use crate::support::header_of;
use crate::support::systemd::Systemd;
use crate::support::tpm::Tpm;
use crate::support::workshop::stderr;
use crate::support::{files, scratch};
use crate::systemd_guest::{KEY_OBJECT, SRKS, all_ready};

/// A recovery key.
pub const DIGITS: &str = "00256-00770-01284-01798-02312-02826-03340-03854";
/// Area of the clear key's keyslot, within the container.
const FIRST_AREA: std::ops::Range<u64> = 1 << 20..(1 << 20) + 258_048;
/// What `deploy` answers by then.
const ALREADY: &str = "the image is deployed already";

/// An image beside the storage key of a guest that systemd unlocks.
pub fn for_systemd(encrypted: Encrypted) -> Encrypted {
    encrypted.workshop.write("srk.pub", &SRKS[1].public());
    encrypted
}

fn prepared(encrypted: &Encrypted) -> ReadyToDeploy {
    let run = Run {
        key_object: KeyObject::SystemdTpm2 {
            srk_mode: SrkMode::Auto,
            srk_handle: DEFAULT_SRK_HANDLE,
        },
        public: encrypted.workshop.path("srk.pub"),
        recovery: Some(RecoverySource::Text(DIGITS.to_owned().into())),
        unlock_with: None,
    };
    run.prepared(encrypted)
}

/// Runs through the states, checks one of `every` so many, and hands a sample to `judge`.
pub fn check(
    encrypted: &Encrypted,
    every: usize,
    mut judge: impl FnMut(&Overlay<FileStorage>, WritePhase, bool),
) {
    let root = encrypted.table().byte_range(ROOT);
    let ready = prepared(encrypted);
    let phases = crashed::phases(ready.steps());
    let log = recorded_of_header(encrypted, ready.steps());
    let clear_key = SecretBytes::new(encrypted.clear_key.clone());
    each_state(encrypted, (&phases, &log), every, |state| {
        let (phase, place) = (state.phase, state.place);
        let disk: &dyn ReadAt = state.disk;
        let container = Slice::new(disk, root.start, root.end - root.start);
        let container = container.unwrap();
        let header = header_of(&container).unwrap();
        let metadata = header.metadata();
        let is_deployed = metadata.clear_key().unwrap().is_none();
        let expected = match phase {
            WritePhase::FirstHeader => place.is_whole(),
            phase => phase > WritePhase::FirstHeader,
        };
        assert_eq!(is_deployed, expected, "{phase:?}, {place:?}");
        let mut numbers: Vec<_> = metadata.keyslots.iter().map(|slot| slot.number).collect();
        numbers.sort_unstable();
        let kinds: Vec<_> = metadata
            .tokens
            .iter()
            .map(|token| token.kind.as_str())
            .collect();
        if is_deployed {
            assert_eq!(numbers, [1, 2, 10]);
            assert_eq!(kinds, ["systemd-tpm2", "systemd-recovery"]);
        } else {
            assert_eq!(numbers, [0, 10]);
            assert_eq!(kinds, ["ubuntu-fde-cloudimg-key"]);
        }
        if place.is_whole() {
            let (keyslot, key) = if is_deployed {
                (2, SecretBytes::new(DIGITS.as_bytes().to_vec()))
            } else {
                (0, clear_key.clone())
            };
            header.unlock(Some(keyslot), &key, &container).unwrap();
        }
        if state.is_sample {
            judge(state.disk, phase, is_deployed);
        }
    });
}

/// The area of the clear key's keyslot.
fn first_area(encrypted: &Encrypted) -> Vec<u8> {
    let start = encrypted.table().byte_range(ROOT).start;
    let len = usize::try_from(FIRST_AREA.end - FIRST_AREA.start).unwrap();
    files::read(&encrypted.image, start + FIRST_AREA.start, len)
}

/// True where no sector is what it was.
fn is_overwritten(before: &[u8], after: &[u8]) -> bool {
    before
        .chunks(512)
        .zip(after.chunks(512))
        .all(|(before, after)| before != after)
}

/// systemd's reader opens the state where it is deployed, cryptsetup where it is not; a second run deploys it.
pub fn judge_by_programs(
    (image, systemd): (&Encrypted, &Systemd),
    state: &Overlay<FileStorage>,
    phase: WritePhase,
    is_deployed: bool,
) {
    let copy = laid_out(state, image);
    let tpm_folder = scratch();
    let tpm = Tpm::of_data(SRKS[1].tpm, &tpm_folder.path().join("tpm"));
    let opens = |encrypted: &Encrypted| {
        let container = encrypted.container();
        let opened = systemd.open(&container.header, &tpm, None);
        assert_eq!(opened.answer, "keyslot 1", "{phase:?}: {}", opened.log);
    };
    let container = copy.container();
    let clear_key_opens = container.test_key(0, &copy.clear_key) == 0;
    assert_eq!(clear_key_opens, !is_deployed, "{phase:?}");
    if is_deployed {
        opens(&copy);
    }

    let before = first_area(image);
    let flags = [&KEY_OBJECT[..], &WITHOUT_PCRS].concat();
    let output = copy.deploy(&flags).arg("disk.img").output().unwrap();
    let text = stderr(&output);
    if output.status.code() == Some(1) {
        assert!(text.contains(ALREADY), "{phase:?}: {text}");
        assert!(phase >= WritePhase::SecondHeader, "{phase:?}");
    } else {
        assert_eq!(output.status.code(), Some(0), "{phase:?}: {text}");
        let completed = text.contains("an interrupted deploy was completed");
        assert_eq!(completed, is_deployed, "{text}");
    }
    // Also where nobody knows any more whose the area was.
    assert!(is_overwritten(&before, &first_area(&copy)), "{phase:?}");
    assert_eq!(find_key(&copy.image, &copy.clear_key), None, "{phase:?}");
    assert_ne!(copy.container().test_key(0, &copy.clear_key), 0);
    opens(&copy);
}

#[test]
fn a_crash_at_any_point() {
    let Some(systemd) = all_ready() else { return };
    let encrypted = for_systemd(Encrypted::new());
    check(&encrypted, 1, |state, phase, is_deployed| {
        judge_by_programs((&encrypted, &systemd), state, phase, is_deployed);
    });
}

#[test]
fn a_crash_where_one_header_copy_was_damaged_before() {
    let Some(systemd) = all_ready() else { return };
    for damaged in [0, 1] {
        let encrypted = for_systemd(Encrypted::new());
        damage_header(&encrypted, damaged);
        check(&encrypted, 1, |state, phase, is_deployed| {
            if phase == WritePhase::FirstHeader || phase == WritePhase::SecondHeader {
                judge_by_programs((&encrypted, &systemd), state, phase, is_deployed);
            }
        });
    }
}

#[test]
fn the_area_of_the_clear_keys_keyslot_is_overwritten() {
    if all_ready().is_none() {
        return;
    }
    let encrypted = for_systemd(Encrypted::new());
    let before = first_area(&encrypted);
    let flags = [&KEY_OBJECT[..], &WITHOUT_PCRS].concat();
    let deployed = encrypted.deployed(&flags);
    assert!(is_overwritten(&before, &first_area(&deployed)));
    // The search itself finds what was left.
    assert!(!is_overwritten(&before, &before));
}

/// The loser of the two header copies may hold the clear key, and no dump shows it.
#[test]
fn a_deploy_that_ended_between_the_header_copies_is_completed() {
    let Some(systemd) = all_ready() else { return };
    for (old_copy, is_torn) in [(0, false), (1, false), (0, true), (1, true)] {
        let encrypted = for_systemd(Encrypted::new());
        let start = encrypted.table().byte_range(ROOT).start;
        let at = start + old_copy * COPY_BYTES;
        let old = files::read(&encrypted.image, at, usize::try_from(COPY_BYTES).unwrap());
        let area = first_area(&encrypted);
        let deployed = encrypted.deployed(&[&KEY_OBJECT[..], &WITHOUT_PCRS].concat());
        files::write(&deployed.image, at, &old);
        files::write(&deployed.image, start + FIRST_AREA.start, &area);
        if is_torn {
            files::flip(&deployed.image, at + 450);
        }
        assert!(find_key(&deployed.image, &deployed.clear_key).is_some());
        // Other options than those of the first run: they do not count.
        let mut command = deployed.deploy(&["--srk-pub", "none", "--no-pcr-policy"]);
        let output = crate::support::exits(command.arg("disk.img"), 0);
        assert!(
            stderr(&output).contains("an interrupted deploy was completed"),
            "{}",
            stderr(&output)
        );
        assert_eq!(find_key(&deployed.image, &deployed.clear_key), None);
        assert!(is_overwritten(&area, &first_area(&deployed)));
        let folder = scratch();
        let tpm = Tpm::of_data(SRKS[1].tpm, &folder.path().join("tpm"));
        let opened = systemd.open(&deployed.container().header, &tpm, None);
        assert_eq!(opened.answer, "keyslot 1", "{}", opened.log);
    }
}
