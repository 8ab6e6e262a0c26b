//! Packed images: what comes out is that of the plain image, and nothing stays behind.
//!
//! The judge is that of every other conversion, against the raw image.

use std::fs::{self, File};

use crate::can_judge;
use crate::conversion::Conversion;
use crate::oracle::Choice;
use crate::support::image::{Shape, image};
use crate::support::workshop::{Workshop, refused, stderr};
use crate::support::{command, exits, files, programs, run};

/// Makes the file `source` a packed one, by a program.
fn pack(workshop: &Workshop, command: &[&str]) {
    fs::rename(workshop.path("source"), workshop.path("plain")).unwrap();
    let mut pack = workshop.command(command[0]);
    pack.args(&command[1..]);
    pack.stdin(File::open(workshop.path("plain")).unwrap());
    let packed = File::create(workshop.path("source")).unwrap();
    run(pack.stdout(packed));
    fs::remove_file(workshop.path("plain")).unwrap();
}

/// The same, as the member of an archive.
fn zip(workshop: &Workshop, member: &str) {
    fs::rename(workshop.path("source"), workshop.path("plain")).unwrap();
    let script = "import sys, zipfile; z = zipfile.ZipFile('source', 'w', zipfile.ZIP_DEFLATED); z.write('plain', sys.argv[1])";
    let mut python = command("python3");
    run(python
        .args(["-c", script, member])
        .current_dir(workshop.folder()));
    fs::remove_file(workshop.path("plain")).unwrap();
}

#[track_caller]
fn is_taken_like_raw(shape: Shape, choice: Choice, packing: &str, pack: fn(&Workshop)) {
    if !can_judge() || !programs(&["gzip", "xz", "zstd", "python3"]) {
        return;
    }
    let converted = Conversion::new(shape, choice).packed(pack).run();
    let notice = format!(
        "notice: the source is packed ({packing}): its plain bytes pass through a file without a name in .\n"
    );
    let talk = stderr(&converted.output);
    assert!(talk.starts_with(&notice), "{talk}");
}

#[test]
fn an_image_compressed_by_gzip() {
    is_taken_like_raw(Shape::Stock, Choice::default(), "gzip", |workshop| {
        pack(workshop, &["gzip", "-c"]);
    });
}

#[test]
fn an_image_compressed_by_xz() {
    let shrink = Choice {
        make_room: "shrink",
        ..Choice::default()
    };
    is_taken_like_raw(Shape::Azure, shrink, "xz", |workshop| {
        pack(workshop, &["xz", "-c", "-1"]);
    });
}

#[test]
fn a_vhd_compressed_by_zstd() {
    let vhd = Choice {
        from_vhd: true,
        to_vhd: true,
        ..Choice::default()
    };
    is_taken_like_raw(Shape::Demo, vhd, "zstd", |workshop| {
        pack(workshop, &["zstd", "-q", "-c"]);
    });
}

#[test]
fn a_vhd_in_an_archive_as_azure_images_are_published() {
    let vhd = Choice {
        from_vhd: true,
        to_vhd: true,
        ..Choice::default()
    };
    is_taken_like_raw(Shape::Stock, vhd, "ZIP", |workshop| {
        zip(workshop, "livecd.azure.vhd");
    });
}

#[test]
fn a_qcow2_image_compressed_once_more() {
    is_taken_like_raw(Shape::Tiny, Choice::default(), "gzip", |workshop| {
        fs::rename(workshop.path("source"), workshop.path("raw")).unwrap();
        let mut convert = workshop.command("qemu-img");
        run(convert.args(["convert", "-f", "raw", "-O", "qcow2", "-c", "raw", "source"]));
        fs::remove_file(workshop.path("raw")).unwrap();
        pack(workshop, &["gzip", "-c"]);
    });
}

#[test]
fn a_plan_is_made_of_a_packed_image_too_and_nothing_stays() {
    if !can_judge() || !programs(&["xz"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.put(&image(Shape::Tiny).raw, "source");
    pack(&workshop, &["xz", "-c", "-1"]);
    let mut encrypt = workshop.encrypt();
    let output = exits(encrypt.args(["--dry-run", "-o", "output", "source"]), 0);
    let plan = String::from_utf8(output.stdout).unwrap();
    assert!(
        plan.starts_with("source      source, raw packed (xz), 8.0 MiB\noutput      output, raw, "),
        "{plan}"
    );
    assert_eq!(workshop.names(), ["source"]);
}

#[test]
fn a_packed_image_is_not_replaced() {
    if !can_judge() || !programs(&["gzip"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.put(&image(Shape::Tiny).raw, "source");
    pack(&workshop, &["gzip", "-c"]);
    assert_eq!(
        refused(workshop.encrypt().arg("source")),
        "error: source: the file is packed (gzip): its encrypted self cannot replace it\n\
         hint: name the output: --output FILE\n"
    );
    assert_eq!(workshop.names(), ["source"]);
}

#[test]
fn a_packed_image_that_was_cut_off_or_holds_something_else_leaves_nothing() {
    if !can_judge() || !programs(&["gzip", "tar"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.put(&image(Shape::Tiny).raw, "source");
    pack(&workshop, &["gzip", "-c"]);
    let source = workshop.path("source");
    let half = files::open(&source).1 / 2;
    files::open_to_write(&source).set_len(half).unwrap();
    let encrypt = || refused(workshop.encrypt().args(["-o", "output", "source"]));
    assert_eq!(
        encrypt(),
        "error: source: the gzip file cannot be unpacked: it ends too early: it was cut off, or its end is damaged\n"
    );
    assert_eq!(workshop.names(), ["source"]);
    let mut tar = workshop.command("tar");
    run(tar.args(["-czf", "archive", "source"]));
    fs::rename(workshop.path("archive"), &source).unwrap();
    assert_eq!(
        encrypt(),
        "error: source: the gzip file cannot be unpacked: in it is a tar archive, which is not read directly\n\
         hint: gzip -dc source > source.raw\n"
    );
    assert_eq!(workshop.names(), ["source"]);
}
