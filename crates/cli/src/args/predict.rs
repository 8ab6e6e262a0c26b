//! `encrypt-cloud-image predict`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use uuid::Uuid;

use super::{BackingOption, EXIT_STATUS, Firmware, KeyObjectOptions, Profiles, Rules, only};
use crate::parse;

/// Predict the PCR values of a guest before its first boot
///
/// Prints the events that a guest measures when it boots, and the values of its PCR 4, 7 and 12 that they
/// lead to: one branch for each kernel. Give what the guest boots (IMAGE, --esp or --chain) and what its
/// firmware holds. `deploy` seals to the same values. Taken as absent are a machine owner key, an `SbatLevel` newer than
/// shim's own, option ROMs, and a command line from outside of the kernel image: --explain finds them in a guest's log.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("boot files").required(true).args(["image", "esp", "chain"]))]
#[command(after_long_help = EXIT_STATUS)]
#[command(mut_args(only("backing_file", |option| option.requires("image"))))]
pub struct Predict {
    /// Image whose EFI system partition has the boot files, plain or encrypted
    pub image: Option<PathBuf>,

    /// Directory with the files of an EFI system partition, in place of an image
    #[arg(long, value_name = "DIR", help_heading = "Boot files")]
    pub esp: Option<PathBuf>,

    /// Programs that are loaded one after the other, in place of those found
    ///
    /// One program alone is what firmware starts by itself, a unified kernel image for instance; two are
    /// shim and what it loads. Can be given several times, for several ways to boot.
    #[arg(long, value_name = "FILE[,FILE...]", action = clap::ArgAction::Append, help_heading = "Boot files")]
    pub chain: Vec<Chain>,

    /// Unique GUID of the EFI system partition, where it cannot be told by its type
    #[arg(
        long,
        value_name = "GUID",
        alias = "esp-partition-uuid",
        requires = "image",
        help_heading = "Boot files"
    )]
    pub efi_partition_uuid: Option<Uuid>,

    #[command(flatten)]
    pub key_object: KeyObjectOptions,

    #[command(flatten)]
    pub firmware: Firmware,

    #[command(flatten)]
    pub profiles: Profiles,

    /// Print one JSON document (docs/schemas/predict-1.json) and nothing else
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Compare with a guest's event log, and tell where it differs and why
    ///
    /// LOG is the guest's `/sys/kernel/security/tpm0/binary_bios_measurements`. The branch that fits best is
    /// shown event by event, with the likely cause of each difference; exit status 0 where the guest measured
    /// what was predicted, 3 where it did not. What the running system extends is in no such log. With -v the events
    /// of all other PCRs are told as well.
    #[arg(long, value_name = "LOG", help_heading = "Output")]
    pub explain: Option<PathBuf>,

    /// Write a branch as a TCG2 event log, as `tpm2_eventlog` reads it
    ///
    /// The epoch of PCR 12, which no guest logs, stands in it as `EV_IPL`.
    #[arg(long, value_name = "FILE", value_parser = parse::file_path(), help_heading = "Output")]
    pub tcg_log: Option<PathBuf>,

    /// Which branch --tcg-log writes, by its number in the table
    #[arg(long, value_name = "N", requires = "tcg_log", help_heading = "Output")]
    pub branch: Option<usize>,

    /// Bank of the values
    ///
    /// Keys are sealed to SHA-256; the other bank is for readers of its PCRs.
    #[arg(
        long,
        value_name = "BANK",
        default_value = "sha256",
        help_heading = "Advanced"
    )]
    pub bank: Bank,

    #[command(flatten)]
    pub backing: BackingOption,

    #[command(flatten)]
    pub rules: Rules,
}

/// Programs, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain(pub Vec<PathBuf>);

impl std::str::FromStr for Chain {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let paths: Vec<_> = text.split(',').map(PathBuf::from).collect();
        if paths.iter().any(|path| path.as_os_str().is_empty()) {
            return Err("a file's name is missing");
        }
        Ok(Self(paths))
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Bank {
    /// What keys are sealed to
    Sha256,
    /// For readers of the other bank
    Sha384,
}

impl From<Bank> for operations::predict::Bank {
    fn from(bank: Bank) -> Self {
        match bank {
            Bank::Sha256 => Self::Sha256,
            Bank::Sha384 => Self::Sha384,
        }
    }
}
