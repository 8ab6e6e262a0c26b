//! Code that a hostile image has taken over opens no other file, starts no program and makes no connection.

use std::fs;

use crate::encrypted::{Encrypted, FLAGS, ready};
use crate::support::intruder::{Intruder, got, kernel_can_confine, lay_out, nothing_at};
use crate::support::programs;
use crate::support::workshop::stderr;

#[test]
fn foreign_code_in_the_process_gets_at_nothing_else() {
    if !ready() || !programs(&["cc", "python3"]) || !kernel_can_confine() {
        return;
    }
    let outputs = [
        &["--recovery-key-out", "made/recovery.key"][..],
        &["-o", "made/copy.img", "--report", "made/report.json"],
    ];
    for output in outputs {
        let image = Encrypted::new();
        lay_out(&image.workshop);
        let mut program = Intruder::new(&image.workshop).program(&image.workshop);
        program
            .arg("deploy")
            .args(FLAGS)
            .args(output)
            .arg("disk.img");
        let output = program.output().unwrap();
        let talk = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{talk}");
        assert_eq!(got(&talk), nothing_at(&["read", "write"]));
        let prey = fs::read_dir(image.workshop.path("prey")).unwrap();
        assert_eq!(prey.count(), 1);
    }
}
