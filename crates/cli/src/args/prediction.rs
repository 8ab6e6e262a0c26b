//! What a prediction is made from: the firmware, the PCRs, the rules.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::KeyObjectOptions;

/// What describes a guest's firmware.
#[derive(Debug, Args)]
#[command(next_help_heading = "Firmware")]
#[command(group = clap::ArgGroup::new("firmware").args(["uefi_config", "ovmf_vars", "az_disk_profile", "efivars"]))]
pub struct Firmware {
    /// The guest's variables, as create-uefi-config writes them
    ///
    /// Several times, this option or one of the next three: one set of branches for each configuration, in the order in
    /// which they are given. So a guest opens its disk before and after its variables change, for instance when a
    /// certificate of 2011 is replaced by that of 2023.
    #[arg(long, value_name = "FILE", action = clap::ArgAction::Append)]
    pub uefi_config: Vec<PathBuf>,

    /// Variable store of edk2's firmware, raw or qcow2: `OVMF_VARS*.fd`
    #[arg(long, value_name = "FILE", action = clap::ArgAction::Append)]
    pub ovmf_vars: Vec<PathBuf>,

    /// Azure's description of a disk or an image version, in JSON
    #[arg(long, value_name = "FILE", action = clap::ArgAction::Append)]
    pub az_disk_profile: Vec<PathBuf>,

    /// This machine's variables, or a copy of the directory efivars
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = operations::uefi_config::EFIVARFS,
        action = clap::ArgAction::Append)]
    pub efivars: Vec<PathBuf>,

    /// Firmware that does not measure the call of the boot option
    ///
    /// For sources that do not tell; --uefi-config does.
    #[arg(long)]
    pub omits_ready_to_boot_signal: bool,
}

/// The PCRs that are asked for.
#[derive(Debug, Args)]
#[command(next_help_heading = "PCRs")]
pub struct Profiles {
    /// PCR 4: the programs that are booted
    #[arg(long)]
    pub add_efi_boot_manager_profile: bool,

    /// PCR 7: the Secure Boot databases, and what authorised the programs
    #[arg(long)]
    pub add_efi_secure_boot_profile: bool,

    /// PCR 12: that Ubuntu's initial ramdisk has not finished
    ///
    /// For --key-object systemd-tpm2: that nothing was handed to systemd-stub but what is in the kernel image.
    #[arg(long)]
    pub add_ubuntu_kernel_profile: bool,
}

impl Profiles {
    /// True where one of them is given.
    pub fn any(&self) -> bool {
        self.add_efi_boot_manager_profile
            || self.add_efi_secure_boot_profile
            || self.add_ubuntu_kernel_profile
    }

    /// The same as a value, with the PCRs that only systemd's reader has; none of the flags is none of the PCRs.
    pub fn profile(&self, key_object: &KeyObjectOptions) -> operations::predict::Profile {
        operations::predict::Profile {
            sections: key_object.bind_pcr11,
            volume_key: key_object.bind_pcr15,
            boot_manager: self.add_efi_boot_manager_profile,
            secure_boot: self.add_efi_secure_boot_profile,
            kernel: self.add_ubuntu_kernel_profile,
        }
    }
}

/// Which rules a prediction follows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Advanced")]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
pub struct Rules {
    /// Whether Secure Boot is on in the guest
    #[arg(long, value_name = "STATE", default_value = "on")]
    pub secure_boot: SecureBoot,

    /// Answer as another program does where this one differs
    #[arg(long, value_name = "PROGRAM")]
    pub compat: Option<Compat>,

    /// Predict boot files whose signatures do not verify
    ///
    /// A guest under Secure Boot refuses to start them. Names of certificates then decide what is measured.
    #[arg(long)]
    pub no_verify_signatures: bool,

    /// Predict boot files that dbx or shim's own list forbids
    #[arg(long)]
    pub ignore_dbx: bool,

    /// Predict boot files that shim refuses for their section .sbat
    #[arg(long)]
    pub ignore_sbat: bool,

    /// Predict a shim without a kernel
    ///
    /// The values are shown; a key is never sealed to them, as nobody would ask for it.
    #[arg(long)]
    pub allow_no_kernel: bool,
}

impl Rules {
    /// The same as a value.
    pub fn rules(&self) -> operations::predict::Rules {
        let base = match self.compat {
            Some(Compat::Reference) => operations::predict::Rules::reference(),
            None => operations::predict::Rules::firmware(),
        };
        operations::predict::Rules {
            secure_boot: self.secure_boot == SecureBoot::On,
            verify_signatures: base.verify_signatures && !self.no_verify_signatures,
            obey_dbx: base.obey_dbx && !self.ignore_dbx,
            obey_sbat: base.obey_sbat && !self.ignore_sbat,
            allow_no_kernel: base.allow_no_kernel || self.allow_no_kernel,
            ..base
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SecureBoot {
    /// The firmware starts signed programs only
    On,
    /// The firmware starts everything
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compat {
    /// Canonical's encrypt-cloud-image 1.0.1
    Reference,
}
