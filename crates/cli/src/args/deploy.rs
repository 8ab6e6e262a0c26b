//! `encrypt-cloud-image deploy`.

use std::path::PathBuf;

use clap::Args;

use super::{BindingOptions, EXIT_STATUS, Partitions, only};
use crate::parse;

/// Bind an encrypted image to one guest's vTPM
///
/// Seals the disk key to the guest's SRK and to the PCR values that its boot will have, puts the sealed key on
/// the EFI system partition or into the LUKS2 header, and removes the clear key from that. SOURCE is changed in place in an
/// order that survives a crash, or a copy of it with --output. Images deployed from copies of one encrypted
/// image share its volume key: whoever kept that image opens them all.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_STATUS)]
#[command(mut_args(only("srk_pub", |option| option.required(true))))]
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
    #[arg(long, help_heading = "Output")]
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
    pub binding: BindingOptions,

    #[command(flatten)]
    pub partitions: Partitions,
}
