//! Tokens and their keyslot are replaced in one header update: whatever a crash leaves of it, the header that counts has
//! all of the old tokens or all of the new ones, and what they name opens. A second run ends well.

use std::os::unix::fs::FileExt as _;

use encrypt_cloud_image::luks2::Header;
use encrypt_cloud_image::provision::deploy::{
    self, Binding, DEFAULT_SRK_HANDLE, Job, KeyObject, Phase, Ready, SrkMode, SrkOptions,
    TemplateChoice,
};
use encrypt_cloud_image::secret::SystemEntropy;
use encrypt_cloud_image::storage::{FileStorage, Overlay, ReadAt, Recorded, Recorder, Slice};

use crate::encrypted::{ESP, Encrypted, ROOT, WITHOUT_PCRS};
use crate::resealed::{RECOVERY_KEY, again, deployed_of};
use crate::support::crash;
use crate::support::systemd::Systemd;
use crate::support::tpm::Tpm;
use crate::support::workshop::stderr;
use crate::support::{exits, files, scratch};
use crate::systemd_guest::{KEY_OBJECT, SRKS, all_ready};

const COPY_BYTES: u64 = 524_288;

fn image() -> Encrypted {
    let encrypted = Encrypted::new();
    encrypted.workshop.write("srk.pub", &SRKS[1].public());
    encrypted.workshop.write("recovery.key", &RECOVERY_KEY);
    encrypted
}

fn deployed() -> Encrypted {
    deployed_of(image(), &[&KEY_OBJECT[..], &WITHOUT_PCRS].concat())
}

fn prepared(deployed: &Encrypted) -> Ready {
    let job = Job {
        source: deployed.image.clone(),
        output: None,
        overwrite: false,
        dry_run: false,
        partitions: None,
        binding: Binding {
            key_object: KeyObject::SystemdTpm2 {
                srk_mode: SrkMode::Auto,
                srk_handle: DEFAULT_SRK_HANDLE,
            },
            srk: SrkOptions {
                public: deployed.workshop.path("srk.pub"),
                template: TemplateChoice::Written { unique_data: None },
            },
            guest: None,
            recovery: None,
        },
        unlock_with: Some(deployed.workshop.path("recovery.key")),
    };
    job.prepare(&mut SystemEntropy::new(), 1_700_000_000)
        .unwrap()
}

fn storage(deployed: &Encrypted) -> FileStorage {
    FileStorage::new(files::open(&deployed.image).0).unwrap()
}

/// Runs through the states, checks each, and hands a sample to `judge`, with the keyslot that the tokens name.
fn check(deployed: &Encrypted, mut judge: impl FnMut(&Overlay<FileStorage>, Phase, u32)) -> usize {
    let root = deployed.table().byte_range(ROOT);
    let esp = deployed.table().byte_range(ESP);
    let ready = prepared(deployed);
    let phases: Vec<_> = ready.steps().iter().map(|step| step.phase).collect();
    assert_eq!(
        phases,
        [
            Phase::Keyslot,
            Phase::FirstHeader,
            Phase::SecondHeader,
            Phase::Tidy
        ]
    );
    let recorder = Recorder::new(Overlay::new(storage(deployed)));
    deploy::write(ready.steps(), &recorder, |_| Ok(())).unwrap();
    let mut log = recorder.log();
    for call in &mut log {
        if let Recorded::Write {
            offset_bytes,
            bytes,
        } = call
        {
            assert!(!esp.contains(offset_bytes), "nothing is written to the ESP");
            bytes.truncate(1 << 20); // of random bytes one cut is like its neighbour
        }
    }
    let disk = Overlay::new(storage(deployed));
    let (mut states, mut last) = (0, (usize::MAX, 0));
    crash::each_state(&disk, &log, |state, place| {
        states += 1;
        let Some(phase) = phases.get(place.flushes).copied() else {
            return; // behind the last flush there is nothing
        };
        last = if last.0 == place.flushes {
            (last.0, last.1 + 1)
        } else {
            (place.flushes, 0)
        };
        let container = Slice::new(state as &dyn ReadAt, root.start, root.end - root.start);
        let header = Header::read(&container.unwrap()).unwrap();
        let metadata = header.metadata();
        let mut numbers: Vec<_> = metadata.keyslots.iter().map(|slot| slot.number).collect();
        numbers.sort_unstable();
        let ours = metadata.tokens.iter();
        let ours: Vec<_> = ours
            .filter(|token| token.kind == "systemd-tpm2")
            .map(|token| token.keyslots.clone())
            .collect();
        let is_new = match phase {
            Phase::FirstHeader => place.is_whole(),
            phase => phase > Phase::FirstHeader,
        };
        let keyslot = u32::from(!is_new);
        assert_eq!(ours, [[keyslot]], "{phase:?}, {place:?}");
        assert_eq!(numbers, [keyslot, 2, 10], "{phase:?}, {place:?}");
        if place.is_whole() || last.1 == 40 {
            judge(state, phase, keyslot);
        }
    });
    states
}

fn judge_by_programs(systemd: &Systemd, state: &Overlay<FileStorage>, phase: Phase, keyslot: u32) {
    let copy = image();
    let file = files::open_to_write(&copy.image);
    files::copy(state.base().file(), 0..state.len_bytes(), &file, 0);
    for range in state.changed_ranges() {
        let len = usize::try_from(range.end - range.start).unwrap();
        let bytes = state.read_vec(range.start, len).unwrap();
        file.write_all_at(&bytes, range.start).unwrap();
    }
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
    let states = check(&deployed(), |state, phase, keyslot| {
        judge_by_programs(&systemd, state, phase, keyslot);
    });
    // How many there are depends on the sectors in which two random headers differ.
    assert!(states > 500, "{states}");
    println!("{states} states");
}

#[test]
fn a_crash_where_one_header_copy_was_damaged_before() {
    let Some(systemd) = all_ready() else { return };
    for damaged in [0, 1] {
        let deployed = deployed();
        let start = deployed.table().byte_range(ROOT).start;
        files::flip(&deployed.image, start + damaged * COPY_BYTES + 4200);
        check(&deployed, |state, phase, keyslot| {
            if phase == Phase::FirstHeader || phase == Phase::SecondHeader {
                judge_by_programs(&systemd, state, phase, keyslot);
            }
        });
    }
}
