//! Over a disk that held something else a plain image was copied sparsely, and is converted where it lies: whatever a
//! crash or a kill leaves, nothing of the image is lost, and no program takes the disk for what it was.

use std::os::unix::process::ExitStatusExt as _;

use base::storage::{FileStorage, ReadAt, Recorded, WriteAt as _};

use crate::a_crash_loses_nothing::{Reference, is_complete, visit};
use crate::a_killed_run_is_resumed::{complete, inject};
use crate::all;
use crate::disks::{Roomy, ready};
use crate::flaky::Coins;
use crate::support::former_life::{self, Former, Head, Life, PROGRAMS};
use crate::support::image::{ROOT, Shape};
use crate::support::workshop::{Workshop, refused, state};
use crate::support::{command, exits, files, programs, scratch};

/// What cryptsetup and libblkid look at.
const LOOKED_AT_BYTES: u64 = 16 << 20;

/// As long as the superblock is there the filesystem is as it was; then no program takes a state for what the disk was.
#[track_caller]
fn assert_is_not(former: &Former, state: &dyn ReadAt, start: u64, what: &dyn std::fmt::Debug) {
    let len_bytes = state.len_bytes() - start;
    let head = usize::try_from(len_bytes.min(LOOKED_AT_BYTES)).unwrap();
    let bytes = state.read_vec(start, head).unwrap();
    if bytes[0x438..0x43a] == *b"\x53\xef" && !bytes.starts_with(b"LUKS") {
        // libblkid takes an old secondary header for a container then, as it did before.
        let len_bytes = Shape::Bored.geometry().filesystem_bytes();
        let filesystem = state.read_vec(start, usize::try_from(len_bytes).unwrap());
        let folder = scratch();
        let file = folder.path().join("filesystem");
        std::fs::write(&file, filesystem.unwrap()).unwrap();
        exits(command("e2fsck").arg("-fn").arg(&file), 0);
    } else {
        former_life::verdicts(&bytes, len_bytes).assert_not(former, what);
    }
}

#[test]
fn at_any_point_of_the_writes() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    former_life::each_beside_others(&[Life::Btrfs], |life| {
        let mut planted = None;
        let reference = Reference::of(Roomy::of(Shape::Bored), |disk| {
            planted = Some(life.under(disk, ROOT));
        });
        let former = planted.unwrap();
        assert!(former.left_bytes > 0, "nothing is left of {life:?}");
        let log = if all() {
            &reference.log[..]
        } else {
            reference.log_of_head()
        };
        let per_stretch = if all() { 10 } else { 1 };
        let (mut seen, mut asked) = (0, 0);
        let (states, gone_on) = visit(&reference, log, 1, per_stretch, |state, place| {
            seen += 1;
            let start = reference.header.start as u64;
            // Between the old superblock and the new magic number anything older may come to light.
            let is_plain = state.read_vec(start + 0x438, 2).unwrap() == b"\x53\xef";
            let is_bare = !is_plain && state.read_vec(start, 4).unwrap() != b"LUKS";
            assert!(!is_bare, "{life:?}: {place:?}");
            let step = if all() { 40 } else { 300 };
            if seen % step == 1 || place.is_whole() && place.flushes < 30 {
                asked += 1;
                assert_is_not(&former, state, reference.header.start as u64, &place);
            }
        });
        println!(
            "{life:?}: {} bytes left, {states} states, {gone_on} gone on with, programs saw {asked}",
            former.left_bytes
        );
        assert!(states > 500 && gone_on > 15, "{states} {gone_on}");
        assert!(asked > 10, "{asked}");
    });
}

/// The same where the sparse copy was one in blocks of 512 bytes: it leaves the head of what the disk was beside the
/// superblock as well. (With the magic number of a container or of XFS nothing is converted: see below.)
#[test]
fn at_any_point_of_the_writes_with_a_head_beside_the_superblock() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    for head in [Head::WipedLuks2, Head::Lvm, Head::Fat, Head::Swap] {
        if !all() && head != Head::WipedLuks2 {
            continue;
        }
        let mut planted = None;
        let reference = Reference::of(Roomy::of(Shape::Bored), |disk| {
            // Secondary copies of containers in the free blocks: a reader that finds no primary one looks for these.
            let mut former = Life::Luks2.under(disk, ROOT);
            former.uuids.extend(head.beside_ext4(disk, ROOT));
            planted = Some(former);
        });
        let former = planted.unwrap();
        let per_stretch = if all() { 10 } else { 1 };
        let mut asked = 0;
        let log = reference.log_of_head();
        let (states, gone_on) = visit(&reference, log, 1, per_stretch, |state, place| {
            let start = reference.header.start as u64;
            let is_plain = state.read_vec(start + 0x438, 2).unwrap() == b"\x53\xef";
            let is_bare = !is_plain && state.read_vec(start, 4).unwrap() != b"LUKS";
            assert!(!is_bare, "{head:?}: {place:?}");
            // Around the switch of the first block every state is shown to the programs.
            let is_begun = state.read_vec(start, 4).unwrap() == b"LUKS";
            let step = if all() { 7 } else { 60 };
            asked += 1;
            if asked % step == 1 || place.is_whole() && is_begun {
                assert_is_not(&former, state, start, &(head, place));
            }
        });
        println!("{head:?}: {states} states, {gone_on} gone on with");
        assert!(states > 500 && gone_on > 15, "{states} {gone_on}");
    }
}

/// Chunks, what was random space, and the last headers.
#[test]
fn at_any_flush_behind_the_first_chunk() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    former_life::each(&[Life::Noise], |life| {
        let mut planted = None;
        let reference = Reference::of(Roomy::of(Shape::Bored), |disk| {
            planted = Some(life.under(disk, ROOT));
        });
        let former = planted.unwrap();
        let begun = reference.log_of_head().len();
        let disk = reference.disk();
        let (mut flushes, mut gone_on) = (0_usize, 0);
        for (number, call) in reference.log.iter().enumerate() {
            if let Recorded::Write {
                offset_bytes,
                bytes,
            } = call
            {
                disk.write_all_at(bytes, *offset_bytes).unwrap();
                continue;
            }
            flushes += 1;
            let is_looked_at = all() || flushes.is_multiple_of(7);
            if number > begun && is_looked_at && !is_complete(&disk, &reference) {
                gone_on += 1;
                let what = format!("flush {flushes}");
                assert_is_not(&former, &disk, reference.header.start as u64, &what);
                reference.assert_goes_on(&disk, &what);
            }
        }
        println!("{life:?}: {gone_on} of {flushes} gone on with");
        assert!(gone_on >= 5, "{gone_on}");
    });
}

#[test]
fn after_sigkill() {
    if !ready() || !programs(&PROGRAMS) || !programs(&["strace"]) {
        return;
    }
    let roomy = Roomy::of(Shape::Bored);
    let workshop = Workshop::new();
    let mut coins = Coins(29);
    former_life::each(&[Life::Luks2], |life| {
        let made = roomy.put(&workshop);
        let former = life.under(&made, ROOT);
        let before = workshop.path("before.img");
        std::fs::rename(&made, &before).unwrap();
        let mut resumed = 0;
        let runs = if all() { 8 } else { 3 };
        for run in 0..runs {
            let disk = workshop.put(&before, "source.img");
            // The first calls write the table, what is kept, the record and the head.
            let number = 4 + coins.below(14);
            let call = ["pwrite64", "fsync"][run % 2];
            let what = format!("signal=KILL:when={number}");
            let arguments = ["--threads=1", "--in-place", "source.img"];
            let killed = inject(&workshop, call, &what, &arguments);
            assert_eq!(killed.status.signal(), Some(9), "{life:?}, {call} {number}");
            resumed += complete(&workshop);
            roomy.judge(&disk);
            let start = roomy.source.table.byte_range(ROOT).start;
            let disk = FileStorage::new(files::open(&disk).0).unwrap();
            assert_is_not(&former, &disk, start, &(call, number));
            std::fs::remove_file(workshop.path("source.img")).unwrap();
        }
        println!("{life:?}: {resumed} of {runs} were resumed");
        assert!(resumed > 0, "{life:?}");
    });
}

/// An old primary header's first sectors in front of a filesystem: it is not converted.
#[test]
fn and_nothing_is_done_where_it_may_be_either() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    let workshop = Workshop::new();
    let disk = Roomy::of(Shape::Bored).put(&workshop);
    Head::Luks2.beside_ext4(&disk, ROOT);
    let before = state(&disk);
    for option in ["--in-place", "--resume"] {
        let said = refused(workshop.encrypt().args([option, "source.img"]));
        assert!(said.contains("one of the two is left over"), "{said}");
    }
    assert_eq!(state(&disk), before);
}
