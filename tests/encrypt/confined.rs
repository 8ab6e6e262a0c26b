//! Code that a hostile image has taken over opens no other file, starts no program and makes no connection.

use std::fs;

use crate::support::image::{Shape, image};
use crate::support::intruder::{Got, Intruder, got, kernel_can_confine, lay_out, nothing_at};
use crate::support::programs;
use crate::support::workshop::{Workshop, stderr};

/// Encrypts `made/source.img`, and tells where the intruder was and what it got at.
fn encrypt(shape: Shape, arguments: &[&str]) -> (Workshop, Vec<(String, Got)>) {
    let workshop = Workshop::new();
    lay_out(&workshop);
    workshop.put(&image(shape).raw, "made/source.img");
    let mut program = Intruder::new(&workshop).program(&workshop);
    program
        .arg("encrypt")
        .args(arguments)
        .arg("made/source.img");
    let output = program.output().unwrap();
    let talk = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{talk}");
    assert_eq!(fs::read_dir(workshop.path("prey")).unwrap().count(), 1);
    let got = got(&talk);
    (workshop, got)
}

fn ready() -> bool {
    crate::can_judge() && programs(&["cc", "python3"]) && kernel_can_confine()
}

#[test]
fn foreign_code_in_the_process_gets_at_nothing_else() {
    if !ready() {
        return;
    }
    for arguments in [&["-o", "made/output.img"][..], &[]] {
        let (workshop, got) = encrypt(Shape::Demo, arguments);
        assert_eq!(got, nothing_at(&["read", "libext2fs", "write"]));
        let made = fs::read_dir(workshop.path("made")).unwrap().count();
        assert_eq!(made, 1 + arguments.len() / 2);
    }
}

#[test]
fn where_resize2fs_runs_it_still_writes_nowhere_else() {
    if !ready() || !programs(&["resize2fs"]) {
        return;
    }
    let arguments = ["--make-room", "shrink", "-o", "made/output.img"];
    let (_, got) = encrypt(Shape::Followed, &arguments);
    // It reads and starts what resize2fs and its libraries could be.
    let some = || Got::Else("read 0, make 13, start 0, connect 13".to_owned());
    assert_eq!(
        got,
        [
            ("start".to_owned(), Got::Everything),
            ("read".to_owned(), some()),
            ("libext2fs".to_owned(), some()),
            ("write".to_owned(), some()),
        ]
    );
}
