//! `encrypt-cloud-image deploy`.

use std::path::PathBuf;

use clap::Args;

use super::{Firmware, KeyObjectOptions, Partitions, Profiles, RecoveryOptions, Rules, SrkOptions};
use crate::cli::parse;

/// Bind an encrypted image to one guest's vTPM
///
/// Seals the disk key to the guest's SRK and to the PCR values that its boot will have, puts the sealed key on
/// the EFI system partition or into the LUKS2 header, and removes the clear key from that. SOURCE is changed in place in an
/// order that survives a crash, or a copy of it with --output. Images deployed from copies of one encrypted
/// image share its volume key: whoever kept that image opens them all.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("policy").required(true).multiple(true).args([
    "add_efi_boot_manager_profile", "add_efi_secure_boot_profile", "add_ubuntu_kernel_profile", "no_pcr_policy",
]))]
pub struct Deploy {
    /// Encrypted image to deploy
    #[arg(value_parser = parse::image_path())]
    pub source: PathBuf,

    /// Deploy a copy that is written here, and leave SOURCE as it is
    ///
    /// The copy shares its blocks with SOURCE where the file system can, and is sparse elsewhere. It has never
    /// held the clear key.
    #[arg(short, long, value_name = "FILE", value_parser = parse::image_path(), help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// Replace the output file if there is one
    #[arg(long, requires = "output", help_heading = "Output")]
    pub overwrite: bool,

    /// Show what would be done, and write nothing
    #[arg(long, conflicts_with = "print", help_heading = "Output")]
    pub dry_run: bool,

    /// Write what was done as JSON, to - for standard output
    ///
    /// Its form is docs/schemas/deploy-report-1.json. No secret is in it. The whole image is read for its digests.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub report: Option<PathBuf>,

    /// Seal a deployed image again; FILE holds a recovery key or a passphrase of it
    ///
    /// A fresh unlock key takes the place of the old one, sealed for the guest and the states that the other options
    /// name: another vTPM, other kernels on the EFI system partition, another configuration. What carries the key stays
    /// what it is. The bytes of FILE are the passphrase, without a newline behind them; its keyslot stays as it is. One
    /// that was made with Argon2 takes the time and memory that its header says, 4 GiB at most.
    #[arg(long, value_name = "FILE")]
    pub unlock_with: Option<PathBuf>,

    #[command(flatten)]
    pub key_object: KeyObjectOptions,

    /// Public area of the guest's SRK
    ///
    /// As `tpm2_readpublic -o` writes it (`TPM2B_PUBLIC`), or `TPMT_PUBLIC`; a public key in PEM or DER only
    /// together with --standard-srk-template.
    #[arg(long, value_name = "FILE", help_heading = "SRK")]
    pub srk_pub: PathBuf,

    #[command(flatten)]
    pub srk: SrkOptions,

    #[command(flatten)]
    pub firmware: Firmware,

    #[command(flatten)]
    pub profiles: Profiles,

    /// Seal to the vTPM alone, in whatever state it is
    ///
    /// Everything that runs on the guest can then ask for the key.
    #[arg(long, help_heading = "PCRs", conflicts_with_all = [
        "add_efi_boot_manager_profile", "add_efi_secure_boot_profile", "add_ubuntu_kernel_profile", "firmware",
        "bind_pcr11", "bind_pcr15",
    ])]
    pub no_pcr_policy: bool,

    #[command(flatten)]
    pub recovery: RecoveryOptions,

    #[command(flatten)]
    pub partitions: Partitions,

    #[command(flatten)]
    pub rules: Rules,
}
