//! The guide from its first line to its last, and what comes out beside our one-line way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::container::Container;
use crate::support::image::{ESP, ROOT, Shape, image};
use crate::support::tpm::{self, Tpm};
use crate::support::{self, boot_files, command, disk, programs, run};

/// A folder, and a shell in it that runs the guide's lines.
struct Shell {
    folder: tempfile::TempDir,
    path: String,
}

/// Where `cargo xtask test` installs `virt-fw-vars`.
fn python() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python")
}

impl Shell {
    /// None where a program is missing.
    fn new() -> Option<Self> {
        let from_pypi = python().join("bin");
        let all = programs(&[
            "cert-to-efi-sig-list",
            "cryptsetup",
            "gzip",
            "mcopy",
            "openssl",
            "qemu-img",
            "tpm2_createprimary",
            "tpm2_getrandom",
            "tpm2_readpublic",
        ]) && programs(&tpm::PROGRAMS);
        if !all || !from_pypi.exists() && !programs(&["virt-fw-vars"]) {
            return None;
        }
        let ours = Path::new(env!("CARGO_BIN_EXE_encrypt-cloud-image"));
        let path = [
            ours.parent().unwrap().display().to_string(),
            from_pypi.display().to_string(),
            std::env::var("PATH").unwrap(),
            "/usr/sbin".to_owned(),
        ];
        Some(Self {
            folder: support::scratch(),
            path: path.join(":"),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs lines; the first that fails ends it.
    #[track_caller]
    fn run(&self, lines: &str) -> String {
        let mut shell = Command::new("sh");
        shell.current_dir(&self.folder).env("D", self.folder.path());
        shell.env("PATH", &self.path).env("LC_ALL", "C");
        shell.env("PYTHONPATH", python());
        run(shell.args(["-e", "-x", "-c", lines]))
    }

    /// The sealed key of an image, in a file of its own.
    fn sealed_key(&self, image: &str) -> PathBuf {
        let image = self.path(image);
        let esp = image.with_extension("esp");
        support::judge::extract(&image, &disk::read(&image), ESP, &esp);
        let sealed = image.with_extension("sealed-key");
        let mut mcopy = command("mcopy");
        mcopy.arg("-i").arg(esp);
        mcopy.arg("::device/fde/cloudimg-rootfs.sealed-key");
        run(mcopy.arg(&sealed));
        sealed
    }
}

/// What a file is sealed to, by a program that shares no code with ours.
fn policy(sealed: &Path) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut python = command("python3");
    python.arg(tests.join("guide/sealed_policy.py"));
    run(python.arg(tests.join("support")).arg(sealed))
}

/// The guest of the guide starts: its TPM makes the very SRK again, is extended as it was predicted, and gives the key
/// that opens the disk.
fn assert_unlocks(shell: &Shell, sealed: &Path) {
    let tpm = Tpm::start(&shell.path("mytpm0"));
    tpm.make_srk(&[], &shell.path("again.pub"));
    let read = |name: &str| fs::read(shell.path(name)).unwrap();
    assert_eq!(read("again.pub"), read("srk.pub"));
    let refused = tpm.unseal(sealed).unwrap_err();
    assert!(refused.contains("tpm2_policyor failed"), "{refused}");

    let predicted = shell.run(
        "encrypt-cloud-image predict --json --uefi-config uefi-config.json --add-efi-secure-boot-profile final.vhd",
    );
    let predicted: Value = serde_json::from_str(&predicted).unwrap();
    let branches = predicted["branches"].as_array().unwrap();
    let [branch] = &branches[..] else {
        panic!("{branches:?}")
    };
    for event in branch["events"].as_array().unwrap() {
        let pcr = u32::try_from(event["pcr"].as_u64().unwrap()).unwrap();
        tpm.extend(pcr, event["digest"].as_str().unwrap());
    }
    let key = tpm.unseal(sealed).unwrap();
    let image = shell.path("final.vhd");
    let container = Container::open(&image, &disk::read(&image), ROOT);
    assert_eq!(container.test_key(0, &key), 0);
}

#[test]
fn its_lines_lead_to_what_one_line_of_ours_leads_to() {
    let Some(shell) = Shell::new() else { return };
    let source = image(Shape::Stock).vhd();
    fs::copy(source, shell.path("input.vhd")).unwrap();
    boot_files::put(&shell.path("input.vhd"), &disk::read(source));
    fs::write(shell.path("signer.pem"), boot_files::signer()).unwrap();
    shell.run(include_str!("guide.sh"));

    shell.run("create-uefi-config --ovmf-vars OVMF_VARS_4M.ms.fd -o one-line.json");
    let read = |name: &str| fs::read_to_string(shell.path(name)).unwrap();
    assert_eq!(read("uefi-config.json"), read("one-line.json"));
    shell.run(
        "encrypt-cloud-image deploy --srk-pub srk.pub --ovmf-vars OVMF_VARS_4M.ms.fd --add-efi-secure-boot-profile -o one-line.vhd copy.vhd",
    );
    let sealed = shell.sealed_key("final.vhd");
    let of_guide = policy(&sealed);
    assert!(of_guide.starts_with("PCRs 7\nnode 0 "), "{of_guide}");
    assert_eq!(of_guide, policy(&shell.sealed_key("one-line.vhd")));
    assert_unlocks(&shell, &sealed);
}
