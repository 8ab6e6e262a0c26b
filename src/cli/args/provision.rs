//! `encrypt-cloud-image provision`.

use std::path::PathBuf;

use clap::Args;

use super::conversion::{Format, FreeSpace, Guest, LayoutOptions};
use super::{
    EXIT_STATUS, Firmware, KeyObjectOptions, Partitions, Profiles, RecoveryOptions, Rules,
    SrkOptions,
};
use crate::cli::parse;

/// Make a plain image into one that a guest's vTPM opens
///
/// What `encrypt` and `deploy` do, in one pass: the disk key is made and sealed in memory, and never lies in clear in any
/// file. SOURCE is read once and stays as it is; the output appears under its name only when it is complete. The output
/// has a volume key of its own: who has SOURCE, or another guest's image, opens nothing with it.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_STATUS)]
#[command(group = clap::ArgGroup::new("policy").required(true).multiple(true).args([
    "add_efi_boot_manager_profile", "add_efi_secure_boot_profile", "add_ubuntu_kernel_profile", "no_pcr_policy",
]))]
pub struct Provision {
    /// Plain image
    #[arg(value_parser = parse::image_path())]
    pub source: PathBuf,

    /// Write the guest's image here
    #[arg(short, long, value_name = "FILE", value_parser = parse::image_path(), help_heading = "Output",
          required_unless_present = "guests")]
    pub output: Option<PathBuf>,

    /// Make an image for each guest of this file, from one read of SOURCE
    ///
    /// A JSON object on each line (docs/schemas/guests-1.json): `output` and `srk_pub`; also
    /// `srk_template_unique_data`, one of `uefi_config`, `ovmf_vars` and `az_disk_profile`, one of
    /// `recovery_key_file` and `recovery_key_out`, and `report`. All other options hold for each guest, those of the
    /// firmware for guests that name none. A guest that fails does not harm the others; the exit status is then 1.
    /// SOURCE is read once for 16 guests at a time.
    #[arg(long, value_name = "FILE", help_heading = "Output", conflicts_with_all = [
        "output", "report", "srk_pub", "srk_template_unique_data", "recovery", "print",
    ])]
    pub guests: Option<PathBuf>,

    /// Replace the output file if there is one
    ///
    /// The old file stays as it is until the new one is complete. A symbolic link stays, and the file that
    /// it leads to is replaced.
    #[arg(long, help_heading = "Output")]
    pub overwrite: bool,

    /// Format of the output; default: by its extension, else that of the source
    ///
    /// The extensions .img and .raw stand for raw, .vhd for vhd. The disk in a VHD becomes a multiple of
    /// 1 MiB.
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    pub output_format: Option<Format>,

    /// Show what would be done, and write nothing
    #[arg(long, conflicts_with = "print", help_heading = "Output")]
    pub dry_run: bool,

    /// Write what was done as JSON, to - for standard output
    ///
    /// Its form is docs/schemas/deploy-report-1.json. No secret is in it. Source and output are read once more for
    /// their digests.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub report: Option<PathBuf>,

    #[command(flatten)]
    pub guest: Guest,

    #[command(flatten)]
    pub layout: LayoutOptions,

    #[command(flatten)]
    pub key_object: KeyObjectOptions,

    /// Public area of the guest's SRK
    ///
    /// As `tpm2_readpublic -o` writes it (`TPM2B_PUBLIC`), or `TPMT_PUBLIC`; a public key in PEM or DER only
    /// together with --standard-srk-template.
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "SRK",
        required_unless_present = "guests"
    )]
    pub srk_pub: Option<PathBuf>,

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

    /// Threads that read, encrypt and write; default: one for each processor
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Advanced")]
    pub threads: Option<u16>,

    /// What becomes of blocks that the filesystem does not use
    ///
    /// `encrypt` writes them as encrypted zeros, so that nobody can tell used blocks from free ones. `skip` leaves
    /// them holes, and shows whoever has the image which blocks are in use.
    #[arg(
        long,
        value_name = "WAY",
        default_value = "encrypt",
        help_heading = "Advanced"
    )]
    pub free_space: FreeSpace,
}
