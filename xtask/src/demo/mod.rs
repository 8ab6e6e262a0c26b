//! `cargo xtask demo`: the main job once, on a real image, with the programs as a user runs them.
//!
//! A plain image is encrypted ([`encrypted`]). A copy of it is bound to a guest: a software TPM and a variable store of
//! edk2's firmware ([`deployed`]). Then tpm2-tools unseal the disk key in the states that were predicted, and in no
//! other ([`unsealed`]). At last the guest boots the image, and opens its root by itself ([`booted`]).

mod booted;
mod deployed;
mod encrypted;
mod unsealed;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::packages::Need;
use crate::{guest, packages, process};
use booted::Booted;
use deployed::Deployed;
use encrypted::Encrypted;

/// Firmware's variables with Microsoft's certificates, as Debian and Ubuntu have them.
const MICROSOFTS_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";

#[derive(clap::Args)]
pub struct Arguments {
    /// The cloud image to encrypt; a guest built from Debian's packages if left out
    ///
    /// The image itself is not changed. The guest is built by the first run, in some minutes, and
    /// kept for the next one. The result lies below `target/demo`.
    image: Option<PathBuf>,

    /// Variable store of the firmware that starts IMAGE; default: Microsoft's certificates
    #[arg(long, value_name = "FILE", requires = "image")]
    ovmf_vars: Option<PathBuf>,

    /// Do not boot the guest at the end
    #[arg(long)]
    no_boot: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut needed: Vec<_> = packages::of(&[Need::Build, Need::Demo]).collect();
    if arguments.image.is_none() {
        needed.extend(guest::packages()?);
        if !arguments.no_boot {
            needed.extend(packages::of(&[Need::Boot]));
        }
    }
    packages::install(needed)?;

    heading("Build the programs");
    process::run(&mut process::release_build())?;
    let folder = crate::target_folder()?.join("demo");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let source = source(arguments, &folder)?;

    let encrypted = encrypted::encrypt(&source.image, &folder)?;
    // Sockets have short paths.
    let tpm = tempfile::Builder::new().prefix("eci-demo-").tempdir()?;
    let deployed = deployed::deploy(&encrypted.image, &source.variables, &folder, tpm.path())?;
    if let Some(deployed) = &deployed {
        unsealed::unseal(deployed, &folder)?;
    }
    let booted = match (&deployed, &source.nonce) {
        (Some(deployed), Some(nonce)) if !arguments.no_boot => {
            let variables = &source.variables;
            Some(booted::boot(deployed, variables, nonce, &folder)?)
        }
        _ => None,
    };
    tell(&source, &encrypted, deployed.as_ref(), booted.as_ref())
}

/// What is encrypted, and the firmware that is to start it.
struct Source {
    image: PathBuf,
    variables: PathBuf,
    /// What its root prints once it runs; only our own guest does.
    nonce: Option<String>,
}

fn source(arguments: &Arguments, folder: &Path) -> Result<Source> {
    let Some(image) = &arguments.image else {
        let guest = guest::Guest::prepare(folder)?;
        return Ok(Source {
            image: guest.disk(),
            variables: guest.variables(),
            nonce: Some(guest.nonce()?),
        });
    };
    let variables = arguments.ovmf_vars.clone();
    Ok(Source {
        image: image.clone(),
        variables: variables.unwrap_or_else(|| MICROSOFTS_VARIABLES.into()),
        nonce: None,
    })
}

/// What happened, in a few lines.
fn tell(
    source: &Source,
    encrypted: &Encrypted,
    deployed: Option<&Deployed>,
    booted: Option<&Booted>,
) -> Result<()> {
    heading("In short");
    let mib = fs::metadata(&source.image)?.len().div_ceil(1 << 20);
    let seconds = encrypted.seconds;
    let image = process::shown_path(&encrypted.image);
    println!("encrypted  {mib} MiB in {seconds:.1} s: {image}");
    let Some(deployed) = deployed else {
        println!("not bound to a guest: see above");
        return Ok(());
    };
    let report = &deployed.report;
    let pcrs: Vec<_> = report.policy.selection.iter().map(u64::to_string).collect();
    let kernels: Vec<_> = report
        .policy
        .branches
        .iter()
        .flat_map(|branch| &branch.kernels)
        .collect();
    let kernels: Vec<_> = kernels.into_iter().map(String::as_str).collect();
    println!(
        "deployed   in {:.1} s, with digests of the whole image for the report: {}",
        deployed.seconds,
        process::shown_path(&deployed.image)
    );
    println!(
        "sealed to  the TPM whose SRK has the name {}",
        report.srk.name
    );
    println!(
        "           and its PCR {} after a boot of {}",
        pcrs.join(", "),
        kernels.join(" or ")
    );
    println!("opened     by tpm2-tools alone, with the predicted events");
    println!("refused    after one more event");
    println!("recovery   {}", process::shown_path(&deployed.recovery_key));
    if let Some(booted) = booted {
        println!(
            "booted     under Secure Boot in {:.0} s, root on {}",
            booted.seconds, booted.root
        );
    }
    Ok(())
}

fn heading(text: &str) {
    println!("\n==> {text}");
}
