//! Code that a hostile image has taken over gets at the device that was named, and at no other beside it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::symlink;

use crate::encrypted::{self, FLAGS};
use crate::loops::{Loop, can_loop};
use crate::plain::Plain;
use crate::support::files;
use crate::support::intruder::{Intruder, got, kernel_can_confine, lay_out, nothing_at};
use crate::support::programs;
use crate::support::workshop::stderr;

/// Room for the LUKS2 header, and for what a crash in place must not lose.
const MORE_BYTES: u64 = 24 << 20;

/// Runs a command on a device that holds the plain image, with foreign code that reads another device.
fn on_a_device(arguments: &[&str], source: Option<&str>) {
    let plain = Plain::new();
    let workshop = plain.workshop();
    lay_out(workshop);
    let file = plain.path("device");
    fs::copy(plain.path("plain.img"), &file).unwrap();
    let len_bytes = files::open(&file).1 + MORE_BYTES;
    let opened = OpenOptions::new().write(true).open(&file).unwrap();
    opened.set_len(len_bytes).unwrap();
    let other = Loop::filled(&plain.path("other"), 1 << 20, 0);
    let (Some(device), Some(other)) = (Loop::of(&file, 512), other) else {
        return;
    };
    let prey = plain.path("prey/secret");
    fs::remove_file(&prey).unwrap();
    symlink(&other.device, &prey).unwrap();

    let mut program = Intruder::new(workshop).program(workshop);
    program.args(arguments).arg(device.name()).args(source);
    let output = program.output().unwrap();
    let talk = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{talk}");
    assert_eq!(got(&talk), nothing_at(&["read", "libext2fs", "write"]));
}

fn ready() -> bool {
    encrypted::ready() && can_loop() && programs(&["cc", "python3"]) && kernel_can_confine()
}

#[test]
fn of_an_encrypt_onto_it() {
    if ready() {
        on_a_device(&["encrypt", "--overwrite", "-o"], Some("plain.img"));
    }
}

#[test]
fn of_an_encrypt_where_it_lies() {
    if ready() {
        on_a_device(&["encrypt"], None);
    }
}

#[test]
fn of_a_provision_onto_it() {
    if ready() {
        let arguments = [&["provision"], &FLAGS[..], &["--overwrite", "-o"]].concat();
        on_a_device(&arguments, Some("plain.img"));
    }
}
