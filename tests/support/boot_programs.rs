//! Programs without code of each kind that shim may load, and somebody to sign them.

use std::fs;
use std::path::Path;

use super::uki::{self, image};
use super::{command, run, scratch};

const SBAT: &str = "sbat,1,SBAT Version,sbat,1,https://example.com\n";

fn sbat(component: &str) -> Vec<u8> {
    format!("{SBAT}{component},5,Test only,test,1,https://example.com\n\0").into_bytes()
}

/// A GRUB: its modules, of which there are none, and its component in `.sbat`.
pub fn grub() -> Vec<u8> {
    let mut modules = 0x676d_696d_u32.to_le_bytes().to_vec();
    modules.extend([0; 4]);
    modules.extend(24_u64.to_le_bytes());
    modules.extend(24_u64.to_le_bytes());
    image(&[
        (".text", b"GRUB", 0),
        ("mods", &modules, 0),
        (".sbat", &sbat("grub"), 0),
    ])
}

/// A systemd-boot.
pub fn systemd_boot() -> Vec<u8> {
    let magic = b"#### LoaderInfo: systemd-boot 257.13 ####\0";
    image(&[
        (".text", b"boot", 0),
        (".sdmagic", magic, 0),
        (".sbat", &sbat("systemd-boot"), 0),
    ])
}

/// A kernel with a stub of its own, as x86's boot protocol lays it out.
pub fn kernel() -> Vec<u8> {
    let kernel = image(&[(".setup", b"\0\0HdrS", 0), (".sbat", &sbat("linux"), 0)]);
    assert_eq!(kernel[0x202..0x206], *b"HdrS");
    kernel
}

/// A program that nothing is known of.
pub fn unknown() -> Vec<u8> {
    image(&[(".text", b"code", 0), (".sbat", &sbat("tool"), 0)])
}

/// A unified kernel image of this version of systemd-stub.
pub fn unified(version: &str) -> Vec<u8> {
    image(&[
        (".sdmagic", &uki::magic(version), 0),
        (".linux", b"kernel", 0),
        (".cmdline", b"quiet", 0),
        (".initrd", b"initrd", 0),
        (".sbat", &sbat("systemd-stub"), 0),
    ])
}

/// The same without a command line of its own.
pub fn unified_without_command_line() -> Vec<u8> {
    image(&[
        (".sdmagic", &uki::magic("257.1"), 0),
        (".linux", b"kernel", 0),
        (".initrd", b"initrd", 0),
        (".sbat", &sbat("systemd-stub"), 0),
    ])
}

/// The program for a processor of 64-bit Arm, by its COFF header alone.
pub fn for_arm(mut program: Vec<u8>) -> Vec<u8> {
    let header = u32::from_le_bytes(program[0x3c..0x40].try_into().unwrap()) as usize;
    assert_eq!(program[header..header + 6], *b"PE\0\0\x64\x86");
    program[header + 4..header + 6].copy_from_slice(&0xaa64_u16.to_le_bytes());
    program
}

/// Somebody whose certificate was made for one test.
pub struct Signer {
    folder: tempfile::TempDir,
}

impl Signer {
    /// A fresh key.
    pub fn new() -> Self {
        let folder = scratch();
        run(command("openssl")
            .current_dir(folder.path())
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-batch"])
            .args(["-subj", "/CN=Signer (test only)", "-days", "3650"])
            .args(["-keyout", "key.pem", "-out", "certificate.pem"]));
        run(command("openssl")
            .current_dir(folder.path())
            .args(["x509", "-in", "certificate.pem", "-outform", "DER"])
            .args(["-out", "certificate.der"]));
        Self { folder }
    }

    /// The certificate, in DER.
    pub fn certificate(&self) -> Vec<u8> {
        fs::read(self.path("certificate.der")).unwrap()
    }

    /// The program with a signature.
    pub fn signed(&self, program: &[u8]) -> Vec<u8> {
        fs::write(self.path("program"), program).unwrap();
        run(command("sbsign")
            .current_dir(self.folder.path())
            .args(["--key", "key.pem", "--cert", "certificate.pem"])
            .args(["--output", "signed", "program"]));
        fs::read(self.path("signed")).unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}
