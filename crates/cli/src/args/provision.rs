//! `encrypt-cloud-image provision`.

use std::path::PathBuf;

use clap::Args;

use super::{BindingOptions, ConversionOptions, EXIT_STATUS, only};
use crate::parse;

/// Make a plain image into one that a guest's vTPM opens
///
/// What `encrypt` and `deploy` do, in one pass: the disk key is made and sealed in memory, and never lies in clear in any
/// file. SOURCE is read once and stays as it is; the output appears under its name only when it is complete. The output
/// has a volume key of its own: who has SOURCE, or another guest's image, opens nothing with it.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_STATUS)]
#[command(mut_args(only("srk_pub", |option| option.required_unless_present("guests"))))]
pub struct Provision {
    /// Plain image, in any form that `encrypt` takes
    ///
    /// A packed one is unpacked into an unnamed file beside the output first; beside that of the first guest, and once,
    /// with --guests.
    #[arg(value_parser = parse::image_path())]
    pub source: PathBuf,

    /// Write the guest's image here
    ///
    /// FILE may be a block device that nobody uses: its partition table is written last, so that a part of an image never
    /// passes for a disk.
    #[arg(short, long, value_name = "FILE", value_parser = parse::image_path(), help_heading = "Output",
          required_unless_present = "guests")]
    pub output: Option<PathBuf>,

    /// Make an image for each guest of this file, from one read of SOURCE
    ///
    /// A JSON object on each line (docs/schemas/guests-1.json): `output` and `srk_pub`; also
    /// `srk_template_unique_data`, one of `uefi_config`, `ovmf_vars` and `az_disk_profile` (a path, or a
    /// list of paths), one of `recovery_key_file` and `recovery_key_out`, and `report`. All other options hold for each guest, those of the
    /// firmware for guests that name none. A guest that fails does not harm the others; the exit status is then 4.
    /// SOURCE is read once for 16 guests at a time.
    #[arg(long, value_name = "FILE", help_heading = "Output", conflicts_with_all = [
        "output", "report", "srk_pub", "srk_template_unique_data", "recovery", "print",
    ])]
    pub guests: Option<PathBuf>,

    #[command(flatten)]
    pub conversion: ConversionOptions,

    /// Write what was done as JSON, to - for standard output
    ///
    /// Its form is docs/schemas/deploy-report-1.json. No secret is in it. Source and output are read once more for
    /// their digests; files below SOURCE have none in it.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub report: Option<PathBuf>,

    #[command(flatten)]
    pub binding: BindingOptions,
}
