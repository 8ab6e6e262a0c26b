//! The commands of the how-to, of the README, of the explanation and of a reference page run as they stand there, as an ordinary user.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::console::{self, Section};
use crate::support::image::{ROOT, Shape, change_partition, image, pe};
use crate::support::root::debugfs;
use crate::support::workshop::{Workshop, give_away};
use crate::support::{boot_files, command, data, exits, run};

/// The owner of the certificate that the guest's firmware has besides Microsoft's.
const SIGNER: &str = "f0a1b2c3-0000-4000-8000-000000000001";

#[test]
fn every_command_of_the_readme_works() {
    every_command_works("README.md");
}

#[test]
fn every_command_of_the_how_to_works() {
    every_command_works("docs/howto.md");
}

#[test]
fn every_example_of_the_reference_works() {
    every_command_works("docs/reference/encrypt-cloud-image.md");
}

#[test]
fn every_command_of_the_explanation_works() {
    every_command_works("docs/explanation.md");
}

#[test]
fn every_command_of_the_fleet_works() {
    every_command_works("docs/fleet.md");
}

fn every_command_works(page: &str) {
    let programs = [
        "cert-to-efi-sig-list",
        "cryptsetup",
        "debugfs",
        "e2fsck",
        "fdisk",
        "fsck.vfat",
        "gzip",
        "mcopy",
        "mkfs.vfat",
        "mke2fs",
        "mmd",
        "openssl",
        "qemu-img",
        "resize2fs",
        "sbsign",
        "setpriv",
        "sfdisk",
        "sgdisk",
        "swtpm",
        "tpm2_createprimary",
    ];
    let has_virt_fw_vars = python().join("bin").exists();
    if !crate::support::programs(&programs)
        || !has_virt_fw_vars && !crate::support::programs(&["virt-fw-vars"])
    {
        return;
    }
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let sections = console::sections(&text);
    assert!(!sections.is_empty(), "{page} has no commands");
    let mut wrong = String::new();
    for section in sections {
        if let Err(what) = run_section(&section) {
            let _ = write!(wrong, "\n{page}, section {:?}:\n{what}", section.title);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn run_section(section: &Section) -> Result<(), String> {
    let workshop = Workshop::new();
    for (name, kind) in &section.files {
        put(&workshop, name, kind);
    }
    let programs = workshop.path(".programs");
    fs::create_dir(&programs).unwrap();
    for built in [
        env!("CARGO_BIN_EXE_encrypt-cloud-image"),
        env!("CARGO_BIN_EXE_create-uefi-config"),
        env!("CARGO_BIN_EXE_print-recovery-key"),
    ] {
        let name = Path::new(built).file_name().unwrap();
        let copy = programs.join(name);
        if fs::hard_link(built, &copy).is_err() {
            fs::copy(built, &copy).unwrap();
        }
    }
    fs::set_permissions(&programs, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:/usr/sbin:/sbin:{path}", programs.display());
    let from_pypi = workshop.path(".python");
    if python().exists() && section.calls("virt-fw-vars") {
        run(command("cp").arg("-r").arg(python()).arg(&from_pypi));
    }
    let path = format!("{path}:{}", from_pypi.join("bin").display());
    let _daemons = Daemons(workshop.path("tpm/pid"));
    // Every command has a shell of its own, to which the variables go along.
    let mut exported = String::new();
    for wanted in &section.commands {
        if wanted.line.starts_with("export ") {
            let _ = writeln!(exported, "{}", wanted.line);
        }
        let mut shell = workshop.command("sh");
        shell.env("PATH", &path).env("HOME", workshop.folder());
        shell.env_remove("SOURCE_DATE_EPOCH");
        shell.env("PYTHONPATH", &from_pypi);
        // Both streams in the order in which a terminal would show them.
        let output = shell
            .args(["-c", &format!("exec 2>&1\n{exported}{}", wanted.line)])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<_> = text.lines().filter(|line| !is_progress(line)).collect();
        if output.status.code() != Some(wanted.exits) {
            return Err(format!(
                "$ {}\nexits with {:?} instead of {}:\n{text}",
                wanted.line,
                output.status.code(),
                wanted.exits
            ));
        }
        if !wanted.output.is_empty() && !console::is_as_expected(&wanted.output, &lines) {
            return Err(format!(
                "$ {}\nprints\n{}\ninstead of\n{}",
                wanted.line,
                lines.join("\n"),
                wanted.output.join("\n")
            ));
        }
    }
    Ok(())
}

/// Where `cargo xtask test` installs `virt-fw-vars`.
fn python() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python")
}

/// The TPM that commands of a section leave running, by the file that tells its process: ended with the section.
struct Daemons(PathBuf);

impl Drop for Daemons {
    fn drop(&mut self) {
        let number = fs::read_to_string(&self.0).unwrap_or_default();
        let number = number.trim();
        let name = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
        if name.trim() == "swtpm" {
            let _ = command("kill").arg(number).status();
        }
    }
}

/// True for what a terminal shows as a bar that goes away.
fn is_progress(line: &str) -> bool {
    let phase =
        line.split_once(": ").map_or(
            line,
            |(phase, percent)| {
                if percent.ends_with('%') { phase } else { line }
            },
        );
    [
        "copying the filesystem",
        "copying the image",
        "digesting the image",
        "shrinking the filesystem",
        "encrypting",
        "flushing",
    ]
    .contains(&phase)
}

/// Puts a file of a kind into the folder: one that is made here, or `data PATH` of `tests/data`, unpacked.
fn put(workshop: &Workshop, name: &str, kind: &str) {
    if let Some(path) = kind.strip_prefix("data ") {
        let file = data(path);
        let bytes = if file.extension().is_some_and(|end| end == "gz") {
            exits(command("gzip").arg("-dc").arg(file), 0).stdout
        } else {
            fs::read(file).unwrap()
        };
        workshop.write(name, &bytes);
        return;
    }
    if kind == "vhd" {
        workshop.put(image(Shape::Stock).vhd(), name);
        return;
    }
    let shape = match kind {
        "stock" | "journal" | "qcow2" | "bootable" | "bootable by the tests' firmware" => {
            Shape::Stock
        }
        "azure" => Shape::Azure,
        "roomy" => Shape::Roomy,
        "followed" => Shape::Followed,
        "bare" => Shape::Bare,
        "large sectors" => Shape::LargeSectors,
        "kernel" => {
            workshop.write(name, &pe("a unified kernel", 1 << 20));
            return;
        }
        "unsigned kernel" => {
            workshop.put(&data("vectors/pe/kernel-unsigned.efi"), name);
            return;
        }
        "the tests' firmware" => {
            workshop.put(&data("vectors/uefi/std.json"), name);
            return;
        }
        "variables of the guest" => {
            let signer = workshop.write(".signer.pem", &boot_files::signer());
            let program = python().join("bin/virt-fw-vars");
            let mut virt_fw_vars = if program.exists() {
                command(program.to_str().unwrap())
            } else {
                command("virt-fw-vars")
            };
            virt_fw_vars.env("PYTHONPATH", python());
            virt_fw_vars.args(["--input", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd", "--add-db"]);
            virt_fw_vars.args([SIGNER, signer.to_str().unwrap(), "--output"]);
            run(virt_fw_vars.arg(workshop.path(name)));
            give_away(&workshop.path(name));
            return;
        }
        "SRK" => {
            workshop.put(&data("sealed/soft-rsa.pub"), name);
            return;
        }
        "recovery key" => {
            workshop.write(name, &[0x41; 16]);
            return;
        }
        other => panic!("<!-- files --> knows no kind {other:?}"),
    };
    let file = workshop.put(&image(shape).raw, name);
    if kind == "bootable" {
        boot_files::put(&file, &image(shape).table);
    }
    if kind == "bootable by the tests' firmware" {
        boot_files::put_of_tests(&file, &image(shape).table);
    }
    if kind == "journal" {
        // A journal with a transaction in it that no mount has replayed: the block gets other bytes.
        change_partition(&file, &image(shape).table, ROOT, |root| {
            let noise = workshop.write(".noise", &[0x5a; 4096]);
            let block = debugfs(root, "ffb 1\n");
            let block = block
                .split_whitespace()
                .rfind(|word| word.parse::<u64>().is_ok())
                .expect("the number of a free block");
            let noise = noise.display();
            debugfs(
                root,
                &format!("journal_open\njournal_write -b {block} {noise}\njournal_close\n"),
            );
            let features = run(command("dumpe2fs").arg("-h").arg(root));
            assert!(features.contains("needs_recovery"), "{features}");
        });
    }
    if kind == "qcow2" {
        let raw = workshop.path(".raw");
        fs::rename(&file, &raw).unwrap();
        let mut convert = workshop.command("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", "qcow2"]);
        run(convert.arg(&raw).arg(&file));
        fs::remove_file(raw).unwrap();
    }
}
