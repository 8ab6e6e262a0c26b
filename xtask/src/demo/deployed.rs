//! The second part: a copy of the encrypted image is bound to a guest that has not run yet.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::encrypted::show_dump;
use super::heading;
use crate::disk::Disk;
use crate::prediction::Report;
use crate::process;
use crate::tpm::{SRK_HANDLE, Tpm};

const PROFILES: [&str; 3] = [
    "--add-efi-boot-manager-profile",
    "--add-efi-secure-boot-profile",
    "--add-ubuntu-kernel-profile",
];

/// A deployed image.
pub struct Deployed {
    pub image: PathBuf,
    pub report: Report,
    pub recovery_key: PathBuf,
    /// Where the state of its TPM lies, which is stopped.
    pub tpm: PathBuf,
    pub seconds: f64,
}

/// Deploys a copy of an encrypted image to a new TPM. None where the image's boot files are not ones that a guest with
/// these variables starts: that is said.
pub fn deploy(
    encrypted: &Path,
    variables: &Path,
    folder: &Path,
    tpm: &Path,
) -> Result<Option<Deployed>> {
    heading("A TPM for the guest, and its storage root key");
    let srk = folder.join("srk.pub");
    make_tpm(&tpm.join("tpm"), &srk)?;

    heading("The guest's UEFI configuration");
    let configuration = folder.join("uefi-config.json");
    let mut create = process::released("create-uefi-config")?;
    create.arg("--ovmf-vars").arg(variables);
    process::run(create.arg("-o").arg(&configuration))?;

    heading("What the guest will measure when it boots");
    let mut predict = process::released("encrypt-cloud-image")?;
    predict.arg("predict").arg(encrypted);
    predict.arg("--uefi-config").arg(&configuration);
    if let Err(error) = process::run(predict.args(PROFILES)) {
        println!("{error}: the boot files are not ones that this firmware starts.");
        return Ok(None);
    }

    heading("Deploy a copy");
    let deployed = encrypted.with_file_name("deployed");
    let deployed = deployed.with_extension(encrypted.extension().unwrap_or("img".as_ref()));
    let recovery_key = folder.join("recovery.key");
    let _ = fs::remove_file(&recovery_key); // of an earlier run: deploy replaces none
    let report = folder.join("report.json");
    let mut deploy = process::released("encrypt-cloud-image")?;
    deploy.arg("deploy").arg("--srk-pub").arg(&srk);
    deploy
        .arg("--uefi-config")
        .arg(&configuration)
        .args(PROFILES);
    deploy
        .arg("--recovery-key-out")
        .arg(&recovery_key)
        .arg("--print");
    deploy
        .arg("--report")
        .arg(&report)
        .args(["--overwrite", "-o"]);
    let start = Instant::now();
    process::run(deploy.arg(&deployed).arg(encrypted))?;
    let seconds = start.elapsed().as_secs_f64();
    show(&deployed, folder)?;
    Ok(Some(Deployed {
        image: deployed,
        report: Report::read(&report)?,
        recovery_key,
        tpm: tpm.join("tpm"),
        seconds,
    }))
}

/// Makes a TPM with a storage root key, as `tpm2_createprimary` makes it without options, and stops it.
fn make_tpm(folder: &Path, public: &Path) -> Result<()> {
    println!("$ {}", Tpm::shown(folder));
    let tpm = Tpm::start(folder)?;
    println!("$ export {}={}", process::TCTI, tpm.tcti());
    let context = folder.join("srk.ctx");
    process::output(tpm.tool("tpm2_createprimary").arg("-c").arg(&context))?;
    let mut evict = tpm.tool("tpm2_evictcontrol");
    process::output(evict.arg("-c").arg(&context).arg(SRK_HANDLE))?;
    tpm.flush_objects()?;
    let mut read = tpm.tool("tpm2_readpublic");
    process::output(read.args(["-c", SRK_HANDLE, "-o"]).arg(public))?;
    tpm.stop().context("the TPM does not stop")
}

/// Shows that no key is in the header any more, and what lies on the EFI system partition instead.
fn show(image: &Path, folder: &Path) -> Result<()> {
    println!();
    let header = folder.join("header.luks");
    let disk = Disk::of(image)?;
    disk.copy_container_header(&header)?;
    let mut dump = process::program("cryptsetup");
    show_dump(dump.args(["--disable-locks", "luksDump"]).arg(&header))?;
    for path in ["device/fde", "tpm2-srk.tmpl"] {
        print!("{}", process::output(&mut disk.list_esp(path)?)?);
    }
    Ok(())
}
