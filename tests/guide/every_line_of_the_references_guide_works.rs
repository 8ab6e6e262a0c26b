//! The guide from its first line to its last, and what comes out beside our one-line way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::image::{Shape, image};
use crate::support::{self, programs, run};

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
            "qemu-img",
            "swtpm",
            "tpm2_createprimary",
            "tpm2_getrandom",
            "tpm2_readpublic",
        ]);
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
    fn run(&self, lines: &str) {
        let mut shell = Command::new("sh");
        shell.current_dir(&self.folder).env("D", self.folder.path());
        shell.env("PATH", &self.path).env("LC_ALL", "C");
        shell.env("PYTHONPATH", python());
        run(shell.args(["-e", "-x", "-c", lines]));
    }
}

#[test]
fn its_lines_lead_to_what_one_line_of_ours_leads_to() {
    let Some(shell) = Shell::new() else { return };
    fs::copy(image(Shape::Stock).vhd(), shell.path("input.vhd")).unwrap();
    shell.run(include_str!("guide.sh"));
    shell.run("create-uefi-config --ovmf-vars OVMF_VARS_4M.ms.fd -o one-line.json");
    let read = |name: &str| fs::read_to_string(shell.path(name)).unwrap();
    assert_eq!(read("uefi-config.json"), read("one-line.json"));
}
