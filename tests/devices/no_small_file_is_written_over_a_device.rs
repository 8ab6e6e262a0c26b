//! Reports, logs, configurations and keys are files, pipes or standard output: none is written over a block device.

use std::process::Command;

use crate::loops::{Loop, can_loop};
use crate::plain::Plain;
use crate::support::exits;
use crate::support::workshop::{state, stderr};

#[test]
fn a_block_device_is_refused_for_every_small_output() {
    if !crate::ready() || !can_loop() {
        return;
    }
    let plain = Plain::new();
    let Some(device) = Loop::filled(&plain.path("device"), 1 << 20, 0x5a) else {
        return;
    };
    std::fs::create_dir(plain.path("empty")).unwrap();
    let line = format!(
        r#"{{"output": "one.img", "srk_pub": "srk.pub", "report": "{}"}}"#,
        device.name()
    );
    plain.workshop().write("guests.jsonl", line.as_bytes());
    let bound = ["--srk-pub=srk.pub", "--no-pcr-policy"];
    let before = (state(&device.file), state(&plain.path("disk.img")));
    let main = |arguments: &[&str]| {
        let mut command = plain.workshop().command(plain.workshop().program());
        command.args(arguments);
        command
    };
    let give = |option: &str| format!("{option}={}", device.name());
    let (report, key, log) = (
        give("--report"),
        give("--recovery-key-out"),
        give("--tcg-log"),
    );
    let mut config = plain
        .workshop()
        .command(env!("CARGO_BIN_EXE_create-uefi-config"));
    config.args(["--efivars=empty", "--secure-boot=off", &give("--out")]);
    let of_log = [
        "predict",
        "plain.img",
        "--uefi-config=uefi-config.json",
        &log,
        "--branch=1",
    ];
    let commands: Vec<(Command, &str)> = vec![
        (config, "it is a block device"),
        (main(&of_log), "it is a block device"),
        (
            main(&[&["deploy", "disk.img", &report], &bound[..]].concat()),
            "it is a block device",
        ),
        (
            main(&[&["deploy", "disk.img", &key], &bound[..]].concat()),
            "exists already",
        ),
        (
            main(
                &[
                    &["provision", "plain.img", "-o", "new.img", &report],
                    &bound[..],
                ]
                .concat(),
            ),
            "it is a block device",
        ),
        (
            main(
                &[
                    &["provision", "plain.img", "-o", "new.img", &key],
                    &bound[..],
                ]
                .concat(),
            ),
            "exists already",
        ),
        (
            main(&[
                "provision",
                "plain.img",
                "--guests=guests.jsonl",
                "--no-pcr-policy",
            ]),
            "it is a block device",
        ),
    ];
    for (mut command, why) in commands {
        let said = stderr(&exits(&mut command, 1));
        assert!(said.contains(why), "{command:?}: {said}");
        assert!(
            (state(&device.file), state(&plain.path("disk.img"))) == before,
            "{command:?} wrote"
        );
        assert!(!plain.path("new.img").exists() && !plain.path("one.img").exists());
    }
}
