//! An image is encrypted onto a device that is free, long enough and blank, or to be overwritten.

use crate::a_device_is_a_source::extended;
use crate::loops::{Loop, can_loop};
use crate::ready;
use crate::support::image::{Shape, image};
use crate::support::judge::judge;
use crate::support::workshop::{Workshop, error_in, refused, state, stderr};
use crate::support::{command, exits, files, programs};

#[test]
fn whatever_stood_there_before() {
    if !ready() || !can_loop() {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Stock));
    let expected = extended(Shape::Stock);
    for (value, options) in [(0, &[][..]), (0xaa, &["--overwrite"])] {
        let file = workshop.path("device");
        let Some(device) = Loop::filled(&file, expected.disk_bytes, value) else {
            return;
        };
        let mut encrypt = workshop.encrypt();
        let run = exits(
            encrypt
                .args(options)
                .args(["-o", device.name(), "source.img"]),
            0,
        );
        let talk = stderr(&run);
        let room = "room for the LUKS2 header: the partition grows by 16.0 MiB of free space\n";
        assert!(talk.contains(room), "{talk}");
        device.settle();
        judge(image(Shape::Stock), &file, &expected);
    }
}

#[test]
fn and_grows_to_the_devices_end() {
    if !ready() || !can_loop() || !programs(&["qemu-img"]) {
        return;
    }
    let workshop = Workshop::new();
    // Its VHD, too: on a device there is no footer.
    workshop.put(image(Shape::Azure).vhd(), "source.vhd");
    let mut expected = extended(Shape::Azure);
    expected.disk_bytes = image(Shape::Azure).geometry.disk_sectors * 512 + (32 << 20);
    expected.grow_root = true;
    expected.root_last_lba = expected.disk_bytes / 512 - 34;
    let file = workshop.path("device");
    let Some(device) = Loop::filled(&file, expected.disk_bytes, 0) else {
        return;
    };
    let arguments = ["--grow-root", "-o", device.name(), "source.vhd"];
    exits(workshop.encrypt().args(arguments), 0);
    device.settle();
    judge(image(Shape::Azure), &file, &expected);
}

#[test]
fn what_does_not_go_is_told_before_anything_is_written() {
    if !ready() || !can_loop() || !programs(&["gzip"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    workshop.put(&image(Shape::LargeSectors).raw, "large.img");
    exits(
        command("gzip")
            .args(["-k", "-1"])
            .arg(workshop.path("source.img")),
        0,
    );
    let len_bytes = extended(Shape::Tiny).disk_bytes;
    let file = workshop.path("device");
    let refuses = |len_bytes: u64, value: u8, arguments: &[&str], source: &str, message: &str| {
        let Some(device) = Loop::filled(&file, len_bytes, value) else {
            return false;
        };
        let before = state(&file);
        let mut encrypt = workshop.encrypt();
        encrypt.args(arguments).args(["-o", device.name(), source]);
        let wanted = message.replace("DEVICE", device.name());
        assert_eq!(refused(&mut encrypt), wanted);
        assert_eq!(state(&file), before);
        true
    };
    if !refuses(
        len_bytes,
        1,
        &[],
        "source.img",
        "error: DEVICE: the device is not blank\n\
         hint: --overwrite writes over what stands there, which is lost with the first write\n",
    ) {
        return;
    }
    let needed = image(Shape::Tiny).geometry.disk_sectors * 512;
    refuses(
        needed - 512,
        0,
        &[],
        "source.img",
        &format!(
            "error: DEVICE: the device has {} bytes, and the disk takes {needed}\n",
            needed - 512
        ),
    );
    let filesystem = image(Shape::Tiny).geometry.filesystem_bytes();
    let partition = image(Shape::Tiny).geometry.partition_bytes();
    refuses(
        len_bytes - (1 << 20),
        0,
        &[],
        "source.img",
        &format!(
            "error: source.img: the LUKS2 header needs 16 MiB: filesystem and header take {} bytes, the root \
             partition has {partition}, and only 30720 sectors behind it are free on the \
             device\n\
             hint: a longer device has room for it\n",
            filesystem + (16 << 20)
        ),
    );
    for way in ["extend", "shrink"] {
        refuses(
            len_bytes,
            0,
            &["--make-room", way],
            "source.img",
            "error: source.img: a device keeps its length: --make-room takes auto or grow\n",
        );
    }
    refuses(
        len_bytes,
        0,
        &["--output-format", "vhd"],
        "source.img",
        "error: a device, and a file that is converted in place, keep their format: leave --output-format out\n",
    );
    refuses(
        len_bytes,
        0,
        &[],
        "source.img.gz",
        "error: source.img.gz: the file is packed (gzip): its plain bytes pass through a file beside the output, and a \
         device has none\n\
         hint: unpack it into a file first\n",
    );
    refuses(
        extended(Shape::LargeSectors).disk_bytes,
        0,
        &[],
        "large.img",
        "error: DEVICE: the device has sectors of 512 bytes, and the partition table is one for sectors of 4096: \
         nobody would find it there\n",
    );
}

#[test]
fn a_mounted_device_is_left_alone() {
    if !ready() || !can_loop() || !programs(&["mount", "umount"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    let file = workshop.path("device");
    let Some(device) = Loop::filled(&file, 64 << 20, 0) else {
        return;
    };
    exits(command("mke2fs").arg("-q").arg(&device.device), 0);
    let folder = workshop.path("mounted");
    std::fs::create_dir(&folder).unwrap();
    let mounted = command("mount")
        .arg(&device.device)
        .arg(&folder)
        .output()
        .unwrap();
    if !mounted.status.success() {
        eprintln!("SKIPPED: nothing can be mounted: {}", stderr(&mounted));
        return;
    }
    let arguments = ["--overwrite", "-o", device.name(), "source.img"];
    let message = refused(workshop.encrypt().args(arguments));
    exits(command("umount").arg(&folder), 0);
    assert_eq!(
        message,
        format!(
            "error: {}: the device is in use: it, or a partition of it, is mounted or part of another volume\n\
             hint: unmount it first, and close what else uses it\n",
            device.name()
        )
    );
    exits(workshop.encrypt().args(arguments), 0);
}

#[test]
fn a_failed_run_says_what_is_on_the_device() {
    if !ready() || !can_loop() || !programs(&["strace"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    let expected = extended(Shape::Tiny);
    let file = workshop.path("device");
    let Some(device) = Loop::filled(&file, expected.disk_bytes, 0xaa) else {
        return;
    };
    let arguments = [
        "--threads=1",
        "--overwrite",
        "-o",
        device.name(),
        "source.img",
    ];
    let inject = |what: &str| {
        let mut strace = workshop.command("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e"]);
        strace.arg(format!("inject=pwrite64:{what}"));
        strace
            .arg(workshop.program())
            .arg("encrypt")
            .args(arguments);
        let output = strace.output().unwrap();
        error_in(&stderr(&output)).to_owned()
    };
    let hint = "hint: nobody takes what is on the device for a disk; run again with --overwrite\n";
    let failed = inject("error=EIO:when=6");
    let start = format!("error: {}: cannot write at offset ", device.name());
    assert!(failed.starts_with(&start), "{failed}");
    assert!(
        failed.ends_with(&format!(
            "  because: Input/output error (os error 5)\n{hint}"
        )),
        "{failed}"
    );
    assert!(files::is_zero(&files::read(&device.device, 0, 34 * 512)));
    // With the first write the old table may be there as well.
    let first = inject("error=EIO:when=1");
    assert_eq!(
        first,
        format!(
            "error: {}: the device could not be cleared: it may hold what it held before, or a part of it\n  \
             because: cannot write at offset 0\n  \
             because: Input/output error (os error 5)\n\
             hint: its old partition table may be there, and lead to damaged data: use the device for nothing before it is \
             written again with --overwrite\n",
            device.name()
        )
    );
    let stopped = inject("signal=TERM:when=6");
    assert_eq!(
        stopped,
        format!(
            "error: {}: interrupted; the device has no partition table, and a part of the image\n{hint}",
            device.name()
        )
    );
    // Its two ends are blank now, but that is no reason to begin unasked.
    exits(workshop.encrypt().args(arguments), 0);
    device.settle();
    judge(image(Shape::Tiny), &file, &expected);
}
