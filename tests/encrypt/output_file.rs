//! The output's name: who may have it, what is replaced, and what is refused before anything is written.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::support::disk::is_vhd;
use crate::support::exits;
use crate::support::image::{Shape, image};
use crate::support::workshop::{Workshop, give_away, refused, state, stderr, stdout};

fn workshop() -> Workshop {
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    workshop
}

/// A refusal must leave the folder and the source as they were.
#[track_caller]
fn refusal(workshop: &Workshop, arguments: &[&str]) -> String {
    let source = workshop.path("source.img");
    let before = (state(&source), workshop.names());
    let message = refused(workshop.encrypt().args(arguments));
    assert_eq!((state(&source), workshop.names()), before);
    message
}

fn mode(file: &Path) -> u32 {
    file.metadata().unwrap().mode() & 0o7777
}

#[test]
fn a_new_output_is_the_owners_alone_whatever_the_umask() {
    if !crate::can_judge() {
        return;
    }
    let workshop = workshop();
    for umask in ["000", "022", "277"] {
        let script =
            format!("umask {umask}; exec \"$0\" encrypt --overwrite -o output.img source.img");
        exits(
            workshop
                .command("sh")
                .args(["-c", &script])
                .arg(workshop.program()),
            0,
        );
        assert_eq!(mode(&workshop.path("output.img")), 0o600, "umask {umask}");
    }
    assert_eq!(workshop.names(), ["output.img", "source.img"]);
}

#[test]
fn an_existing_output_is_refused_without_overwrite_and_replaced_with_it() {
    if !crate::can_judge() {
        return;
    }
    let workshop = workshop();
    let output = workshop.write("output.img", b"something of the user's");
    let inode = output.metadata().unwrap().ino();
    assert_eq!(
        refusal(&workshop, &["-o", "output.img", "source.img"]),
        "error: output.img: the output exists already\nhint: --overwrite replaces it\n"
    );
    assert_eq!(std::fs::read(&output).unwrap(), b"something of the user's");
    exits(
        workshop
            .encrypt()
            .args(["--overwrite", "-o", "output.img", "source.img"]),
        0,
    );
    assert_ne!(output.metadata().unwrap().ino(), inode);
    assert_eq!(mode(&output), 0o600);
    assert_eq!(workshop.names(), ["output.img", "source.img"]);
    // Again, over a real output.
    exits(
        workshop
            .encrypt()
            .args(["--overwrite", "--output", "output.img", "source.img"]),
        0,
    );
    assert_eq!(workshop.names(), ["output.img", "source.img"]);
}

#[test]
fn a_link_at_the_outputs_name_is_followed_to_the_file_that_is_replaced() {
    if !crate::can_judge() {
        return;
    }
    let workshop = workshop();
    let target = workshop.write("target.img", b"old");
    symlink("target.img", workshop.path("output.img")).unwrap();
    exits(
        workshop
            .encrypt()
            .args(["--overwrite", "-o", "output.img", "source.img"]),
        0,
    );
    assert!(workshop.path("output.img").is_symlink());
    assert!(target.metadata().unwrap().len() > 1 << 20);
    assert_eq!(workshop.names(), ["output.img", "source.img", "target.img"]);
}

#[test]
fn an_output_that_is_the_source_is_refused_by_whatever_name() {
    if !crate::can_judge() {
        return;
    }
    let workshop = workshop();
    symlink("source.img", workshop.path("symbolic")).unwrap();
    std::fs::hard_link(workshop.path("source.img"), workshop.path("hard")).unwrap();
    for name in ["source.img", "./source.img", "symbolic", "hard"] {
        for overwrite in [&[][..], &["--overwrite"]] {
            assert_eq!(
                refusal(
                    &workshop,
                    &[overwrite, &["-o", name, "source.img"]].concat()
                ),
                format!(
                    "error: {name}: the output is the source itself\n\
                     hint: leave --output out to replace the source\n"
                ),
                "{overwrite:?}"
            );
        }
    }
}

#[test]
fn an_output_folder_that_is_missing_or_no_folder_is_refused() {
    if !crate::can_judge() {
        return;
    }
    let workshop = workshop();
    workshop.write("file", b"");
    for (output, message) in [
        (
            "missing/output.img",
            "the output's directory missing does not exist",
        ),
        ("file/output.img", "file is not a directory"),
        (
            "missing/",
            "the output's path names no file\nhint: name the file itself: FOLDER/NAME",
        ),
    ] {
        assert_eq!(
            refusal(&workshop, &["-o", output, "source.img"]),
            format!("error: {output}: {message}\n")
        );
    }
    workshop.command("mkdir").arg("folder").status().unwrap();
    for overwrite in [&[][..], &["--overwrite"]] {
        assert_eq!(
            refusal(
                &workshop,
                &[overwrite, &["-o", "folder", "source.img"]].concat()
            ),
            "error: folder: the output is a directory, which is not replaced\n"
        );
    }
}

#[test]
fn a_read_only_folder_is_refused_before_anything_is_read() {
    if !crate::can_judge() {
        return;
    }
    let workshop = workshop();
    let folder = workshop.path("folder");
    std::fs::create_dir(&folder).unwrap();
    give_away(&folder);
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o555)).unwrap();
    for dry_run in [&[][..], &["--dry-run"]] {
        let arguments = [dry_run, &["-o", "folder/output.img", "source.img"]].concat();
        let output = exits(workshop.encrypt().args(arguments), 1);
        assert_eq!(
            (stdout(&output), stderr(&output)),
            (
                String::new(),
                "error: folder/output.img: cannot make a file in the directory folder\n  \
                 because: Permission denied (os error 13)\n"
                    .to_owned()
            )
        );
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn a_name_that_promises_another_format_is_noticed_unless_the_format_is_named() {
    if !crate::can_judge() {
        return;
    }
    let workshop = workshop();
    let warnings = |arguments: &[&str]| -> Vec<String> {
        let mut command = workshop.encrypt();
        command.arg("--dry-run").args(arguments).arg("source.img");
        let text = stderr(&exits(&mut command, 0));
        text.lines().map(str::to_owned).collect()
    };
    assert_eq!(
        warnings(&["-o", "disk.QCOW2"]),
        [
            "warning: the output is a raw image, whatever the ending .QCOW2 says (--output-format chooses)"
        ]
    );
    assert_eq!(
        warnings(&["-o", "disk.vmdk", "--output-format", "raw"]),
        [""; 0]
    );
    assert_eq!(warnings(&["-o", "disk.2"]), [""; 0]);
}

#[test]
fn the_format_follows_the_flag_then_the_extension_then_the_source() {
    if !crate::can_judge() {
        return;
    }
    let workshop = workshop();
    workshop.put(image(Shape::Tiny).vhd(), "source.vhd");
    workshop.put(&image(Shape::Tiny).raw, "source");
    for (source, output, flag, vhd) in [
        ("source.img", "a.img", "", false),
        ("source.img", "a.VHD", "", true),
        ("source.img", "a", "", false),
        ("source.vhd", "b", "", true),
        ("source.vhd", "b.raw", "", false),
        ("source.vhd", "b.img", "vhd", true),
        ("source.img", "c.vhd", "raw", false),
        ("source", "d", "vhd", true),
    ] {
        let mut command = workshop.encrypt();
        command.args(["-o", output, source, &format!("--output-format={flag}")]);
        exits(&mut command, 0);
        assert_eq!(
            is_vhd(&workshop.path(output)),
            vhd,
            "{source} {output} {flag}"
        );
    }
}
