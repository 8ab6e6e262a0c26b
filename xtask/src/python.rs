//! `virt-fw-vars`, which the guide of the reference takes and Debian 12 has no package of: from Python's index.
//!
//! The version in `xtask/requirements.txt`, by its digest, goes into `python` below cargo's folder, where
//! `tests/guide` finds it. Later distributions have it as the package `python3-virt-firmware`: a program
//! that is on the `PATH` already is taken as it is.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::packages::Need;
use crate::{packages, process};

/// Debian's Python, whose packages hold what the program imports.
const PYTHON: &str = "/usr/bin/python3";

/// What is installed here.
pub const PROGRAM: &str = "virt-fw-vars";

/// The installed program, to be given its arguments.
pub fn virt_fw_vars() -> Result<Command> {
    if process::find(PROGRAM).is_some() {
        return Ok(process::program(PROGRAM));
    }
    let folder = folder()?;
    let mut command = process::program(PYTHON);
    command
        .env("PYTHONPATH", &folder)
        .arg(folder.join("bin").join(PROGRAM));
    Ok(command)
}

fn folder() -> Result<PathBuf> {
    Ok(crate::target_folder()?.join("python"))
}

/// Installs the program unless it is there.
pub fn install_virt_fw_vars() -> Result<()> {
    let folder = folder()?;
    if process::find(PROGRAM).is_some() || folder.join("bin").join(PROGRAM).exists() {
        return Ok(());
    }
    packages::install(packages::of(&[Need::Pip]))?;
    println!("Installing virt-firmware, which Debian 12 has no package of, below cargo's folder:");
    let mut pip = Command::new(PYTHON);
    pip.current_dir(crate::project_folder());
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes"])
        .args(["--disable-pip-version-check", "--root-user-action=ignore"])
        .args(["--requirement", "xtask/requirements.txt", "--target"]);
    process::run(pip.arg(&folder))
}
