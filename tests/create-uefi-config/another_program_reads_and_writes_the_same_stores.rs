//! virt-fw-vars, which has its own code for variable stores, as reader of the stores that we read and as writer
//! of one that neither Debian nor a guest has written.
//!
//! It takes records in the state 0x3f alone, and of two live copies the last: stores of that kind are none here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use firmware::Database;
use serde_json::Value;

use crate::every_store_gives_what_its_guest_saw::is_there;
use crate::{contents, created, gunzipped, support};

/// The program where `cargo xtask test` installs it, else on the `PATH`; none where it is missing.
pub fn virt_fw_vars() -> Option<Command> {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python");
    let installed = python.join("bin/virt-fw-vars");
    if installed.exists() {
        let mut command = Command::new("/usr/bin/python3");
        command.env("PYTHONPATH", python).arg(installed);
        return Some(command);
    }
    support::programs(&["virt-fw-vars"]).then(|| support::command("virt-fw-vars"))
}

/// The four contents by the other program's reading of a store.
fn theirs(mut program: Command, folder: &Path, store: &str) -> [Vec<u8>; 4] {
    let json = folder.join("theirs.json");
    program.current_dir(folder).args(["--input", store]);
    support::exits(program.arg("--output-json").arg(&json), 0);
    let read: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let variables = read["variables"].as_array().unwrap();
    Database::ALL.map(|database| {
        let vendor = database.vendor().to_string();
        let mut named = variables
            .iter()
            .filter(|one| one["name"] == database.name() && one["guid"] == vendor.as_str());
        let variable = named.next();
        assert!(named.next().is_none());
        variable.map_or_else(Vec::new, |one| {
            hex::decode(one["data"].as_str().unwrap()).unwrap()
        })
    })
}

/// Stores of Debian's firmware and of the recorded guests with keys, in `folder`.
fn stores(folder: &Path) -> Vec<PathBuf> {
    let debian = [
        "OVMF_VARS_4M.ms.fd",
        "OVMF_VARS.ms.fd",
        "OVMF_VARS_4M.snakeoil.fd",
    ];
    let mut stores: Vec<_> = debian
        .iter()
        .map(|name| Path::new("/usr/share/OVMF").join(name))
        .collect();
    for entry in fs::read_dir(support::data("firmware")).unwrap() {
        let packed = entry.unwrap().path().join("vars-before.fd.gz");
        if packed.exists() {
            let store = folder.join(format!("{}.fd", stores.len()));
            fs::write(&store, gunzipped(&packed)).unwrap();
            stores.push(store);
        }
    }
    assert_eq!(stores.len(), debian.len() + 16);
    stores
}

#[test]
fn it_reads_the_same_contents() {
    if !support::programs(&["gzip"]) || !is_there() {
        return;
    }
    let scratch = support::scratch();
    for store in stores(scratch.path()) {
        let Some(program) = virt_fw_vars() else {
            return;
        };
        let store = store.to_str().unwrap();
        // Two of the guests have Secure Boot off.
        let arguments = ["--ovmf-vars", store, "--secure-boot", "off"];
        let (config, _, _) = created(scratch.path(), &arguments);
        let theirs = theirs(program, scratch.path(), store);
        assert_eq!(contents(&config).map(<[u8]>::to_vec), theirs, "{store}");
    }
}

#[test]
fn a_store_and_signed_updates_that_it_wrote_are_read_alike() {
    let (Some(mut writer), Some(reader)) = (virt_fw_vars(), virt_fw_vars()) else {
        return;
    };
    if !is_there() {
        return;
    }
    let scratch = support::scratch();
    let folder = scratch.path();
    let owner = "11111111-2222-3333-4444-123456789abc";
    let microsoft = "77fa9abd-0359-4d32-bd60-28f4e78f784b";
    let certificate = |name: &str| support::data(&format!("certificates/{name}.der"));
    writer
        .current_dir(folder)
        .args([
            "--input",
            "/usr/share/OVMF/OVMF_VARS_4M.fd",
            "--output",
            "made.fd",
        ])
        .args(["--set-pk", owner])
        .arg(certificate("debian-secure-boot-ca"))
        .args(["--add-kek", owner])
        .arg(certificate("debian-secure-boot-ca"))
        .args(["--add-db", microsoft])
        .arg(certificate("microsoft-uefi-ca-2023"))
        .args(["--add-db", microsoft])
        .arg(certificate("microsoft-uefi-ca-2011"))
        .args(["--add-dbx-hash", microsoft, &"a5".repeat(32)])
        .args(["--add-dbx-hash", owner, &"5a".repeat(32)])
        .args(["--sb", "--output-auth", "updates"]);
    support::exits(&mut writer, 0);
    let (config, _, _) = created(folder, &["--ovmf-vars", "made.fd"]);
    let from_store = contents(&config).map(<[u8]>::to_vec);
    assert!(from_store.iter().all(|content| !content.is_empty()));
    assert_eq!(from_store, theirs(reader, folder, "made.fd"));

    for (update, name) in [("KEK", "KEK-1"), ("db", "db-1"), ("dbx", "dbx-1")] {
        let update = folder.join(format!("updates/{update}.auth"));
        fs::rename(update, folder.join(format!("updates/{name}.auth"))).unwrap();
    }
    let (config, _, _) = created(folder, &["--in", "updates"]);
    assert_eq!(contents(&config).map(<[u8]>::to_vec), from_store);
}
