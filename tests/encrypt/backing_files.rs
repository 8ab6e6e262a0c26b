//! An image above other ones, which the user names: what comes out is that of the same image as raw.

use std::fs;

use operations::Error;

use crate::can_judge;
use crate::conversion::Conversion;
use crate::oracle::Choice;
use crate::support::image::{Shape, image};
use crate::support::workshop::{Workshop, refused, stderr, stdout};
use crate::support::{exits, files, programs, run};

const MIB: u64 = 1 << 20;

fn ready() -> bool {
    can_judge() && programs(&["qemu-io"])
}

fn qemu_img(workshop: &Workshop, arguments: &[&str]) {
    run(workshop.command("qemu-img").args(arguments));
}

/// Makes the file `source` the disk `base` with one MiB of noise at these places, and `top` an image above it that has the
/// right bytes there.
fn part(workshop: &Workshop, base: &str, top: &str, format: &str, places: &[u64]) {
    let source = workshop.path("source");
    let mut write = workshop.command("qemu-io");
    write.args(["-f", "qcow2"]);
    for at in places {
        let right = files::read(&source, at * MIB, 1 << 20);
        workshop.write(&format!("piece{at}"), &right);
        files::write(&source, at * MIB, &vec![0xa5; right.len()]);
        write.args(["-c", &format!("write -q -s piece{at} {at}M 1M")]);
    }
    if format == "raw" {
        fs::rename(source, workshop.path(base)).unwrap();
    } else {
        let convert = ["convert", "-q", "-f", "raw", "-O", format, "-c"];
        qemu_img(workshop, &[&convert[..], &["source", base]].concat());
        fs::remove_file(source).unwrap();
    }
    let create = ["create", "-q", "-f", "qcow2", "-b", base, "-F", format, top];
    qemu_img(workshop, &create);
    run(write.arg(top));
    for at in places {
        fs::remove_file(workshop.path(&format!("piece{at}"))).unwrap();
    }
}

#[test]
fn an_image_above_a_raw_one() {
    if !ready() {
        return;
    }
    let conversion = Conversion::new(Shape::Tiny, Choice::default());
    conversion
        .with(&["--backing-file", "base"], |_| ())
        .packed(|workshop| part(workshop, "base", "source", "raw", &[0, 2, 5, 7]))
        .run();
}

#[test]
fn an_image_above_a_compressed_one_read_by_several_threads() {
    if !ready() {
        return;
    }
    let conversion = Conversion::new(Shape::Stock, Choice::default());
    conversion
        .with(&["--backing-file", "base", "--threads", "4"], |_| ())
        .packed(|workshop| part(workshop, "base", "source", "qcow2", &[0, 3, 9, 20]))
        .run();
}

#[test]
fn a_packed_image_above_a_chain() {
    if !ready() || !programs(&["gzip"]) {
        return;
    }
    let conversion = Conversion::new(Shape::Tiny, Choice::default());
    let named = ["--backing-file", "middle", "--backing-file", "base"];
    conversion
        .with(&named, |_| ())
        .packed(|workshop| {
            part(workshop, "base", "middle", "raw", &[1, 4]);
            let create = ["create", "-q", "-f", "qcow2", "-b", "middle", "-F"];
            qemu_img(workshop, &[&create[..], &["qcow2", "source"]].concat());
            run(workshop.command("gzip").arg("source"));
            fs::rename(workshop.path("source.gz"), workshop.path("source")).unwrap();
        })
        .run();
}

#[test]
fn files_are_read_that_were_named_and_no_others() {
    if !ready() {
        return;
    }
    let workshop = Workshop::new();
    workshop.put(&image(Shape::Tiny).raw, "source");
    part(&workshop, "base", "top", "raw", &[2]);
    let names = workshop.names();
    let refusal = |more: &[&str]| refused(workshop.encrypt().args(more).arg("top"));
    let name_it = "hint: name the file to read, the one in the image is not followed: --backing-file FILE, once for each file below, from the top down\n";
    let once =
        "hint: --backing-file is given once for each file below an image, from the top down\n";
    let to = ["-o", "output"];
    assert_eq!(
        refusal(&to),
        format!(
            "error: top: the qcow2 image cannot be read: it holds the changes to a backing file, \"base\"\n{name_it}"
        )
    );
    let options = |files: &[&'static str]| {
        let below = files.iter().flat_map(|file| ["--backing-file", file]);
        below.chain(to).collect::<Vec<_>>()
    };
    assert_eq!(
        refusal(&options(&["base", "base"])),
        format!(
            "error: top: the backing file base: it has no backing file, but base was named as one\n{once}"
        )
    );
    assert_eq!(
        refusal(&options(&["none"])),
        "error: top: the backing file none: cannot open the file: No such file or directory (os error 2)\n"
    );
    assert_eq!(
        refusal(&["--backing-file", "base", "-o", "base", "--overwrite"]),
        "error: --output and --backing-file name one file: base\n"
    );
    // The library has a check of its own, on the files that are open.
    assert_eq!(
        Error::OutputIsBackingFile {
            path: "base".into()
        }
        .to_string(),
        "the output is the backing file base itself"
    );
    assert_eq!(
        refusal(&["--backing-file", "base"]),
        "error: top: the file is a qcow2 image, which is not written: its encrypted self cannot replace it\n\
         hint: name the output: --output FILE\n"
    );
    let mut raw = workshop.encrypt();
    raw.args(["--backing-file", "top", "-o", "output", "base"]);
    assert_eq!(
        refused(&mut raw),
        format!("error: base: it has no backing file, but top was named as one\n{once}")
    );
    assert_eq!(workshop.names(), names);

    let mut plan = workshop.encrypt();
    plan.args(["--dry-run", "--backing-file", "base", "-o", "output", "top"]);
    let output = exits(&mut plan, 0);
    let plan = stdout(&output);
    let expected =
        "source      top, qcow2, 8.0 MiB\nlies on     base, raw\noutput      output, raw, ";
    assert!(plan.starts_with(expected), "{plan}");
    assert_eq!(stderr(&output), "");
}

/// With the name in the image leading nowhere, and a file of another name in its place.
#[test]
fn the_stored_name_does_not_matter() {
    if !ready() {
        return;
    }
    let conversion = Conversion::new(Shape::Tiny, Choice::default());
    conversion
        .with(&["--backing-file", "other"], |_| ())
        .packed(|workshop| {
            part(workshop, "base", "source", "raw", &[3]);
            fs::rename(workshop.path("base"), workshop.path("other")).unwrap();
            workshop.write("base", b"not this one");
        })
        .run();
}
