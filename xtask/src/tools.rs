//! `nitro-tpm-pcr-compute`, the second opinion of `tests/predict`: from crates.io, which has it as a program alone.
//!
//! It goes into `tools` below cargo's folder, built without optimisation, since it reads small files: 60 s of
//! CPU time (2026-11-27, two cores). One that is on the `PATH` already is taken as it is.

use anyhow::{Context as _, Result};

use crate::process;

/// What is installed here.
pub const PROGRAM: &str = "nitro-tpm-pcr-compute";
const VERSION: &str = "1.1.2";

/// Installs the program unless it is there.
pub fn install() -> Result<()> {
    let folder = crate::target_folder()?.join("tools");
    if process::find(PROGRAM).is_some() || folder.join("bin").join(PROGRAM).exists() {
        return Ok(());
    }
    println!(
        "Building {PROGRAM}, another predictor of PCR values, below cargo's folder; this takes a minute:"
    );
    let mut install = process::cargo(&["install", "--quiet", "--locked", "--debug", "--root"]);
    install
        .arg(&folder)
        .arg("--target-dir")
        .arg(folder.join("build"))
        .arg(format!("{PROGRAM}@{VERSION}"));
    process::run(&mut install).with_context(|| format!("cannot install {PROGRAM}"))?;
    // Half a GiB that nobody needs any more.
    std::fs::remove_dir_all(folder.join("build")).context("cannot remove what it was built in")
}
