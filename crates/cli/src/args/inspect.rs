//! `encrypt-cloud-image inspect`.

use std::path::PathBuf;

use clap::Args;

use super::key_object::OsSeparator;
use super::predict::Chain;
use super::{BackingOption, EXIT_STATUS, Firmware, Partitions, Rules};
use crate::parse;

/// Tell what an image is, and whether a guest would open it
///
/// Reads the partition table, both copies of the LUKS2 header and what carries the key, of plain, encrypted and deployed
/// images. Nothing is written, and no key is used. With --against, the ways in which a guest can boot are held against
/// what the key is sealed to. That needs no TPM; whether it is the right TPM does not show.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub struct Inspect {
    /// Image to look at
    #[arg(value_parser = parse::image_path())]
    pub source: PathBuf,

    /// Print one JSON document (docs/schemas/inspect-1.json) and nothing else
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Tell which ways to boot would unlock the image
    ///
    /// What describes the guest's firmware goes with it; of several configurations each is reported. Exit status 0 where
    /// every way to boot unlocks under each of them, else 3.
    #[arg(long, requires = "firmware", help_heading = "Will it unlock?")]
    pub against: bool,

    /// Directory with the files of an EFI system partition to come
    ///
    /// In place of the boot files in the image: after an update of the kernel, for instance. Links that lead out of DIR
    /// cannot be followed where the kernel knows Landlock.
    #[arg(
        long,
        value_name = "DIR",
        requires = "against",
        help_heading = "Will it unlock?"
    )]
    pub esp: Option<PathBuf>,

    /// Programs that are loaded one after the other, in place of those found
    ///
    /// As for `predict`. Can be given several times.
    #[arg(long, value_name = "FILE[,FILE...]", action = clap::ArgAction::Append, requires = "against",
        conflicts_with = "esp", help_heading = "Will it unlock?")]
    pub chain: Vec<Chain>,

    /// Report that `deploy --report` wrote: it tells which PCR is another one now
    ///
    /// The policy holds one hash over all of its PCRs, so by itself it does not tell.
    #[arg(
        long,
        value_name = "FILE",
        requires = "against",
        help_heading = "Will it unlock?"
    )]
    pub report: Option<PathBuf>,

    /// Configuration that the firmware had before; tells whether PCR 7 is to blame
    ///
    /// As create-uefi-config wrote it then. Can be given several times.
    #[arg(long, value_name = "FILE", action = clap::ArgAction::Append, requires = "against",
        help_heading = "Will it unlock?")]
    pub earlier_uefi_config: Vec<PathBuf>,

    /// Whether the initrd has systemd-pcrosseparator, of systemd 261
    ///
    /// For tokens of systemd. `auto` is `no` where every systemd-stub is older, else `both`.
    #[arg(
        long,
        value_name = "CHOICE",
        default_value = "auto",
        help_heading = "Will it unlock?"
    )]
    pub os_separator: OsSeparator,

    /// Predict PCR 12 as if no files lay there that systemd-stub measures
    #[arg(long, requires = "against", help_heading = "Advanced")]
    pub allow_extra_measurements: bool,

    #[command(flatten)]
    pub backing: BackingOption,

    #[command(flatten)]
    pub firmware: Firmware,

    #[command(flatten)]
    pub partitions: Partitions,

    #[command(flatten)]
    pub rules: Rules,
}
