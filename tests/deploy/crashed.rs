//! What the tests of crashes share: a run's steps and their writes, the states that a crash can leave of them
//! (`support::crash`), and such a state as an image of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use base::secret::SystemEntropy;
use base::storage::{FileStorage, Overlay, ReadAt, Recorded, Recorder};
use operations::deploy::{
    self, Binding, Job, KeyObject, ReadyToDeploy, RecoverySource, SrkOptions, Step, TemplateChoice,
    WritePhase,
};

use crate::encrypted::{ESP, Encrypted, ROOT};
use crate::support::crash::{self, Place, RANDOM_SUBSETS};
use crate::support::files;
use crate::support::workshop::give_away;

/// Bytes of one header copy.
pub const COPY_BYTES: u64 = 524_288;

/// A random write is cut here: of megabytes that nobody reads one cut is like its neighbour.
const LONGEST_WRITE_BYTES: usize = 1 << 20;

/// A run that is to crash.
pub struct Run {
    pub key_object: KeyObject,
    pub public: PathBuf,
    pub recovery: Option<RecoverySource>,
    pub unlock_with: Option<PathBuf>,
}

impl Run {
    /// Its steps for an image, without PCRs.
    pub fn prepared(self, image: &Encrypted) -> ReadyToDeploy {
        let job = Job {
            source: image.image.clone(),
            output: None,
            overwrite: false,
            dry_run: false,
            partitions: None,
            binding: Binding {
                key_object: self.key_object,
                srk: SrkOptions {
                    public: self.public,
                    template: TemplateChoice::Written { unique_data: None },
                },
                guest: None,
                allow_uncovered_initrd: false,
                recovery: self.recovery,
            },
            unlock_with: self.unlock_with,
        };
        job.prepare(&mut SystemEntropy::new(), 1_700_000_000)
            .unwrap()
    }
}

pub fn storage(image: &Path) -> FileStorage {
    FileStorage::new(files::open(image).0).unwrap()
}

pub fn phases(steps: &[Step]) -> Vec<WritePhase> {
    steps.iter().map(|step| step.phase).collect()
}

/// What is written for these steps, in its order.
pub fn recorded(image: &Encrypted, steps: &[Step]) -> Vec<Recorded> {
    let recorder = Recorder::new(Overlay::new(storage(&image.image)));
    deploy::write(steps, &recorder, |_| Ok(())).unwrap();
    let mut log = recorder.log();
    for call in &mut log {
        if let Recorded::Write { bytes, .. } = call {
            bytes.truncate(LONGEST_WRITE_BYTES);
        }
    }
    log
}

/// The same for steps that update the header alone, and leave the EFI system partition as it is.
pub fn recorded_of_header(image: &Encrypted, steps: &[Step]) -> Vec<Recorded> {
    assert_eq!(
        phases(steps),
        [
            WritePhase::Keyslot,
            WritePhase::FirstHeader,
            WritePhase::Tidy,
            WritePhase::SecondHeader
        ]
    );
    let esp = image.table().byte_range(ESP);
    let log = recorded(image, steps);
    for call in &log {
        if let Recorded::Write { offset_bytes, .. } = call {
            assert!(!esp.contains(offset_bytes), "nothing is written to the ESP");
        }
    }
    log
}

/// A state, and where the crash was.
pub struct State<'s> {
    pub disk: &'s Overlay<FileStorage>,
    pub phase: WritePhase,
    pub place: Place,
    /// One for programs to judge: the whole of a stretch, and one somewhere in its middle.
    pub is_sample: bool,
}

/// Shows states that a crash can leave of `log`, the writes of these phases on the image: one of `every` so many, and
/// each that is a sample.
pub fn each_state(
    image: &Encrypted,
    (phases, log): (&[WritePhase], &[Recorded]),
    every: usize,
    mut visit: impl FnMut(&State<'_>),
) {
    let flushes = log.iter().filter(|call| **call == Recorded::Flush);
    assert_eq!(phases.len(), flushes.count(), "a flush ends each phase");
    let disk = Overlay::new(storage(&image.image));
    let mut visited: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    crash::each_state(&disk, log, |disk, place| {
        let Some(phase) = phases.get(place.flushes).copied() else {
            return; // behind the last flush there is nothing
        };
        let (states, sectors) = visited.entry(place.flushes).or_default();
        let is_sample = place.is_whole() || *states == 40;
        *states += 1;
        *sectors = place.sectors;
        if is_sample || states.is_multiple_of(every) {
            visit(&State {
                disk,
                phase,
                place,
                is_sample,
            });
        }
    });
    for (number, phase) in phases.iter().enumerate() {
        let (states, sectors) = visited[&number];
        assert!(sectors > 0, "{phase:?} changes nothing");
        let all = 1_usize.checked_shl(u32::try_from(sectors).unwrap());
        let enough = all.unwrap_or(usize::MAX).min(RANDOM_SUBSETS);
        assert!(states >= enough, "{phase:?}: {states} states");
    }
}

/// A state of an image, in a folder with the same files.
pub fn laid_out(state: &Overlay<FileStorage>, image: &Encrypted) -> Encrypted {
    let copy = image.beside();
    let file = File::create_new(&copy.image).unwrap();
    give_away(&copy.image);
    file.set_len(state.len_bytes()).unwrap();
    files::copy(state.base().file(), 0..state.len_bytes(), &file, 0);
    for range in state.changed_ranges() {
        let len = usize::try_from(range.end - range.start).unwrap();
        let bytes = state.read_vec(range.start, len).unwrap();
        file.write_all_at(&bytes, range.start).unwrap();
    }
    copy
}

/// Damages the JSON of a header copy: 0 is the primary one, 1 the secondary.
pub fn damage_header(image: &Encrypted, copy: u64) {
    let start = image.table().byte_range(ROOT).start;
    files::flip(&image.image, start + copy * COPY_BYTES + 4200);
}
