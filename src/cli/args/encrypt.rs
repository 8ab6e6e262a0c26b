//! `encrypt-cloud-image encrypt`.

use std::path::PathBuf;

use clap::Args;

use super::{ConversionOptions, EXIT_STATUS, only};
use crate::cli::parse;

/// Encrypt the root partition of a plain cloud image
///
/// SOURCE is a disk image with a GPT, an ext4 root partition and an EFI system partition: raw, a VHD, qcow2, VMDK or
/// VHDX, whatever its name says; compressed by gzip, xz or zstd, or in a ZIP archive (the first member whose name ends
/// in .img or .vhd), it is unpacked into an unnamed file beside the output first. It is read once; the output appears under its name only when it is complete. Until `deploy`
/// has run, the key is in the image: keep it as you keep plain images.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_STATUS)]
#[command(mut_args(only("overwrite", |option| option.requires("output"))))]
pub struct Encrypt {
    /// Image to encrypt
    #[arg(value_parser = parse::image_path())]
    pub source: PathBuf,

    /// Write the encrypted image here instead of replacing SOURCE
    ///
    /// Without this option SOURCE is converted into an unnamed file beside it, which replaces it when it
    /// is complete. A source in a format that is only read (qcow2, VMDK, VHDX), or packed, is not replaced: name the output.
    #[arg(short, long, value_name = "FILE", value_parser = parse::image_path(), help_heading = "Output")]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    pub conversion: ConversionOptions,
}
