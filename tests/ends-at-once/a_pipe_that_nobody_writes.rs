//! A pipe without a writer, given as any small file, holds nothing up beyond the first signal; in a directory it is refused. A pipe
//! with a writer is read, as a shell's `<(command)` is one.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use rustix::process::Signal;

use crate::encrypted::{Encrypted, FLAGS, WITHOUT_PCRS, ready};
use crate::plain::Plain;
use crate::running::Running;
use crate::support::workshop::{Workshop, refused, stdout};
use crate::support::{exits, programs};

fn pipe(workshop: &Workshop, name: &str) {
    exits(workshop.command("mkfifo").arg(name), 0);
}

/// A program of the package beside `encrypt-cloud-image`.
fn other(workshop: &Workshop, program: &str, arguments: &[&str]) -> Command {
    let built = match program {
        "create-uefi-config" => env!("CARGO_BIN_EXE_create-uefi-config"),
        _ => env!("CARGO_BIN_EXE_print-recovery-key"),
    };
    let mut command = Command::new(built);
    command.current_dir(workshop.folder()).args(arguments);
    command
}

#[test]
fn given_as_a_file_it_is_waited_for_until_a_signal_comes() {
    if !ready() || !programs(&["mkfifo"]) {
        return;
    }
    let plain = Plain::new();
    let workshop = plain.workshop();
    pipe(workshop, "pipe");
    let names = workshop.names();
    let ours = |arguments: &[&str]| {
        let mut command = workshop.command(workshop.program());
        command.args(arguments);
        command
    };
    let srk = ["--srk-pub", "srk.pub"];
    let bound =
        |command: &'static str, more: &[&'static str]| [&[command], &srk[..], more].concat();
    let free = |command: &'static str, more: &[&'static str]| {
        [&[command], &WITHOUT_PCRS[..], more].concat()
    };
    let profiles = &FLAGS[4..];
    let commands = [
        ours(&["deploy", "--no-pcr-policy", "--srk-pub", "pipe", "disk.img"]),
        ours(
            &[
                &bound("deploy", &["--uefi-config", "pipe", "disk.img"])[..],
                profiles,
            ]
            .concat(),
        ),
        ours(
            &[
                &bound("deploy", &["--ovmf-vars", "pipe", "disk.img"])[..],
                profiles,
            ]
            .concat(),
        ),
        ours(
            &[
                &bound("deploy", &["--az-disk-profile", "pipe", "disk.img"])[..],
                profiles,
            ]
            .concat(),
        ),
        ours(&free(
            "deploy",
            &["--recovery-key-file", "pipe", "disk.img"],
        )),
        ours(&free("deploy", &["--unlock-with", "pipe", "disk.img"])),
        ours(&free(
            "deploy",
            &["--srk-template-unique-data", "pipe", "disk.img"],
        )),
        ours(&free("deploy", &["--report", "pipe", "disk.img"])),
        ours(&free(
            "deploy",
            &["--report", "pipe", "-o", "new.img", "disk.img"],
        )),
        ours(&free(
            "provision",
            &["--report", "pipe", "-o", "new.img", "plain.img"],
        )),
        ours(&free(
            "provision",
            &["--recovery-key-file", "pipe", "-o", "new.img", "plain.img"],
        )),
        ours(&free(
            "provision",
            &["--kernel-efi", "pipe", "-o", "new.img", "plain.img"],
        )),
        ours(&free("provision", &["-o", "pipe/new.img", "plain.img"])),
        ours(&[
            "provision",
            "--no-pcr-policy",
            "--guests",
            "pipe",
            "plain.img",
        ]),
        ours(&[
            "encrypt",
            "--kernel-efi",
            "pipe",
            "-o",
            "new.img",
            "plain.img",
        ]),
        ours(&["encrypt", "-o", "new.img", "pipe"]),
        ours(&[
            "inspect",
            "--against",
            "--uefi-config=uefi-config.json",
            "--report=pipe",
            "disk.img",
        ]),
        ours(&[&["predict", "--uefi-config", "pipe", "disk.img"], profiles].concat()),
        ours(&[&["predict", "--explain", "pipe", "disk.img"], &FLAGS[2..]].concat()),
        ours(&[&["predict", "--tcg-log", "pipe", "disk.img"], &FLAGS[2..]].concat()),
        other(workshop, "print-recovery-key", &["pipe"]),
        other(
            workshop,
            "create-uefi-config",
            &["--ovmf-vars", "pipe", "-o", "new.json"],
        ),
        other(
            workshop,
            "create-uefi-config",
            &["--az-disk-profile", "pipe", "-o", "new.json"],
        ),
    ];
    let (mut refused, mut ended) = (0, 0);
    for mut command in commands {
        let mut running = Running::start(&mut command);
        let process = running.id();
        running.wait_for_sleep(process);
        let (status, told) = running.ends_by(process, Signal::TERM);
        let what = format!("{command:?}: {told}");
        match (status.signal(), status.code()) {
            (Some(15), _) => ended += 1,
            (_, Some(1)) => refused += 1,
            _ => panic!("{what}"),
        }
        assert_eq!(workshop.names(), names, "{what}");
    }
    assert!(refused >= 4 && ended >= 12, "{refused} {ended}");
}

#[test]
fn in_a_directory_it_is_refused() {
    if !ready() || !programs(&["mkfifo"]) {
        return;
    }
    let encrypted = Encrypted::new();
    let workshop = &encrypted.workshop;
    exits(
        workshop
            .command("mkdir")
            .args(["-p", "esp/EFI/ubuntu", "keys", "vars"]),
        0,
    );
    for name in [
        "esp/EFI/ubuntu/shimx64.efi",
        "keys/db-1.esl",
        "vars/db-d719b2cb-3d3a-4596-a3bc-dad00e67656f",
    ] {
        pipe(workshop, name);
    }
    let predict = [
        "predict",
        "--uefi-config",
        "uefi-config.json",
        "--esp",
        "esp",
    ];
    let mut command = workshop.command(workshop.program());
    command.args(predict).args(&FLAGS[4..]);
    let said = "error: esp: shimx64.efi: cannot be read\n  \
                because: cannot read at offset 0\n  \
                because: it is a named pipe, and no regular file\n";
    assert_eq!(refused(&mut command), said);
    for (arguments, file) in [
        (["-i", "keys", "-o", "new.json"], "keys/db-1.esl"),
        (
            ["--efivars", "vars", "-o", "new.json"],
            "vars/db-d719b2cb-3d3a-4596-a3bc-dad00e67656f",
        ),
    ] {
        let message = refused(&mut other(workshop, "create-uefi-config", &arguments));
        assert!(message.contains(file), "{message}");
        assert!(
            message.contains("it is a named pipe, and no regular file"),
            "{message}"
        );
    }
    assert!(!workshop.path("new.json").exists());
}

#[test]
fn with_a_writer_it_is_a_file_like_any_other() {
    if !ready() || !programs(&["bash", "mkfifo"]) {
        return;
    }
    let plain = Plain::new();
    let workshop = plain.workshop();
    workshop.write("own.key", &[7; 16]);
    let line = r#"{"output": "a.img", "srk_pub": "srk.pub"}"#;
    workshop.write("guests.jsonl", line.as_bytes());
    let program = workshop.program().display().to_string();
    let shell = |script: &str| {
        let mut bash = workshop.command("bash");
        bash.arg("-euc").arg(script.replace("ECI", &program));
        stdout(&exits(&mut bash, 0))
    };
    shell(
        "ECI deploy --no-pcr-policy --srk-pub <(cat srk.pub) --recovery-key-file <(cat own.key) -o copy.img disk.img",
    );
    shell(
        "ECI deploy --srk-pub srk.pub --uefi-config <(cat uefi-config.json) --add-efi-secure-boot-profile -o other.img disk.img",
    );
    shell("ECI provision --no-pcr-policy --guests <(cat guests.jsonl) plain.img");
    let report = shell(
        "mkfifo report; cat report & ECI provision --no-pcr-policy --srk-pub srk.pub --report report -o b.img plain.img; wait",
    );
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert!(
        report["output"]["path"]
            .as_str()
            .unwrap()
            .ends_with("b.img")
    );
    for image in ["copy.img", "other.img", "a.img", "b.img"] {
        assert!(workshop.path(image).exists(), "{image}");
    }
}
