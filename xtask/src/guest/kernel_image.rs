//! Kernel images that shim starts: the guest's stub, kernel and initrd with a command line, signed by a key of
//! the test's own.

use std::path::Path;

use anyhow::{Result, bail};

use super::secure_boot::Signer;
use crate::process;

/// This file, which is part of what a cached guest depends on.
pub const SOURCE: &str = include_str!("kernel_image.rs");

/// What stands on every command line. A boot that fails ends in power off, never in a shell that could ask the
/// TPM for the key; what fails is told even under `quiet`. On a busy machine an emulated timer comes too late for the
/// kernel's check of it, and the kernel then waits for ever.
pub const COMMON: &str = "console=ttyS0 quiet systemd.show_status=error rd.systemd.show_status=error \
                          rd.shell=0 rd.emergency=poweroff panic=5 no_timer_check";

/// A kernel image in the making.
pub struct KernelImage<'a> {
    /// The folder `boot` of a guest.
    pub parts: &'a Path,
    /// An archive behind the guest's own initrd.
    pub archive: &'a Path,
    pub command_line: &'a str,
}

impl KernelImage<'_> {
    /// Writes the image, signed by `signer`, to `file`.
    pub fn write(&self, signer: &Signer, file: &Path) -> Result<()> {
        let part = |name: &str| self.parts.join(name);
        let unsigned = file.with_extension("unsigned");
        let mut ukify = process::program("python3");
        ukify
            .env("PYTHONPATH", part("python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(part("ukify"))
            .arg("build")
            .arg(format!("--stub={}", part("stub").display()))
            .arg(format!("--linux={}", part("vmlinuz").display()))
            .arg(format!("--initrd={}", part("initrd").display()))
            .arg(format!("--initrd={}", self.archive.display()))
            .arg(format!("--cmdline={}", self.command_line))
            .arg(format!("--os-release=@{}", part("os-release").display()))
            .arg(format!(
                "--uname={}",
                std::fs::read_to_string(part("uname"))?.trim()
            ))
            .arg(format!("--output={}", unsigned.display()));
        process::quiet_output(&mut ukify)?;
        signer.sign(&unsigned, file)?;
        std::fs::remove_file(&unsigned)?;
        if !file.exists() {
            bail!("sbsign has not written {}", file.display());
        }
        Ok(())
    }
}
