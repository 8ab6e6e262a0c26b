//! `encrypt-cloud-image encrypt`.

use std::path::PathBuf;

use clap::Args;

use super::{ConversionOptions, EXIT_STATUS, only};
use crate::parse;

/// Encrypt the root partition of a plain cloud image
///
/// SOURCE is a disk image with a GPT, an ext4 root partition and an EFI system partition: raw, a VHD, qcow2, VMDK or
/// VHDX, whatever its name says, or a block device; compressed by gzip, xz or zstd, or in a ZIP archive (the first member
/// whose name ends in .img or .vhd), it is unpacked into an unnamed file beside the output first. It is read once; an
/// output file appears under its name only when it is complete. Until `deploy` has run, the key is in the image: keep it
/// as you keep plain images.
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
    /// is complete; a block device is converted in place. A source in a format that is only read (qcow2, VMDK, VHDX), or
    /// packed, is not replaced: name the output. FILE may be a block device that nobody uses: the root partition may then
    /// grow into what the device has more than SOURCE.
    #[arg(short, long, value_name = "FILE", value_parser = parse::image_path(), help_heading = "Output")]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    pub place: Place,

    #[command(flatten)]
    pub conversion: ConversionOptions,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Place {
    /// Convert SOURCE where it lies, without a second copy
    ///
    /// The partition needs 24 MiB behind its filesystem, or the disk free space behind the partition. A run that ends
    /// early, by a power cut too, loses nothing: it is completed with --resume. Until then SOURCE is neither plain nor
    /// encrypted, and must not be used.
    #[arg(long, conflicts_with_all = ["output", "output_format", "backing_file"])]
    pub in_place: bool,

    /// Go on with a conversion in place that ended early
    ///
    /// What it was begun with is known; it goes on where it was. It is refused where the partition was changed since.
    #[arg(long, conflicts_with_all = [
        "output", "output_format", "profile", "kernel_efi", "override_datasources", "grow_root", "make_room",
        "sector_size", "free_space", "backing_file",
    ])]
    pub resume: bool,
}
