//! `cargo xtask interop`: the library that Ubuntu's initramfs unseals with reads what `deploy` writes.
//!
//! `interop/secboot` is a program of ours around that library, which is written in Go. It is built here, gets files that
//! the built `deploy` has sealed to the storage root key of a software TPM, and has to open them in the predicted states
//! and in no other. What it links to is licensed under the GPL: it is never a part of our programs, and nothing of it is
//! kept but below cargo's folder.
//!
//! Without Go it is skipped, where `CI` is set it fails.

mod case;
mod image;
mod reader;

use std::env;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::packages::Need;
use crate::{packages, process};
use case::{Algorithm, Case, Srk};
use reader::Reader;

#[derive(clap::Args)]
pub struct Arguments {}

/// Says that it is skipped where there is no Go.
pub fn run(_: &Arguments) -> Result<()> {
    if process::find("go").is_none() {
        if env::var_os("CI").is_some() {
            bail!("CI lacks the program `go` (package golang-go)");
        }
        println!("SKIPPED: the program `go` is not installed (package golang-go)");
        return Ok(());
    }
    packages::install(packages::of(&[Need::Build, Need::Interop]))?;
    let folder = crate::target_folder()?.join("interop");
    std::fs::create_dir_all(&folder)?;
    let reader = Reader::build(&folder)?;
    process::run(&mut process::cargo(&["build", "--locked", "--bins"]))?;
    let start = Instant::now();
    // Sockets have short paths.
    let scratch = tempfile::Builder::new().prefix("eci-").tempdir()?;
    for (kernels, srks) in [
        (
            1,
            &[
                Srk::Plain(Algorithm::Rsa),
                Srk::Plain(Algorithm::Ecc),
                Srk::Standard,
            ][..],
        ),
        (
            10,
            &[
                Srk::WithUniqueData(Algorithm::Rsa),
                Srk::WithUniqueData(Algorithm::Ecc),
            ],
        ),
    ] {
        let encrypted = encrypted(scratch.path(), kernels)?;
        for srk in srks {
            println!("\nSRK {srk:?}, kernels: {kernels}");
            let folder = tempfile::Builder::new().tempdir_in(scratch.path())?;
            Case::deploy(folder.path(), &encrypted, *srk, &reader)?.check()?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "\nsecboot {} opens what deploy seals, in the predicted states only ({seconds:.1} s).",
        reader.version()
    );
    Ok(())
}

/// An encrypted image with this many kernels.
fn encrypted(folder: &Path, kernels: usize) -> Result<std::path::PathBuf> {
    let plain = folder.join(format!("plain-{kernels}.img"));
    let encrypted = folder.join(format!("encrypted-{kernels}.img"));
    image::make(&plain, kernels)?;
    let mut encrypt = process::built("encrypt-cloud-image")?;
    encrypt.arg("encrypt").arg("-o").args([&encrypted, &plain]);
    process::quiet_output(&mut encrypt)?;
    Ok(encrypted)
}
