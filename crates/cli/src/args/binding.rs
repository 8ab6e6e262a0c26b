//! To whom an image is bound.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Firmware, KeyObjectOptions, Profiles, RecoveryOptions, Rules};
use crate::parse;

/// The guest's vTPM, the states in which it opens the image, and who else does. A command says itself when it needs `srk_pub`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("policy").required(true).multiple(true).args([
    "add_efi_boot_manager_profile", "add_efi_secure_boot_profile", "add_ubuntu_kernel_profile", "no_pcr_policy",
]))]
pub struct BindingOptions {
    #[command(flatten)]
    pub key_object: KeyObjectOptions,

    /// Public area of the guest's SRK
    ///
    /// As `tpm2_readpublic -o` writes it (`TPM2B_PUBLIC`), or `TPMT_PUBLIC`; a public key in PEM or DER only
    /// together with --standard-srk-template.
    #[arg(long, value_name = "FILE", help_heading = "SRK")]
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

    /// Seal to PCR 7 or 12 although no unified kernel image boots
    ///
    /// Behind GRUB, behind a program that is not known, and for a kernel alone, no PCR that can be predicted covers initrd and command
    /// line: whoever can write the disk puts an initrd of their own there, which gets the key. What GRUB loads is measured
    /// into PCR 4, so that is refused all the same; and PCR 7 holds only as long as whoever signed GRUB signs the kernel.
    #[arg(long, help_heading = "Advanced", conflicts_with = "no_pcr_policy")]
    pub allow_uncovered_initrd: bool,

    #[command(flatten)]
    pub recovery: RecoveryOptions,

    #[command(flatten)]
    pub rules: Rules,
}

/// How the guest gets at the storage root key of its vTPM.
#[derive(Debug, Args)]
#[command(next_help_heading = "SRK")]
pub struct SrkOptions {
    /// The guest makes its SRK by the standard template
    ///
    /// No template is written, and one that lies there is removed. A plain `tpm2_createprimary` makes another
    /// SRK.
    #[arg(long, conflicts_with = "srk_template_unique_data")]
    pub standard_srk_template: bool,

    /// Unique data that the guest's SRK was made with
    ///
    /// As the TPM marshals it, or as `tpm2_createprimary -u` takes it.
    #[arg(long, value_name = "FILE")]
    pub srk_template_unique_data: Option<PathBuf>,

    /// How systemd's reader gets at the SRK; only with --key-object systemd-tpm2
    ///
    /// `derived`: it makes the key again by its legacy template, as `tpm2_createprimary -C o` with `-G ecc` or without
    /// does; nothing has to lie in the TPM. `persistent`: the guest must have the key at --srk-handle before its root
    /// is opened. `auto` derives where the public area allows it and no unique data are given.
    #[arg(long, value_name = "MODE")]
    pub srk_mode: Option<SrkMode>,

    /// Where the SRK lies in the guest's TPM; default: 0x81000001
    #[arg(long, value_name = "HANDLE", value_parser = parse::persistent_handle)]
    pub srk_handle: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SrkMode {
    /// Derived where it can be
    Auto,
    /// It lies in the TPM
    Persistent,
    /// It is made again
    Derived,
}

impl From<SrkMode> for operations::deploy::SrkMode {
    fn from(mode: SrkMode) -> Self {
        match mode {
            SrkMode::Auto => Self::Auto,
            SrkMode::Persistent => Self::Persistent,
            SrkMode::Derived => Self::Derived,
        }
    }
}
