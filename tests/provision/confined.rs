//! Code that a hostile image has taken over opens no other file, starts no program and makes no connection.

use std::fs;

use crate::encrypted::{FLAGS, ready};
use crate::plain::Plain;
use crate::support::intruder::{Intruder, got, kernel_can_confine, lay_out, nothing_at};
use crate::support::programs;
use crate::support::workshop::stderr;

#[test]
fn foreign_code_in_the_process_gets_at_nothing_else() {
    if !ready() || !programs(&["cc", "python3"]) || !kernel_can_confine() {
        return;
    }
    let one = [
        &FLAGS[..],
        &["--recovery-key-out", "made/recovery.key"],
        &["-o", "made/guest.img", "--report", "made/report.json"],
    ];
    let many = [&FLAGS[2..], &["--guests", "guests.jsonl"]];
    for arguments in [one.concat(), many.concat()] {
        let plain = Plain::new();
        let workshop = plain.workshop();
        lay_out(workshop);
        let guests = "{\"output\": \"made/a.img\", \"srk_pub\": \"srk.pub\", \"report\": \"made/a\"}\n\
                      {\"output\": \"made/b.img\", \"srk_pub\": \"srk.pub\"}\n";
        workshop.write("guests.jsonl", guests.as_bytes());
        let mut program = Intruder::new(workshop).program(workshop);
        program.arg("provision").args(arguments).arg("plain.img");
        let output = program.output().unwrap();
        let talk = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{talk}");
        assert_eq!(got(&talk), nothing_at(&["read", "libext2fs", "write"]));
        let made = fs::read_dir(workshop.path("made")).unwrap();
        assert_eq!(made.count(), 3);
        let prey = fs::read_dir(workshop.path("prey")).unwrap();
        assert_eq!(prey.count(), 1);
    }
}
