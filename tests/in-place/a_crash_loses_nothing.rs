//! Whatever a crash leaves of a conversion's writes, beginning again or resuming gives what an undisturbed run gives.
//!
//! The writes of a run are recorded, and the states that a crash can leave of them are enumerated (`support::crash` says
//! how, and what it takes a disk to be). A state is resumed, or, where nothing has begun, converted from its beginning;
//! what comes out has the same ciphertext as the undisturbed run with the same keys, which the programs judge. They
//! judge some of the others, too.

use base::storage::{
    FileStorage, MemoryStorage, Overlay, ReadAt, Recorded, Recorder, Slice, WriteAt,
};
use luks2::HEAD_BYTES;
use operations::{self, in_place};
use probe::SECONDARY_OFFSETS_BYTES;

use std::path::Path;

use crate::all;
use crate::disks::{CHUNK_BYTES, Roomy, convert, ready, resume};
use crate::flaky::{Coins, Flaky};
use crate::support::crash::{self, Place};
use crate::support::header_of;
use crate::support::image::{ROOT, Shape};
use crate::support::workshop::Workshop;
use crate::support::{command, exits, files, scratch};

/// An undisturbed conversion.
pub struct Reference {
    roomy: Roomy,
    workshop: Workshop,
    /// The disk before it.
    pub before: Vec<u8>,
    /// The disk after it.
    after: Vec<u8>,
    /// Every write.
    pub log: Vec<Recorded>,
    /// Where the LUKS2 header lies, which has random bytes of its own in every run.
    pub header: std::ops::Range<usize>,
}

impl Reference {
    fn new() -> Self {
        Self::of(Roomy::tiny(), |_| {})
    }

    /// That of a disk to which something was done before.
    pub fn of(roomy: Roomy, prepare: impl FnOnce(&Path)) -> Self {
        let workshop = Workshop::new();
        let disk = roomy.put(&workshop);
        prepare(&disk);
        let before = std::fs::read(&disk).unwrap();
        let recorder = Recorder::new(MemoryStorage::new(before.clone()));
        convert(&recorder, CHUNK_BYTES).unwrap();
        let log = recorder.log();
        let after = recorder.into_inner().into_bytes();
        std::fs::write(&disk, &after).unwrap();
        roomy.judge(&disk);
        let start = usize::try_from(roomy.source.table.byte_range(ROOT).start).unwrap();
        Self {
            roomy,
            workshop,
            before,
            after,
            log,
            header: start..start + usize::try_from(HEAD_BYTES).unwrap(),
        }
    }

    /// Checks that a disk is what the undisturbed run made of it, but for what is random in the header.
    #[track_caller]
    fn assert_same(&self, disk: &[u8], what: &dyn std::fmt::Debug) {
        for range in [0..self.header.start, self.header.end..disk.len()] {
            let sectors = range.clone().step_by(512);
            let differs = || {
                sectors
                    .clone()
                    .find(|at| disk[*at..at + 512] != self.after[*at..at + 512])
            };
            let same = disk[range.clone()] == self.after[range];
            assert!(same, "{what:?}: the sector at {:?}", differs());
        }
        let container = MemoryStorage::new(disk[self.header.start..].to_vec());
        let header = header_of(&container).unwrap();
        assert_eq!(header.warnings(), [], "{what:?}");
        assert!(header.metadata().requirements.is_empty(), "{what:?}");
        assert_eq!(header.metadata().tokens.len(), 1, "{what:?}");
        let (_, clear_key) = header.metadata().clear_key().unwrap().unwrap();
        let (keyslot, _) = header.unlock(None, &clear_key.key, &container).unwrap();
        assert_eq!(keyslot, 0, "{what:?}");
        // Nothing of the filesystem is left in front of the segment.
        let plain = &self.before[self.header.start + (2 << 20)..self.header.end];
        let found = &disk[self.header.start + (2 << 20)..self.header.end];
        let same = plain.chunks(512).zip(found.chunks(512));
        let left = same.filter(|(plain, found)| plain == found && !files::is_zero(plain));
        assert_eq!(left.count(), 0, "{what:?}");
    }

    /// Every write up to the first chunk; what follows does not depend on what was there before.
    pub fn log_of_head(&self) -> &[Recorded] {
        let is_chunk = |call: &Recorded| {
            matches!(call, Recorded::Write { bytes, offset_bytes }
                if bytes.len() as u64 == CHUNK_BYTES && *offset_bytes >= self.header.end as u64)
        };
        let chunk = self.log.iter().position(is_chunk).unwrap();
        &self.log[..chunk]
    }

    /// The disk before it, below an overlay.
    pub fn disk(&self) -> Overlay<FileStorage> {
        let file = self.workshop.write("before.img", &self.before);
        Overlay::new(FileStorage::new(files::open(&file).0).unwrap())
    }

    /// Goes on with a state, and checks that the disk is then what the undisturbed run made of it. Returns its bytes.
    #[track_caller]
    pub fn assert_goes_on(
        &self,
        state: &Overlay<FileStorage>,
        what: &dyn std::fmt::Debug,
    ) -> Vec<u8> {
        let resumed = Overlay::new(state);
        let was_resumed = go_on(&resumed).unwrap_or_else(|error| panic!("{what:?}: {error}"));
        let len = usize::try_from(resumed.len_bytes()).unwrap();
        let bytes = resumed.read_vec(0, len).unwrap();
        self.assert_same(&bytes, &(what, was_resumed));
        bytes
    }

    fn judge_by_programs(&self, disk: &[u8]) {
        let file = self.workshop.path("judged.img");
        std::fs::write(&file, disk).unwrap();
        self.roomy.judge(&file);
    }
}

/// Goes on with what a crash has left: resumes, or begins again where nothing had begun.
fn go_on<S: WriteAt>(disk: &S) -> Result<bool, operations::Error> {
    match resume(disk) {
        Err(operations::Error::InPlace(in_place::Error::NothingToResume)) => {
            convert(disk, CHUNK_BYTES).map(|()| false)
        }
        resumed => resumed.map(|()| true),
    }
}

/// How many states of a long stretch are gone on from.
fn per_stretch() -> usize {
    if all() { 60 } else { 2 }
}

#[test]
fn at_any_point_of_its_writes() {
    if !ready() {
        return;
    }
    let reference = Reference::new();
    let (states, gone_on) = visit(&reference, &reference.log, 6, per_stretch(), |_, _| {});
    assert!(states > 3000 && gone_on > 100, "{states} {gone_on}");
}

/// Goes on from the states that a crash can leave of these writes, from all of them where a stretch has at most
/// `all_of` sectors, else from some `per_stretch`; `look` sees each of them before.
pub fn visit(
    reference: &Reference,
    log: &[Recorded],
    all_of: usize,
    per_stretch: usize,
    mut look: impl FnMut(&Overlay<FileStorage>, Place),
) -> (usize, usize) {
    let disk = reference.disk();
    let (mut states, mut gone_on, mut judged) = (0, 0, 0);
    let mut of_stretch = (usize::MAX, 0_usize);
    crash::each_state(&disk, log, |state, place: Place| {
        states += 1;
        of_stretch = match of_stretch {
            (flushes, count) if flushes == place.flushes => (flushes, count + 1),
            _ => (place.flushes, 0),
        };
        look(state, place);
        // Long stretches are data, where one cut is like its neighbour; a header is looked at in every state.
        let step = match place.sectors {
            sectors if sectors <= all_of || all() && sectors <= 7 => 1,
            ..=7 => 16,
            _ => 470 / per_stretch,
        };
        if !of_stretch.1.is_multiple_of(step) && !place.is_whole() {
            return;
        }
        gone_on += 1;
        if is_complete(state, reference) {
            return; // the last state
        }
        let bytes = reference.assert_goes_on(state, &place);
        if place.is_whole() && (all() || place.flushes.is_multiple_of(10)) {
            judged += 1;
            reference.judge_by_programs(&bytes);
        }
    });
    println!("{states} states, {gone_on} gone on with, {judged} judged by programs");
    (states, gone_on)
}

/// A disk of which the root partition has old headers, valid and with higher sequence ids, at all nine places where a
/// reader looks for the secondary one. Once the superblock is gone, none of them may be found.
struct OldHeaders {
    /// The first sector of each, and where it lies in the partition.
    sectors: Vec<(u64, Vec<u8>)>,
    root: std::ops::Range<u64>,
    filesystem_bytes: u64,
}

impl OldHeaders {
    /// Makes them by cryptsetup, and puts them into a disk in blocks that the filesystem does not use.
    fn plant(disk: &Path) -> Self {
        let folder = scratch();
        let key = folder.path().join("key");
        std::fs::write(&key, "test only").unwrap();
        let root = crate::support::disk::read(disk).byte_range(ROOT);
        let mut sectors = Vec::new();
        for size in SECONDARY_OFFSETS_BYTES {
            let container = folder.path().join("container");
            let file = std::fs::File::create(&container).unwrap();
            file.set_len(20 << 20).unwrap();
            let cryptsetup = |arguments: &[&str]| {
                let mut command = command("cryptsetup");
                exits(command.arg("-q").args(arguments).arg(&container), 0);
            };
            let (size_k, key) = (format!("{}k", size >> 10), key.display().to_string());
            cryptsetup(&[
                "luksFormat",
                "--type=luks2",
                "--pbkdf=pbkdf2",
                "--pbkdf-force-iterations=1000",
                "--luks2-keyslots-size=256k",
                "--luks2-metadata-size",
                &size_k,
                "--key-file",
                &key,
            ]);
            for label in ["a", "b", "c"] {
                cryptsetup(&["config", "--label", label]);
            }
            let copy = files::read(&container, size, usize::try_from(size).unwrap());
            assert!(copy.starts_with(b"SKUL\xba\xbe") && copy[23] > 3);
            files::write(disk, root.start + size, &copy);
            sectors.push((size, copy[..512].to_vec()));
        }
        Self {
            sectors,
            root,
            filesystem_bytes: Shape::Bored.geometry().filesystem_bytes(),
        }
    }

    fn partition<'a>(&self, disk: &'a dyn ReadAt) -> Slice<&'a dyn ReadAt> {
        Slice::new(disk, self.root.start, disk.len_bytes() - self.root.start).unwrap()
    }

    /// Whether ext4's superblock is there.
    fn is_plain(&self, disk: &dyn ReadAt) -> bool {
        self.partition(disk).read_vec(0x438, 2).unwrap() == b"\x53\xef"
    }

    /// Where an old header is still to be found.
    fn found(&self, disk: &dyn ReadAt) -> Vec<u64> {
        let partition = self.partition(disk);
        let found = self
            .sectors
            .iter()
            .filter(|(place, sector)| partition.read_vec(*place, 512).unwrap() == *sector);
        found.map(|(place, _)| *place).collect()
    }

    /// Checks that the filesystem can be used as before.
    #[track_caller]
    fn assert_filesystem(&self, disk: &dyn ReadAt) {
        let folder = scratch();
        let file = folder.path().join("filesystem");
        let len = usize::try_from(self.filesystem_bytes).unwrap();
        std::fs::write(&file, self.partition(disk).read_vec(0, len).unwrap()).unwrap();
        exits(command("e2fsck").arg("-fn").arg(&file), 0);
    }

    /// What cryptsetup makes of the partition: the UUID that stands in front of it when it is done, if it took a header.
    fn uuid_by_cryptsetup(&self, disk: &dyn ReadAt, arguments: &[&str]) -> Option<Vec<u8>> {
        let folder = scratch();
        let file = folder.path().join("partition");
        let partition = self.partition(disk);
        let bytes = partition.read_vec(0, 16 << 20).unwrap();
        std::fs::write(&file, bytes).unwrap();
        files::open_to_write(&file)
            .set_len(partition.len_bytes())
            .unwrap();
        let mut cryptsetup = command("cryptsetup");
        let output = cryptsetup.args(arguments).arg(&file).output().unwrap();
        let is_taken = output.status.success();
        is_taken.then(|| files::read(&file, 168, 36))
    }

    fn is_old(&self, uuid: &[u8]) -> bool {
        self.sectors
            .iter()
            .any(|(_, sector)| sector[168..204] == *uuid)
    }
}

const READERS: [&[&str]; 2] = [&["luksDump"], &["-q", "repair"]];

#[test]
fn at_any_point_on_a_disk_with_old_headers_at_all_nine_places() {
    if !ready() {
        return;
    }
    let mut planted = None;
    let reference = Reference::of(Roomy::of(Shape::Bored), |disk| {
        planted = Some(OldHeaders::plant(disk));
    });
    let old = planted.unwrap();
    // All of them are there, and cryptsetup would take one as soon as the superblock is gone.
    let before = MemoryStorage::new(reference.before.clone());
    assert_eq!(old.found(&before), SECONDARY_OFFSETS_BYTES);
    assert!(old.is_plain(&before));
    assert_eq!(old.uuid_by_cryptsetup(&before, READERS[0]), None);
    before
        .write_all_at(&[0; 1024], old.root.start + 1024)
        .unwrap();
    let taken = old.uuid_by_cryptsetup(&before, READERS[0]);
    assert!(old.is_old(&taken.unwrap()));

    let (mut plain, mut gone, mut asked) = (0, 0, 0);
    let (states, gone_on) = visit(
        &reference,
        reference.log_of_head(),
        2,
        per_stretch(),
        |state, place| {
            if old.is_plain(state) {
                plain += 1;
                if place.is_whole() {
                    old.assert_filesystem(state);
                }
                return;
            }
            assert_eq!(old.found(state), Vec::<u64>::new(), "{place:?}");
            gone += 1;
            let step = if all() { 20 } else { 150 };
            if gone % step == 1 || place.is_whole() {
                asked += 1;
                for reader in READERS {
                    let uuid = old.uuid_by_cryptsetup(state, reader);
                    let is_old = uuid.is_some_and(|uuid| old.is_old(&uuid));
                    assert!(!is_old, "{reader:?} takes an old header: {place:?}");
                }
            }
        },
    );
    println!("{states} states, {plain} plain, {gone} without a superblock, cryptsetup saw {asked}");
    assert!(
        plain > 500 && gone > 500 && gone_on > 15,
        "{plain} {gone} {gone_on}"
    );
}

/// A power that fails again and again, while it is resumed, too.
fn fails_at_random(reference: &Reference, points: u64, by_programs: bool) {
    let mut coins = Coins(4711);
    let undisturbed = Flaky::new(reference.before.clone(), None);
    convert(&undisturbed, CHUNK_BYTES).unwrap();
    let calls = undisturbed.calls();
    let mut resumed = 0;
    for point in 0..points {
        // Every part of a run, and then up to three more failures.
        let first = point * calls / points + coins.below(calls.div_ceil(points));
        let disk = Flaky::new(reference.before.clone(), Some(first.min(calls - 1)));
        let error = convert(&disk, CHUNK_BYTES).unwrap_err();
        assert!(error.to_string().starts_with("cannot "), "{error}");
        let mut bytes = disk.after_the_failure(&mut coins);
        for _ in 0..coins.below(4) {
            let disk = Flaky::new(bytes, Some(coins.below(calls)));
            resumed += u64::from(matches!(go_on(&disk), Ok(true)));
            bytes = disk.after_the_failure(&mut coins);
            if is_complete(&MemoryStorage::new(bytes.clone()), reference) {
                break;
            }
        }
        if !is_complete(&MemoryStorage::new(bytes.clone()), reference) {
            let disk = Flaky::new(bytes, None);
            resumed += u64::from(go_on(&disk).unwrap_or_else(|error| panic!("{point}: {error}")));
            bytes = disk.after_the_failure(&mut coins);
        }
        reference.assert_same(&bytes, &point);
        if by_programs {
            reference.judge_by_programs(&bytes);
        }
    }
    println!("{points} points of {calls}, {resumed} resumed to the end");
}

/// True where nothing is left to resume.
pub fn is_complete(disk: &dyn ReadAt, reference: &Reference) -> bool {
    let start = reference.header.start as u64;
    let container = Slice::new(disk, start, disk.len_bytes() - start).unwrap();
    let header = header_of(&container);
    header.is_ok_and(|header| {
        header.metadata().requirements.is_empty() && header.warnings().is_empty()
    })
}

#[test]
fn at_random_points_again_and_again() {
    if !ready() {
        return;
    }
    let reference = Reference::new();
    if all() {
        fails_at_random(&reference, 200, true);
    } else {
        fails_at_random(&reference, 12, false);
    }
}

/// The model finds an order that is wrong: a mark that is durable before its chunk.
#[test]
fn a_mark_before_its_chunk_would_lose_it() {
    if !ready() {
        return;
    }
    let reference = Reference::new();
    let mut stretches: Vec<Vec<Recorded>> = reference
        .log
        .split(|call| *call == Recorded::Flush)
        .map(<[Recorded]>::to_vec)
        .collect();
    let is_chunk = |stretch: &Vec<Recorded>| match &stretch[..] {
        [
            Recorded::Write {
                offset_bytes,
                bytes,
            },
        ] => bytes.len() as u64 == CHUNK_BYTES && *offset_bytes >= reference.header.end as u64,
        _ => false,
    };
    let chunk = stretches.iter().position(is_chunk).unwrap();
    stretches.swap(chunk, chunk + 1);
    let log: Vec<_> = stretches[..=chunk + 1].join(&Recorded::Flush);
    let disk = Overlay::new(MemoryStorage::new(reference.before.clone()));
    let mut lost = 0;
    crash::each_state(&disk, &log, |state, place| {
        if place.flushes == chunk && place.is_whole() {
            lost += usize::from(go_on(&Overlay::new(state)).is_err());
        }
    });
    assert!(lost > 0);
}
