//! `encrypt-cloud-image encrypt`.

use std::path::PathBuf;

use clap::Args;

use super::conversion::{Format, FreeSpace, Guest, LayoutOptions};
use super::{EXIT_STATUS, Partitions};
use crate::cli::parse;

/// Encrypt the root partition of a plain cloud image
///
/// SOURCE is a disk image with a GPT, an ext4 root partition and an EFI system partition: raw, a VHD, qcow2, VMDK or
/// VHDX, whatever its name says; compressed by gzip, xz or zstd, or in a ZIP archive (the first member whose name ends
/// in .img or .vhd), it is unpacked into an unnamed file beside the output first. It is read once; the output appears under its name only when it is complete. Until `deploy`
/// has run, the key is in the image: keep it as you keep plain images.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_STATUS)]
pub struct Encrypt {
    /// Image to encrypt
    #[arg(value_parser = parse::image_path())]
    pub source: PathBuf,

    /// Write the encrypted image here instead of replacing SOURCE
    ///
    /// Without this option SOURCE is converted into an unnamed file beside it, which replaces it when it
    /// is complete. A source in a format that is only read (qcow2, VMDK, VHDX), or packed, is not replaced: name the output.
    #[arg(short, long, value_name = "FILE", value_parser = parse::image_path())]
    pub output: Option<PathBuf>,

    /// Replace the output file if there is one
    ///
    /// The old file stays as it is until the new one is complete. A symbolic link stays, and the file that
    /// it leads to is replaced.
    #[arg(long, requires = "output")]
    pub overwrite: bool,

    /// Format of the output; default: by its extension, else that of the source
    ///
    /// Where the source's is only read: raw, and a fixed VHD for a dynamic one. The extensions .img and .raw stand for raw, .vhd for vhd. The disk in a VHD becomes a multiple of
    /// 1 MiB.
    #[arg(long, value_name = "FORMAT")]
    pub output_format: Option<Format>,

    /// Show what would be done, and write nothing
    ///
    /// The source is read and checked as in a real run; a packed one is unpacked, into a file that vanishes. Too little room for the output is a warning.
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub guest: Guest,

    #[command(flatten)]
    pub layout: LayoutOptions,

    #[command(flatten)]
    pub partitions: Partitions,

    /// Threads that read, encrypt and write; default: one for each processor
    ///
    /// The output does not depend on their number, but for its random keys.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Advanced")]
    pub threads: Option<u16>,

    /// What becomes of blocks that the filesystem does not use
    ///
    /// `encrypt` writes them as encrypted zeros, so that nobody can tell used blocks from free ones. `skip` leaves
    /// them holes: the output takes the room of what is used, and whoever has it sees which blocks those are, hence
    /// how full the filesystem is and which image it may be, and by two states of it, what changed.
    #[arg(
        long,
        value_name = "WAY",
        default_value = "encrypt",
        help_heading = "Advanced"
    )]
    pub free_space: FreeSpace,
}
