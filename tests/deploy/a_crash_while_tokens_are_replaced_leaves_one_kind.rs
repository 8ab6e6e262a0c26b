//! Tokens and their keyslot are replaced in one header update: whatever a crash leaves of it, the header that counts has
//! all of the old tokens or all of the new ones, and what they name opens. A second run ends well.

use base::storage::{FileStorage, Overlay, ReadAt, Slice};
use operations::deploy::{DEFAULT_SRK_HANDLE, KeyObject, ReadyToDeploy, SrkMode, WritePhase};

use crate::a_crash_leaves_tokens_that_open::for_systemd;
use crate::crashed::{self, Run, damage_header, each_state, laid_out, recorded_of_header};
use crate::encrypted::{Encrypted, ROOT, WITHOUT_PCRS};
use crate::resealed::{again, deployed_of};
use crate::support::header_of;
use crate::support::systemd::Systemd;
use crate::support::tpm::Tpm;
use crate::support::workshop::stderr;
use crate::support::{exits, scratch};
use crate::systemd_guest::{KEY_OBJECT, SRKS, all_ready};

/// An image that is deployed with tokens.
pub fn with_tokens(image: Encrypted) -> Encrypted {
    let flags = [&KEY_OBJECT[..], &WITHOUT_PCRS].concat();
    deployed_of(for_systemd(image), &flags)
}

fn prepared(deployed: &Encrypted) -> ReadyToDeploy {
    let run = Run {
        key_object: KeyObject::SystemdTpm2 {
            srk_mode: SrkMode::Auto,
            srk_handle: DEFAULT_SRK_HANDLE,
        },
        public: deployed.workshop.path("srk.pub"),
        recovery: None,
        unlock_with: Some(deployed.workshop.path("recovery.key")),
    };
    run.prepared(deployed)
}

/// Runs through the states, checks one of `every` so many, and hands a sample to `judge`, with the keyslot that the tokens name.
pub fn check(
    deployed: &Encrypted,
    every: usize,
    mut judge: impl FnMut(&Overlay<FileStorage>, WritePhase, u32),
) {
    let root = deployed.table().byte_range(ROOT);
    let ready = prepared(deployed);
    let phases = crashed::phases(ready.steps());
    let log = recorded_of_header(deployed, ready.steps());
    each_state(deployed, (&phases, &log), every, |state| {
        let (phase, place) = (state.phase, state.place);
        let disk: &dyn ReadAt = state.disk;
        let container = Slice::new(disk, root.start, root.end - root.start);
        let header = header_of(&container.unwrap()).unwrap();
        let metadata = header.metadata();
        let mut numbers: Vec<_> = metadata.keyslots.iter().map(|slot| slot.number).collect();
        numbers.sort_unstable();
        let ours = metadata.tokens.iter();
        let ours: Vec<_> = ours
            .filter(|token| token.kind == "systemd-tpm2")
            .map(|token| token.keyslots.clone())
            .collect();
        let is_new = match phase {
            WritePhase::FirstHeader => place.is_whole(),
            phase => phase > WritePhase::FirstHeader,
        };
        let keyslot = u32::from(!is_new);
        assert_eq!(ours, [[keyslot]], "{phase:?}, {place:?}");
        assert_eq!(numbers, [keyslot, 2, 10], "{phase:?}, {place:?}");
        if state.is_sample {
            judge(state.disk, phase, keyslot);
        }
    });
}

/// systemd's reader opens the state by the keyslot that its token names; a second run seals it again.
pub fn judge_by_programs(
    (image, systemd): (&Encrypted, &Systemd),
    state: &Overlay<FileStorage>,
    phase: WritePhase,
    keyslot: u32,
) {
    let copy = laid_out(state, image);
    let folder = scratch();
    let tpm = Tpm::of_data(SRKS[1].tpm, &folder.path().join("tpm"));
    let opened = |copy: &Encrypted| systemd.open(&copy.container().header, &tpm, None).answer;
    assert_eq!(opened(&copy), format!("keyslot {keyslot}"), "{phase:?}");
    let flags = [&KEY_OBJECT[..], &WITHOUT_PCRS].concat();
    let output = exits(&mut again(&copy, &flags), 0);
    assert!(
        stderr(&output).contains("disk.img: sealed again"),
        "{phase:?}"
    );
    assert!(opened(&copy).starts_with("keyslot "), "{phase:?}");
    let metadata = copy.container().metadata;
    assert_eq!(
        metadata["tokens"].as_object().unwrap().len(),
        2,
        "{phase:?}"
    );
    assert_eq!(
        metadata["keyslots"].as_object().unwrap().len(),
        3,
        "{phase:?}"
    );
}

#[test]
fn a_crash_at_any_point() {
    let Some(systemd) = all_ready() else { return };
    let deployed = with_tokens(Encrypted::new());
    check(&deployed, 1, |state, phase, keyslot| {
        judge_by_programs((&deployed, &systemd), state, phase, keyslot);
    });
}

#[test]
fn a_crash_where_one_header_copy_was_damaged_before() {
    let Some(systemd) = all_ready() else { return };
    for damaged in [0, 1] {
        let deployed = with_tokens(Encrypted::new());
        damage_header(&deployed, damaged);
        check(&deployed, 1, |state, phase, keyslot| {
            if phase == WritePhase::FirstHeader || phase == WritePhase::SecondHeader {
                judge_by_programs((&deployed, &systemd), state, phase, keyslot);
            }
        });
    }
}
