//! Every command of `docs/uefi-config.md`, run where the files are that it names; what stands below a command
//! is what it says.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{gunzipped, support};

#[test]
fn commands_do_what_the_page_shows() {
    const OVMF: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";
    if !Path::new(OVMF).exists() || !support::programs(&["gzip", "cmp"]) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI lacks the package ovmf"
        );
        eprintln!("SKIPPED: the package ovmf is not installed (cargo xtask test installs it)");
        return;
    }
    let scratch = support::scratch();
    let path = |name: &str| scratch.path().join(name);
    fs::copy(OVMF, path("OVMF_VARS_4M.ms.fd")).unwrap();
    let store = gunzipped(&support::data("firmware/shim-boot-entry/vars-before.fd.gz"));
    fs::write(path("guest_VARS.fd"), store).unwrap();
    fs::copy(
        support::data("vectors/uefi/az-replace.json"),
        path("disk.json"),
    )
    .unwrap();
    fs::create_dir(path("certs")).unwrap();
    fs::create_dir(path("efivars")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_create-uefi-config"));

    // What the certificates of the directory and the copy of efivarfs hold is one configuration.
    let mut command = Command::new(program);
    command.current_dir(scratch.path()).args([
        "--ovmf-vars",
        "guest_VARS.fd",
        "-o",
        "x",
        "--save-databases",
        "certs",
    ]);
    support::exits(&mut command, 0);
    for (variable, vendor, file) in [
        ("PK", "8be4df61-93ca-11d2-aa0d-00e098032b8c", "PK.esl"),
        ("KEK", "8be4df61-93ca-11d2-aa0d-00e098032b8c", "KEK-1.esl"),
        ("db", "d719b2cb-3d3a-4596-a3bc-dad00e67656f", "db-1.esl"),
        ("dbx", "d719b2cb-3d3a-4596-a3bc-dad00e67656f", "dbx-1.esl"),
    ] {
        let content = fs::read(path("certs").join(variable)).unwrap();
        fs::rename(path("certs").join(variable), path("certs").join(file)).unwrap();
        let content = [&[0x27, 0, 0, 0][..], &content].concat();
        fs::write(
            path("efivars").join(format!("{variable}-{vendor}")),
            content,
        )
        .unwrap();
    }

    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/uefi-config.md"));
    let page = page.unwrap();
    let mut commands = 0;
    for block in page.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for step in block.split("$ ").skip(1) {
            let (line, shown) = step.split_once('\n').unwrap();
            let words: Vec<_> = line.split(' ').collect();
            let mut command = match words[0] {
                "create-uefi-config" => Command::new(program),
                other => support::command(other),
            };
            command.current_dir(scratch.path()).args(&words[1..]);
            let said = support::run(&mut command);
            assert!(shown.trim().is_empty() || shown == said, "{line}: {said}");
            commands += 1;
        }
    }
    assert_eq!(commands, 7);
}
