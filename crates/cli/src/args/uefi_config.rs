//! `create-uefi-config`.

use std::path::PathBuf;

use clap::{Args, Parser};
use uuid::Uuid;

use super::{Compat, EXIT_STATUS, STYLES, SecureBoot};
use crate::parse;

/// Write down what a guest's firmware has in PK, KEK, db and dbx
///
/// The file is what `deploy` and `predict` take as --uefi-config. It must describe the guest that the image
/// is for: PCR 7 hashes the four variables byte for byte. Give one source; what it holds is printed, and what
/// will bite. AWS's uefi-data, variable stores in JSON and `VMware`'s nvram are not read in this version, and a
/// message says what to do with them.
#[derive(Debug, Parser)]
#[command(name = "create-uefi-config", version, styles = STYLES, args_override_self = true)]
#[command(max_term_width = 100, after_long_help = EXIT_STATUS)]
#[command(override_usage = "create-uefi-config --out FILE \
                      <--in DIR | --ovmf-vars FILE | --efivars [DIR] | --az-disk-profile FILE> [OPTIONS]")]
pub struct CreateUefiConfig {
    #[command(flatten)]
    pub source: UefiSource,

    /// Write the configuration here (- for standard output)
    ///
    /// A file that is there is replaced. What else is printed goes to standard error where the configuration goes to
    /// standard output.
    #[arg(short, long = "out", value_name = "FILE", help_heading = "Output")]
    pub out: Option<PathBuf>,

    /// Firmware that does not measure the call of the boot option
    ///
    /// It leaves "Calling EFI Application from Boot Option" out, the first event of PCR 4. edk2 and Azure
    /// do measure it.
    #[arg(long, help_heading = "Output")]
    pub omits_ready_to_boot_signal: bool,

    /// Write the four contents to files PK, KEK, db and dbx, too
    #[arg(long, value_name = "DIR", value_parser = parse::file_path(), help_heading = "Output")]
    pub save_databases: Option<PathBuf>,

    /// Whether Secure Boot is on in the guest
    ///
    /// `off` takes a source that says so, or that holds no variable at all, which is refused otherwise.
    #[arg(
        long,
        value_name = "STATE",
        default_value = "on",
        help_heading = "Advanced"
    )]
    pub secure_boot: SecureBoot,

    /// Owner of certificates whose file does not tell one
    ///
    /// PCR 7 measures the owner. It is taken from names like db-GUID-NAME.pem, then from here; without this
    /// option certificates that Microsoft publishes have Microsoft's. Machines of Google Compute Engine have
    /// all of them under d281fad2-8d88-47a4-9792-5baa47bb1b89.
    #[arg(long, value_name = "GUID", help_heading = "Advanced")]
    pub certificate_owner: Option<Uuid>,

    /// Answer as another program does where this one differs
    #[arg(long, value_name = "PROGRAM", help_heading = "Advanced")]
    pub compat: Option<Compat>,

    #[arg(hide = true)]
    pub surplus: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
pub struct UefiSource {
    /// Directory of PK.esl, KEK-*.esl, db-*.esl and dbx-*.esl
    ///
    /// The files of a variable are put together in the order of the bytes of their names. Certificates
    /// (.pem, .crt, .cer, .der) and signed updates (.auth) of the same names are read as well.
    #[arg(short, long = "in", value_name = "DIR", action = clap::ArgAction::Append)]
    pub input: Vec<PathBuf>,

    /// Variable store of edk2's firmware, raw or qcow2: `OVMF_VARS*.fd`
    ///
    /// The guest must be shut down. A store of `AAVMF` (Arm) is read as well, and an image of code and
    /// variables together.
    #[arg(long, value_name = "FILE")]
    pub ovmf_vars: Option<PathBuf>,

    /// This machine's variables, or a copy of the directory efivars
    ///
    /// Without DIR the variables of the machine that this program runs on are read.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = operations::uefi_config::EFIVARFS)]
    pub efivars: Option<PathBuf>,

    /// Azure's description of a disk or an image version, in JSON
    ///
    /// Of a disk: `signatureMode` Replace. Of an image version of a compute gallery: the template
    /// `NoSignatureTemplate`. Others build upon signatures whose bytes only the service has.
    #[arg(long, value_name = "FILE")]
    pub az_disk_profile: Option<PathBuf>,
}
