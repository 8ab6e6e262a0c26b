//! What carries the key to the guest.

use clap::{Args, ValueEnum};

/// Who reads the key in the guest, and what was measured until then.
#[derive(Debug, Args)]
#[command(next_help_heading = "Key object")]
pub struct KeyObjectOptions {
    /// What carries the key to the guest
    ///
    /// systemd 255 or later opens `systemd-tpm2` in the guest's initrd, or the one of RHEL 9.4 or later. PCR 12 then
    /// has no epoch: it is zero.
    #[arg(long, value_name = "KIND", default_value = "secboot")]
    pub key_object: KeyObject,

    /// Whether the initrd has systemd-pcrosseparator, of systemd 261
    ///
    /// It extends PCR 4, 7 and 12 before the root is opened. `both` seals each way to boot twice; `auto` is `no` where
    /// every systemd-stub on the EFI system partition is older, else `both`.
    #[arg(long, value_name = "CHOICE")]
    pub os_separator: Option<OsSeparator>,

    /// PCR 11: the sections of the unified kernel image, until its initrd begins
    ///
    /// The running system cannot unseal then. Every new kernel image needs a new deploy, also one with the same
    /// signature. Refused where a kernel on the EFI system partition is no unified kernel image.
    #[arg(long, help_heading = "PCRs")]
    pub bind_pcr11: bool,

    /// PCR 15: that no volume was opened yet
    ///
    /// It closes only where the guest measures its volume keys: a root that is found by its partition type is
    /// measured, one of /etc/crypttab or the kernel's command line needs the option `tpm2-measure-pcr=yes`.
    #[arg(long, help_heading = "PCRs")]
    pub bind_pcr15: bool,

    /// Predict PCR 12 as if no files lay there that systemd-stub measures
    ///
    /// Addons and credentials below loader, and directories named after a kernel image with `.extra.d`. For a guest whose
    /// stub does not read them. Addons go into PCR 4 as well: `deploy` and `provision` refuse to seal to that all the same,
    /// unless the stub says that it is older than 254, which reads none.
    #[arg(long, help_heading = "Advanced")]
    pub allow_extra_measurements: bool,
}

impl KeyObjectOptions {
    /// The first of the options that only systemd's reader has, where it is not the one that was asked for.
    pub fn out_of_place(&self) -> Option<&'static str> {
        let given = [
            (self.os_separator.is_some(), "--os-separator"),
            (self.bind_pcr11, "--bind-pcr11"),
            (self.bind_pcr15, "--bind-pcr15"),
        ];
        self.only_for_systemd(&given)
    }

    /// The first option that is given, where the key object is not systemd's.
    pub fn only_for_systemd(&self, given: &[(bool, &'static str)]) -> Option<&'static str> {
        if self.key_object == KeyObject::SystemdTpm2 {
            return None;
        }
        given
            .iter()
            .find(|(is_given, _)| *is_given)
            .map(|(_, option)| *option)
    }

    /// Who reads the key.
    pub fn reader(&self) -> operations::predict::Reader {
        match self.key_object {
            KeyObject::Secboot => operations::predict::Reader::SnapBootstrap,
            KeyObject::SystemdTpm2 => operations::predict::Reader::Systemd {
                separator: self.os_separator.unwrap_or(OsSeparator::Auto).into(),
            },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyObject {
    /// A file on the EFI system partition, for Ubuntu's initramfs
    Secboot,
    /// Tokens in the LUKS2 header, for systemd-cryptsetup
    #[value(name = "systemd-tpm2")]
    SystemdTpm2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OsSeparator {
    /// As the versions of systemd-stub tell
    Auto,
    /// It does not run
    No,
    /// It runs
    Yes,
    /// Either way
    Both,
}

impl From<OsSeparator> for operations::predict::Separator {
    fn from(separator: OsSeparator) -> Self {
        match separator {
            OsSeparator::Auto => Self::Auto,
            OsSeparator::No => Self::No,
            OsSeparator::Yes => Self::Yes,
            OsSeparator::Both => Self::Both,
        }
    }
}
