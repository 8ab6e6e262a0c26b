//! `encrypt` and `provision` onto a device that held something else, and `encrypt` of one where it lies: wherever a run is killed, no
//! program finds the old disk once its table is gone, and the run after it makes what it makes on a blank device.

use std::process::Command;

use crate::a_device_is_a_source::extended;
use crate::a_device_is_converted_where_it_lies::roomy_file;
use crate::encrypted::{self, ROOT as GUEST_ROOT, WITHOUT_PCRS};
use crate::loops::{Loop, can_loop};
use crate::plain::Plain;
use crate::support::container::HEADER_BYTES;
use crate::support::former_life::{self, Former, Head, Life, PROGRAMS};
use crate::support::image::{ROOT, Shape, image};
use crate::support::judge::{extract, judge};
use crate::support::workshop::{Workshop, give_away, refused, state};
use crate::support::{command, disk, exits, files, kill, programs, scratch};
use crate::{all, ready};

/// The writes at which a run is killed: the first ones are those of the device's ends.
fn writes() -> &'static [u64] {
    if all() { &[1, 2, 3, 4, 6, 9] } else { &[3, 6] }
}

/// The GUID of the table that libblkid finds on a disk.
fn table_of(device: &Loop) -> Option<String> {
    let mut blkid = command("blkid");
    blkid.args(["-p", "-o", "value", "-s", "PTUUID"]);
    let output = blkid.arg(&device.file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// Nothing of a killed run is taken for a disk: no table at either end, for libblkid, sgdisk and this program.
#[track_caller]
fn assert_is_no_disk(former: &Former, device: &Loop, workshop: &Workshop, write: u64) {
    device.settle();
    if write <= 2 {
        return; // an end may be there still
    }
    assert_eq!(table_of(device), None, "{former:?}, {write}");
    let output = command("sgdisk")
        .arg("-p")
        .arg(&device.file)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).to_lowercase();
    for uuid in &former.uuids {
        assert!(!told.contains(uuid.as_str()), "{write}: {told}");
    }
    let mut inspect = workshop.command(workshop.program());
    let output = inspect.args(["inspect", device.name()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{write}: {output:?}");
}

/// A device of this life.
fn device_of(
    life: Life,
    workshop: &Workshop,
    len_bytes: u64,
    start: u64,
) -> Option<(Former, Loop)> {
    let file = workshop.path("device");
    let former = life.whole(&file, len_bytes, start);
    give_away(&file);
    Some((former, Loop::of(&file, 512)?))
}

/// The partition is what cryptsetup calls by the new UUID, and nobody by an old one.
#[track_caller]
fn assert_is_new(former: &Former, device: &Loop, root: u32) {
    let table = disk::read(&device.file);
    let guid = uuid::Uuid::from_bytes_le(table.guid).to_string();
    assert_eq!(table_of(device).as_ref(), Some(&guid));
    assert!(!former.uuids.contains(&guid));
    let range = table.byte_range(root);
    let bytes = files::read(&device.file, range.start, 16 << 20);
    let verdicts = former_life::verdicts(&bytes, range.end - range.start);
    verdicts.assert_not(former, &device.name());
    assert!(verdicts.cryptsetup[0].is_some(), "{verdicts:?}");
}

#[test]
fn where_encrypt_is_killed() {
    if !ready() || !can_loop() || !programs(&PROGRAMS) || !programs(&["strace"]) {
        return;
    }
    let expected = extended(Shape::Tiny);
    let start = image(Shape::Tiny).table.byte_range(ROOT).start;
    former_life::each(&[Life::Tables], |life| {
        for write in writes() {
            let workshop = Workshop::new();
            workshop.source(image(Shape::Tiny));
            let Some((former, device)) = device_of(life, &workshop, expected.disk_bytes, start)
            else {
                return;
            };
            let name = device.name().to_owned();
            let arguments = [
                "encrypt",
                "--threads=1",
                "--overwrite",
                "-o",
                &name,
                "source.img",
            ];
            assert!(kill::at(&workshop, ("pwrite64", *write), &arguments));
            assert_is_no_disk(&former, &device, &workshop, *write);
            exits(workshop.encrypt().args(&arguments[1..]), 0);
            device.settle();
            judge(image(Shape::Tiny), &device.file, &expected);
            assert_is_new(&former, &device, ROOT);
        }
    });
}

#[test]
fn where_provision_is_killed() {
    if !encrypted::ready() || !can_loop() || !programs(&PROGRAMS) || !programs(&["strace"]) {
        return;
    }
    former_life::each(&[Life::OursDeployed], |life| {
        for write in writes() {
            let plain = Plain::new();
            let len_bytes = files::open(&plain.path("plain.img")).1 + HEADER_BYTES;
            let start = disk::read(&plain.path("plain.img"))
                .byte_range(GUEST_ROOT)
                .start;
            let Some((former, device)) = device_of(life, plain.workshop(), len_bytes, start) else {
                return;
            };
            let name = device.name().to_owned();
            let onto = ["--threads=1", "--overwrite", "-o", &name, "plain.img"];
            let arguments = [&WITHOUT_PCRS[..], &onto].concat();
            let provision = [&["provision"][..], &arguments].concat();
            assert!(kill::at(plain.workshop(), ("pwrite64", *write), &provision));
            assert_is_no_disk(&former, &device, plain.workshop(), *write);
            exits(&mut plain.provision(&arguments), 0);
            device.settle();
            assert_is_new(&former, &device, GUEST_ROOT);
        }
    });
}

/// Kills a conversion on a device, in the quick run once before the head is there and once behind it.
#[test]
fn where_a_conversion_is_killed() {
    if !ready() || !can_loop() || !programs(&PROGRAMS) || !programs(&["strace", "e2fsck"]) {
        return;
    }
    former_life::each(&[Life::Ext4], |life| {
        let workshop = Workshop::new();
        let (source, expected) = roomy_file(&workshop, Shape::Bored);
        let former = life.under(&source, ROOT);
        assert!(former.left_bytes > 0, "{life:?}");
        let before = workshop.path("before.img");
        std::fs::rename(&source, &before).unwrap();
        let (mut resumed, mut kills) = (0, 0);
        let writes: &[u64] = if all() {
            &[3, 5, 6, 7, 8, 9, 10, 11, 12, 14, 17, 20, 30]
        } else {
            &[7, 15]
        };
        for write in writes {
            let _ = std::fs::remove_file(&source);
            let file = workshop.put(&before, "source.img");
            let Some(device) = Loop::of(&file, 512) else {
                return;
            };
            let name = device.name().to_owned();
            let arguments = ["encrypt", "--threads=1", &name];
            assert!(kill::at(&workshop, ("pwrite64", *write), &arguments));
            kills += 1;
            device.settle();
            assert_is_plain_or_not_old(&former, &device);
            let output = workshop.encrypt().args(["--resume", &name]).output();
            resumed += u64::from(kill::resumed(&output.unwrap(), || {
                exits(workshop.encrypt().arg(&name), 0);
            }));
            device.settle();
            judge(image(Shape::Bored), &device.file, &expected);
            assert_is_new(&former, &device, ROOT);
        }
        println!("{life:?}: {resumed} of {kills} were resumed");
        assert!(resumed > 0, "{life:?}");
    });
}

/// As long as the superblock is there the filesystem is as it was; then no program takes the partition for what it was.
#[track_caller]
fn assert_is_plain_or_not_old(former: &Former, device: &Loop) {
    let range = disk::read(&device.file).byte_range(ROOT);
    let bytes = files::read(&device.file, range.start, 16 << 20);
    if bytes.starts_with(b"LUKS") || bytes[0x438..0x43a] != *b"\x53\xef" {
        let verdicts = former_life::verdicts(&bytes, range.end - range.start);
        verdicts.assert_not(former, &device.name());
    } else {
        let folder = scratch();
        let part = folder.path().join("part");
        extract(&device.file, &disk::read(&device.file), ROOT, &part);
        exits(command("e2fsck").arg("-fn").arg(part), 0);
    }
}

/// An old primary header's first sectors in front of the source's filesystem: nothing is written to the device.
#[test]
fn and_nothing_is_done_where_the_source_may_be_either() {
    if !encrypted::ready() || !can_loop() || !programs(&PROGRAMS) {
        return;
    }
    let plain = Plain::new();
    let source = plain.path("plain.img");
    Head::Luks2.beside_ext4(&source, GUEST_ROOT);
    let len_bytes = files::open(&source).1 + HEADER_BYTES;
    let Some((_, device)) = device_of(Life::Luks1, plain.workshop(), len_bytes, 4 << 20) else {
        return;
    };
    let before = state(&device.file);
    let onto = ["--overwrite", "-o", device.name(), "plain.img"];
    let mut encrypt: Command = plain.workshop().encrypt();
    for command in [
        encrypt.args(onto),
        plain.provision(&WITHOUT_PCRS).args(onto),
    ] {
        let said = refused(command);
        assert!(said.contains("one of the two is left over"), "{said}");
        assert_eq!(state(&device.file), before);
    }
}
