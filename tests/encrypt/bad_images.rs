//! Files that are no image, no whole one, or one of another format.

use std::path::Path;

use crate::refusal::refuses;
use crate::support::image::{Shape, image};
use crate::support::workshop::{Workshop, refused, stderr};
use crate::support::{disk, exits, files, programs, run};

#[test]
fn a_file_that_is_no_image() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let source = |content: &[u8]| workshop.write("source.img", content);
    source(b"");
    let encrypt = |name: &str| refused(workshop.encrypt().args(["-o", "output.img", name]));
    assert_eq!(
        encrypt("source.img"),
        "error: source.img: the file is empty\n"
    );
    source(&b"some text that is no disk\n".repeat(4000));
    assert_eq!(
        encrypt("source.img"),
        "error: source.img: the file is not a disk image: no partition table and no known format in 104000 bytes\n"
    );
    source(&vec![0; 1 << 20]);
    assert_eq!(
        encrypt("source.img"),
        "error: source.img: the file is not a disk image: no partition table and no known format in 1048576 bytes\n"
    );
    assert_eq!(
        encrypt("missing.img"),
        "error: missing.img: cannot open the file\n  because: No such file or directory (os error 2)\n"
    );
    assert_eq!(
        encrypt("."),
        "error: .: it is a directory; only image files and block devices are read\n"
    );
    assert_eq!(
        encrypt("/dev/null"),
        "error: /dev/null: it is a character device; only image files and block devices are read\n"
    );
}

#[test]
fn other_formats_with_the_line_that_converts_them() {
    if !crate::can_judge() || !programs(&["qemu-img"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    for (name, format, what) in [
        ("a.vdi", "vdi", "a VDI image"),
        ("b.qed", "qed", "a QED image"),
    ] {
        let mut convert = workshop.command("qemu-img");
        convert.args(["convert", "-O", format, "source.img", name]);
        run(&mut convert);
        assert_eq!(
            refused(workshop.encrypt().arg(name)),
            format!(
                "error: {name}: the file is {what}, which is not read directly\n\
                 hint: qemu-img convert -f {format} -O raw {name} {name}.raw\n"
            )
        );
        // The line of the hint is one that works.
        let hint = format!("qemu-img convert -f {format} -O raw {name} {name}.raw");
        run(workshop.command("sh").args(["-c", &hint]));
        exits(
            workshop
                .encrypt()
                .args(["--dry-run", &format!("{name}.raw")]),
            0,
        );
    }
}

#[test]
fn a_truncated_image() {
    if !crate::can_judge() {
        return;
    }
    let geometry = Shape::Tiny.geometry();
    let cut = |bytes: u64| {
        move |source: &Path| {
            let file = files::open_to_write(source);
            file.set_len(geometry.disk_sectors * 512 - bytes).unwrap();
        }
    };
    for (bytes, sectors) in [(1 << 20, 14336), (512, 16383)] {
        refuses(
            &[],
            cut(bytes),
            &format!(
                "error: source.img: the disk is truncated: its partition table describes 16384 sectors of \
                 512 bytes, {sectors} are there\n"
            ),
        );
    }
}

#[test]
fn a_vhd_with_a_wrong_footer() {
    if !crate::can_judge() {
        return;
    }
    let footer_at = files::open(image(Shape::Tiny).vhd()).1 - 512;
    let with = |change: &dyn Fn(&mut [u8])| {
        let workshop = Workshop::new();
        let source = workshop.put(image(Shape::Tiny).vhd(), "source.vhd");
        let mut footer = files::read(&source, footer_at, 512);
        change(&mut footer);
        files::write(&source, footer_at, &footer);
        refused(workshop.encrypt().args(["-o", "output.img", "source.vhd"]))
    };
    let sum = |footer: &mut [u8]| {
        footer[64..68].fill(0);
        let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
        footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    };
    let message = with(&|footer| footer[100] ^= 1);
    assert!(
        message.starts_with("error: source.vhd: the VHD footer's checksum 0x"),
        "{message}"
    );
    assert!(message.contains(" should be 0x"), "{message}");
    let message = with(&|footer| {
        footer[48..56].copy_from_slice(&(footer_at + 512).to_be_bytes());
        sum(footer);
    });
    assert_eq!(
        message,
        format!(
            "error: source.vhd: the VHD footer says {} bytes of disk, before it lie {footer_at}\n",
            footer_at + 512
        )
    );
}

#[test]
fn an_image_with_something_behind_its_end_is_taken_with_a_warning() {
    if !crate::can_judge() {
        return;
    }
    for (more, warning, disk_bytes) in [
        (
            1 << 20,
            "warning: the backup partition table is at LBA 16383, not at the disk's last LBA 18431\n",
            25 << 20,
        ),
        (
            5,
            "warning: the last 5 bytes of the disk are less than a sector of 512 bytes\n",
            24 << 20,
        ),
    ] {
        let workshop = Workshop::new();
        let source = workshop.source(image(Shape::Tiny));
        let len_bytes = files::open(&source).1;
        files::open_to_write(&source)
            .set_len(len_bytes + more)
            .unwrap();
        let mut encrypt = workshop.encrypt();
        let output = exits(encrypt.args(["-o", "output.img", "source.img"]), 0);
        assert!(stderr(&output).contains(warning), "{}", stderr(&output));
        let made = workshop.path("output.img");
        assert_eq!(files::open(&made).1 >> 20, disk_bytes >> 20);
        files::open_to_write(&made).set_len(disk_bytes).unwrap();
        assert_eq!(disk::problems(&made, 512), "");
    }
}

#[test]
fn a_time_that_is_no_number() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    let mut encrypt = workshop.encrypt();
    encrypt
        .env("SOURCE_DATE_EPOCH", "yesterday")
        .args(["--dry-run", "source.img"]);
    assert_eq!(
        refused(&mut encrypt),
        "error: SOURCE_DATE_EPOCH is no number of seconds: yesterday\n"
    );
}
