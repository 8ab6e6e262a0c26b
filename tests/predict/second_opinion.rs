//! A program of Amazon's that predicts PCR 4 and 7 of a unified kernel image that firmware starts by itself
//! (nitro-tpm-pcr-compute 1.1.2, SHA-384 alone) says what `predict --chain` says.
//!
//! It verifies no signature: it looks for a certificate of the signature in db, and measures that entry. It
//! reads one signature list of a database. Our files are made to fit: db holds the signer's own certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base::storage::MemoryStorage;
use firmware::{Program, guid};
use serde_json::Value;

use crate::command::predict;
use crate::data;
use crate::support::image::pe;
use crate::support::{command, exits, programs, scratch};

const PROGRAM: &str = "nitro-tpm-pcr-compute";
const VARIABLES: [&str; 4] = ["PK", "KEK", "db", "dbx"];

/// The program where `cargo xtask test` installs it, else on the `PATH`; none where it is missing.
fn other_program() -> Option<Command> {
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .with_file_name("tools")
        .join("bin")
        .join(PROGRAM);
    if installed.exists() {
        return Some(Command::new(installed));
    }
    programs(&["nitro-tpm-pcr-compute"]).then(|| command(PROGRAM))
}

/// What the other program says of PCR 4 and 7; of PCR 12 it says that nobody extends it.
fn theirs(mut program: Command, folder: &Path, variables: &[&str]) -> [String; 2] {
    program.current_dir(folder).args(["--image", "uki.efi"]);
    for name in variables {
        program
            .arg(format!("--{name}"))
            .arg(format!("saved/{name}"));
    }
    let said: Value = serde_json::from_slice(&exits(&mut program, 0).stdout).unwrap();
    let said = &said["Measurements"];
    assert_eq!(said["HashAlgorithm"], "SHA384");
    assert_eq!(said["PCR12"], "00".repeat(48));
    ["PCR4", "PCR7"].map(|pcr| said[pcr].as_str().unwrap().to_owned())
}

fn ours(folder: &Path, arguments: &[&str]) -> [String; 2] {
    let mut command = predict(folder);
    command.args(["--chain", "uki.efi", "--uefi-config", "uefi-config.json"]);
    command.args(["--bank", "sha384", "--json"]).args(arguments);
    let document: Value = serde_json::from_slice(&exits(&mut command, 0).stdout).unwrap();
    assert_eq!(document["branches"].as_array().unwrap().len(), 1);
    ["4", "7"].map(|pcr| {
        document["branches"][0]["pcrs"][pcr]
            .as_str()
            .unwrap()
            .to_owned()
    })
}

/// A configuration in `uefi-config.json` and `saved`, from the files of a directory.
fn configure(folder: &Path, input: &Path) {
    let saved = folder.join("saved");
    fs::create_dir_all(&saved).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_create-uefi-config"));
    command.arg("-i").arg(input);
    command.arg("-o").arg(folder.join("uefi-config.json"));
    command.arg("--save-databases").arg(saved);
    command.args(["--certificate-owner", &guid::MICROSOFT.to_string()]);
    exits(&mut command, 0);
}

/// A folder with `uki.efi`, a systemd stub of version 252 with sections, signed; and `in` with PK and KEK.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = scratch();
    let input = folder.path().join("in");
    fs::create_dir(&input).unwrap();
    for name in ["PK.esl", "KEK-1.esl"] {
        let list = data::content("create-uefi-config/full/in/PK.esl");
        fs::write(input.join(name), list).unwrap();
    }
    let uki = data::content("vectors/pe/uki-1.efi.gz");
    fs::write(folder.path().join("uki.efi"), uki).unwrap();
    (folder, input)
}

#[test]
fn another_program_predicts_the_same_for_a_unified_kernel_image() {
    let (folder, input) = folder();
    let folder = folder.path();
    let uki = fs::read(folder.join("uki.efi")).unwrap();
    let uki = Program::read(&MemoryStorage::new(uki), &[], false).unwrap();
    fs::write(input.join("db-1.der"), uki.signatures[0].signer().as_der()).unwrap();
    for has_dbx in [false, true] {
        let Some(program) = other_program() else {
            return;
        };
        if has_dbx {
            let list = data::content("create-uefi-config/full/in/dbx-1.esl");
            fs::write(input.join("dbx-1.esl"), list).unwrap();
        }
        configure(folder, &input);
        let ours = ours(folder, &[]);
        assert_eq!(ours, theirs(program, folder, &VARIABLES), "dbx: {has_dbx}");
    }
}

/// Puts another kernel into the section `.linux` of the unified kernel image.
fn put_kernel(uki: &mut [u8], kernel: &[u8]) {
    let header = uki
        .windows(8)
        .position(|name| name == b".linux\0\0")
        .expect("the section's header");
    let field = |at: usize| {
        let bytes = uki[header + at..header + at + 4].try_into().unwrap();
        usize::try_from(u32::from_le_bytes(bytes)).unwrap()
    };
    let (len_bytes, start) = (field(8), field(20)); // VirtualSize, PointerToRawData
    assert_eq!(len_bytes, kernel.len());
    uki[start..start + len_bytes].copy_from_slice(kernel);
}

#[test]
fn another_program_predicts_the_same_with_secure_boot_off_the_inner_kernel_included() {
    let Some(program) = other_program() else {
        return;
    };
    let (folder, _) = folder();
    let folder = folder.path();
    let mut kernel = pe("a kernel inside", 3000);
    kernel[0x98 + 144..0x98 + 152].fill(0); // no certificate table
    let mut uki = fs::read(folder.join("uki.efi")).unwrap();
    put_kernel(&mut uki, &kernel);
    fs::write(folder.join("uki.efi"), uki).unwrap();
    fs::write(folder.join("uefi-config.json"), "{}").unwrap();
    let ours = ours(folder, &["--secure-boot", "off"]);
    assert_eq!(ours, theirs(program, folder, &[]));
}
