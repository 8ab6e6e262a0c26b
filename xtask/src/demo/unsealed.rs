//! The third part: the disk key comes out of the TPM in the predicted state alone.
//!
//! `tests/support/unseal.py` reads the sealed key's file without any code of ours, and calls tpm2-tools.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::deployed::Deployed;
use super::heading;
use crate::disk::{self, Disk};
use crate::process;
use crate::tpm::{Extend, Tpm};

/// Unseals the key of a deployed image as its guest will after a boot, and tries it where the TPM must refuse.
pub fn unseal(deployed: &Deployed, folder: &Path) -> Result<()> {
    let sealed = folder.join("sealed-key");
    let image = Disk::of(&deployed.image)?;
    image.copy_from_esp("device/fde/cloudimg-rootfs.sealed-key", &sealed)?;
    let branch = deployed.report.policy.branches.first();
    let branch = branch.context("nothing was predicted")?;

    heading("Unseal the key after the boot that was predicted, with tpm2-tools alone");
    println!(
        "The {} events go into the PCRs of the TPM:",
        branch.events.len()
    );
    let tpm = Tpm::start(&deployed.tpm)?;
    tpm.extend(&branch.events)?;
    let pcrs: Vec<_> = deployed
        .report
        .policy
        .selection
        .iter()
        .map(u64::to_string)
        .collect();
    let mut read = tpm.tool("tpm2_pcrread");
    process::run(read.arg(format!("sha256:{}", pcrs.join(","))))?;
    let output = attempt(&tpm, &sealed)?.map_err(anyhow::Error::msg)?;
    let header = folder.join("header.luks");
    image.copy_container_header(&header)?;
    let mut open = process::program("cryptsetup");
    open.args([
        "--disable-locks",
        "open",
        "--test-passphrase",
        "--key-slot=0",
        "--key-file=-",
    ]);
    process::fed(open.arg(&header), &process::bytes(&output)?)?;
    println!("The TPM gives the key, and cryptsetup opens keyslot 0 of the container with it.");
    tpm.stop()?;

    heading("The same after one more event in PCR 7");
    let tpm = Tpm::start(&deployed.tpm)?;
    tpm.extend(&branch.events)?;
    tpm.extend(&[Extend {
        pcr: 7,
        digest: "5a".repeat(32),
    }])?;
    match attempt(&tpm, &sealed)? {
        Ok(_) => bail!("the TPM gives the key where it must not"),
        Err(talk) => {
            // A refusal by another command would be one for another reason.
            ensure!(
                talk.contains("tpm2_policyor failed"),
                "the TPM refuses otherwise: {talk}"
            );
            println!(
                "The TPM refuses at tpm2_policyor: these PCRs are in no branch of the policy."
            );
        }
    }
    tpm.stop()?;
    disk::remove(&sealed)?;
    disk::remove(&header)
}

/// The key in hexadecimal, or what the TPM refused.
fn attempt(tpm: &Tpm, sealed: &Path) -> Result<std::result::Result<String, String>> {
    let script = crate::project_folder().join("tests/support/unseal.py");
    let mut unseal: Command = tpm.tool("python3");
    unseal.arg(script).arg(sealed);
    println!("$ {}", process::shown(&unseal));
    let output = unseal.output().context("cannot start `python3`")?;
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    for line in talk.lines().filter(|line| line.starts_with("$ ")) {
        println!("  {line}");
    }
    if !output.status.success() {
        return Ok(Err(talk));
    }
    Ok(Ok(String::from_utf8_lossy(&output.stdout)
        .trim()
        .to_owned()))
}
