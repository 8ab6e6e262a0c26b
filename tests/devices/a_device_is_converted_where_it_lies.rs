//! Without an output a device is converted in place; a run that ended early is resumed.

use std::path::PathBuf;

use crate::loops::{Loop, can_loop};
use crate::ready;
use crate::support::image::{Shape, image};
use crate::support::judge::{Expected, judge};
use crate::support::workshop::{Workshop, refused, state, stderr};
use crate::support::{exits, files, programs};

const ROOM_BYTES: u64 = 24 << 20;

/// An image with room behind its root, on a device.
fn roomy(workshop: &Workshop, shape: Shape, sector_bytes: u64) -> Option<(Loop, Expected)> {
    let (source, expected) = roomy_file(workshop, shape);
    Some((Loop::of(&source, sector_bytes)?, expected))
}

/// The same in a file.
pub fn roomy_file(workshop: &Workshop, shape: Shape) -> (PathBuf, Expected) {
    let source = workshop.source(image(shape));
    let geometry = image(shape).geometry;
    let disk_bytes = geometry.disk_sectors * geometry.sector_bytes + ROOM_BYTES;
    files::open_to_write(&source).set_len(disk_bytes).unwrap();
    let expected = Expected {
        luks_sector_bytes: geometry.sector_bytes,
        disk_bytes,
        root_last_lba: geometry.root_last_lba + ROOM_BYTES / geometry.sector_bytes,
        vhd: false,
        grow_root: false,
        cloud_init: true,
        datasources: None,
        kernel_efi: false,
        shrunk_bytes: None,
        skips_free: false,
    };
    (source, expected)
}

#[test]
fn with_sectors_of_either_size() {
    if !ready() || !can_loop() {
        return;
    }
    for (shape, sector_bytes) in [(Shape::Stock, 512), (Shape::LargeSectors, 4096)] {
        let workshop = Workshop::new();
        let Some((disk, expected)) = roomy(&workshop, shape, sector_bytes) else {
            return;
        };
        let output = exits(workshop.encrypt().arg(disk.name()), 0);
        assert!(
            stderr(&output).contains("encrypted in place"),
            "{}",
            stderr(&output)
        );
        disk.settle();
        judge(image(shape), &disk.file, &expected);
    }
}

#[test]
fn a_killed_run_is_resumed() {
    if !ready() || !can_loop() || !programs(&["strace"]) {
        return;
    }
    let workshop = Workshop::new();
    let Some((disk, expected)) = roomy(&workshop, Shape::Stock, 512) else {
        return;
    };
    // The second chunk.
    let mut strace = workshop.command("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e"]);
    strace.arg("inject=pwrite64:signal=KILL:when=16");
    strace
        .arg(workshop.program())
        .args(["encrypt", "--threads=1", disk.name()]);
    let killed = strace.output().unwrap();
    assert!(!killed.status.success());
    let message = format!(
        "error: {0}: partition 1 is half converted: encrypt --in-place did not come to its end\n\
         hint: encrypt-cloud-image encrypt --in-place --resume {0}\n",
        disk.name()
    );
    assert_eq!(refused(workshop.encrypt().arg(disk.name())), message);
    exits(workshop.encrypt().args(["--resume", disk.name()]), 0);
    disk.settle();
    judge(image(Shape::Stock), &disk.file, &expected);
}

#[test]
fn what_does_not_go_is_told_before_anything_is_written() {
    if !ready() || !can_loop() {
        return;
    }
    // A table that the kernel would not find on this device.
    let workshop = Workshop::new();
    let Some((disk, _)) = roomy(&workshop, Shape::LargeSectors, 512) else {
        return;
    };
    let before = state(&disk.file);
    assert_eq!(
        refused(workshop.encrypt().arg(disk.name())),
        format!(
            "error: {}: the device has sectors of 512 bytes, and the partition table is one for sectors of 4096: \
             nobody would find it there\n",
            disk.name()
        )
    );
    assert_eq!(state(&disk.file), before);

    // Too little room: only who has the device can make some.
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    let Some(disk) = Loop::of(&source, 512) else {
        return;
    };
    let before = state(&source);
    let message = refused(workshop.encrypt().arg(disk.name()));
    let hint = "hint: make the filesystem smaller, on its unmounted partition:\n\
                hint: e2fsck -f PARTITION && resize2fs PARTITION ";
    assert!(
        !message.contains(hint),
        "no filesystem would fit into 5 MiB: {message}"
    );
    assert_eq!(state(&source), before);
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Stock));
    let Some(disk) = Loop::of(&source, 512) else {
        return;
    };
    let message = refused(workshop.encrypt().arg(disk.name()));
    let partition = image(Shape::Stock).geometry.partition_bytes();
    let kib = (partition - ROOM_BYTES) / 1024;
    assert!(message.ends_with(&format!("{hint}{kib}K\n")), "{message}");
}
