//! A disk in a file is converted without a second copy, and is what a conversion into a new file makes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::all;
use crate::disks::{ROOM_BYTES, Roomy, ready};
use crate::support::container::Container;
use crate::support::image::{Shape, image, pe};
use crate::support::judge::{judge, judge_with};
use crate::support::workshop::{Workshop, refused, state, stderr, stdout};
use crate::support::{exits, files, programs};

#[test]
fn with_every_kind_of_root_that_is_the_last_partition() {
    if !ready() {
        return;
    }
    let few = [Shape::LargeSectors, Shape::SmallBlocks];
    let more = [Shape::Stock, Shape::LargeSectorsSmallBlocks, Shape::Bare];
    for shape in few.into_iter().chain(more.into_iter().filter(|_| all())) {
        let roomy = Roomy::of(shape);
        let workshop = Workshop::new();
        let disk = roomy.put(&workshop);
        std::fs::set_permissions(&disk, std::fs::Permissions::from_mode(0o644)).unwrap();
        let inode = disk.metadata().unwrap().ino();
        let output = exits(workshop.encrypt().args(["--in-place", "source.img"]), 0);
        let metadata = disk.metadata().unwrap();
        assert_eq!(metadata.ino(), inode, "{shape:?}");
        // The file holds its own key now.
        assert_eq!(metadata.mode() & 0o7777, 0o600, "{shape:?}");
        assert_eq!(workshop.names(), ["source.img"], "{shape:?}");
        let talk = stderr(&output);
        let room = "room for the LUKS2 header and for what a crash must not lose (24.0 MiB): \
                    the partition grows by 24.0 MiB of free space\n";
        assert!(talk.contains(room), "{talk}");
        roomy.judge(&disk);
    }
}

#[test]
fn and_opens_by_another_program() {
    if !ready() {
        return;
    }
    let roomy = Roomy::of(Shape::Stock);
    let workshop = Workshop::new();
    let disk = roomy.put(&workshop);
    exits(workshop.encrypt().args(["--in-place", "source.img"]), 0);
    let decrypt = Container::decrypt_by_cryptsetup;
    judge_with(roomy.source, &disk, &roomy.expected(), decrypt);
}

#[test]
fn in_the_free_space_behind_the_partition() {
    if !ready() {
        return;
    }
    let workshop = Workshop::new();
    let source = image(Shape::Azure);
    let disk = workshop.source(source);
    let geometry = source.geometry;
    let mut expected = Roomy::of(Shape::Azure).expected();
    expected.disk_bytes = geometry.disk_sectors * geometry.sector_bytes;
    exits(workshop.encrypt().args(["--in-place", "source.img"]), 0);
    judge(source, &disk, &expected);

    // As far as the disk reaches, and a boot file in the place of another one.
    std::fs::remove_file(&disk).unwrap();
    let disk = workshop.source(source);
    workshop.write("kernel.efi", &pe("another kernel", 200_000));
    let grown = [
        "--in-place",
        "--grow-root",
        "--kernel-efi",
        "kernel.efi",
        "source.img",
    ];
    exits(workshop.encrypt().args(grown), 0);
    expected.root_last_lba = geometry.last_usable_lba(geometry.disk_sectors);
    expected.grow_root = true;
    expected.kernel_efi = true;
    let judged = judge(source, &disk, &expected);
    let esp = judged.table.byte_range(crate::support::image::ESP);
    let mut mcopy = crate::support::command("mcopy");
    mcopy
        .arg("-i")
        .arg(format!("{}@@{}", disk.display(), esp.start));
    let file = mcopy.args(["::EFI/ubuntu/grubx64.efi", "-"]);
    assert_eq!(exits(file, 0).stdout, pe("another kernel", 200_000));
}

#[test]
fn with_a_vhds_footer_behind_it() {
    if !ready() || !programs(&["qemu-img"]) {
        return;
    }
    let workshop = Workshop::new();
    let source = image(Shape::Azure);
    workshop.put(source.vhd(), "source.vhd");
    let disk = workshop.path("source.vhd");
    let footer_at = files::open(&disk).1 - 512;
    let footer = files::read(&disk, footer_at, 512);
    exits(workshop.encrypt().args(["--in-place", "source.vhd"]), 0);
    assert_eq!(files::read(&disk, footer_at, 512), footer);
    let mut expected = Roomy::of(Shape::Azure).expected();
    expected.disk_bytes = footer_at;
    expected.vhd = true;
    judge(source, &disk, &expected);
}

#[test]
fn a_plan_writes_nothing() {
    if !ready() {
        return;
    }
    let roomy = Roomy::tiny();
    let workshop = Workshop::new();
    let disk = roomy.put(&workshop);
    let before = state(&disk);
    let output = exits(
        workshop
            .encrypt()
            .args(["--in-place", "--dry-run", "source.img"]),
        0,
    );
    let plan = stdout(&output);
    assert!(
        plan.contains("in place, source.img, raw, 32.0 MiB"),
        "{plan}"
    );
    assert!(plan.contains("stays, backup GPT"), "{plan}");
    assert_eq!(state(&disk), before);
}

#[test]
fn too_little_room_is_told_before_anything_is_written() {
    if !ready() {
        return;
    }
    let workshop = Workshop::new();
    let disk = workshop.source(image(Shape::Tiny));
    let before = state(&disk);
    let message = |options: &[&str]| {
        let mut encrypt = workshop.encrypt();
        refused(encrypt.arg("--in-place").args(options).arg("source.img"))
    };
    let geometry = image(Shape::Tiny).geometry;
    let (filesystem, partition) = (geometry.filesystem_bytes(), geometry.partition_bytes());
    assert_eq!(
        message(&[]),
        format!(
            "error: source.img: in place, the LUKS2 header and what a crash must not lose take 24 MiB behind the \
             filesystem: with it {} bytes, the root partition has {partition}, and 0 sectors behind it are free\n\
             hint: make the disk longer first: truncate -s +24M source.img\n",
            filesystem + ROOM_BYTES
        )
    );
    for way in ["extend", "shrink"] {
        assert_eq!(
            message(&["--make-room", way]),
            "error: source.img: in place, the disk keeps its length and the filesystem its size: --make-room takes \
             auto or grow\n"
        );
    }
    assert_eq!(
        message(&["--free-space", "skip"]),
        "error: --free-space skip leaves holes, and a device, or a file that is converted in place, would keep old \
         bytes there\n"
    );
    assert_eq!(state(&disk), before);
    // One sector less than what is needed, and what is needed.
    let needed = geometry.disk_sectors * geometry.sector_bytes + ROOM_BYTES;
    let spare = partition - filesystem;
    let file = files::open_to_write(&disk);
    file.set_len(needed - spare - 512).unwrap();
    assert!(message(&[]).contains("truncate -s +1M source.img"));
    file.set_len(needed - spare).unwrap();
    exits(workshop.encrypt().args(["--in-place", "source.img"]), 0);
}
