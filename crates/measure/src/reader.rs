//! Who asks the TPM for the key, and so what was extended into the PCRs until then.
//!
//! snap-bootstrap extends an *epoch* into PCR 12 before it asks. systemd's initrd does not; from version 261 on
//! a unit of its own, systemd-pcrosseparator, extends the word `os-separator` into most PCRs before the volume is
//! opened, in initrds that have the unit. Whether one has it cannot be told from outside, so a prediction may be made
//! with it, without it, or in both ways.

use super::boot::{Boot, BootFile};
use super::error::Warning;
use super::event::Event;
use super::rules::Profile;
use firmware::Kind;
use tpm::Bank;

/// The first version of systemd that has the separator.
const FIRST_WITH_SEPARATOR: u32 = 261;
/// The first version that imports what was sealed without the TPM.
const FIRST_THAT_IMPORTS: u32 = 255;

/// The program that asks the TPM for the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reader {
    /// snap-bootstrap, in Ubuntu's initramfs.
    #[default]
    SnapBootstrap,
    /// systemd-cryptsetup, in an initrd that systemd runs.
    Systemd {
        /// Whether systemd-pcrosseparator runs before it.
        separator: Separator,
    },
}

/// Whether systemd-pcrosseparator runs in the initrd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Separator {
    /// No where every systemd-stub is older than the separator, else both.
    #[default]
    Auto,
    /// It does not.
    No,
    /// It does.
    Yes,
    /// Either way: each boot is predicted twice, first with it.
    Both,
}

impl Reader {
    /// Before the reader asks, the separator is extended (true) or not; each a branch of its own, in this order.
    pub(super) fn separators(self, boot: &Boot) -> &'static [bool] {
        let separator = match self {
            Self::SnapBootstrap => Separator::No,
            Self::Systemd { separator } => separator,
        };
        match separator {
            Separator::Yes => &[true],
            Separator::Both => &[true, false],
            Separator::Auto if may_have_separator(boot) => &[true, false],
            Separator::No | Separator::Auto => &[false],
        }
    }

    /// What the reader, or what runs before it, extends in the end.
    pub(super) fn events(self, bank: Bank, with_separator: bool) -> Vec<Event> {
        match self {
            Self::SnapBootstrap => vec![Event::epoch(bank)],
            Self::Systemd { .. } if with_separator => Event::os_separators(bank),
            Self::Systemd { .. } => Vec::new(),
        }
    }
}

/// What is worth saying of the boot files to who seals for systemd's reader.
pub(super) fn warnings(boot: &Boot, profile: Profile) -> Vec<Warning> {
    boot.kernels()
        .flat_map(|file| kernel_warnings(file, profile))
        .collect()
}

fn kernel_warnings(kernel: &BootFile, profile: Profile) -> Vec<Warning> {
    let file = || kernel.name.clone();
    let is_unified = kernel.program.kind() == Kind::UnifiedKernel;
    let mut warnings = Vec::new();
    let is_old = kernel
        .stub_version()
        .is_some_and(|version| version < FIRST_THAT_IMPORTS);
    let version = kernel.stub_version_text().filter(|_| is_old);
    if let Some(version) = version.filter(|version| !imports_by_backport(version)) {
        warnings.push(Warning::OldSystemd {
            file: file(),
            version,
        });
    }
    if is_unified && profile.kernel && !kernel.program.has_section(".cmdline") {
        warnings.push(Warning::NoCommandLine { file: file() });
    }
    if !is_unified && profile.volume_key {
        warnings.push(Warning::NoVolumeKey { file: file() });
    }
    warnings
}

/// True for the builds of RHEL 9 that have the import of 255: `252-27.el9` and later, `252-32.el9_4` for instance.
fn imports_by_backport(version: &str) -> bool {
    let release = version.strip_prefix("252-");
    let release = release.and_then(|release| release.split_once(".el9"));
    release.is_some_and(|(number, _)| {
        let first = number.split('.').next().unwrap_or_default();
        first.parse().is_ok_and(|number: u32| number >= 27)
    })
}

/// Only a unified kernel image makes a boot in which systemd measures; one whose stub tells no version may be new.
fn may_have_separator(boot: &Boot) -> bool {
    boot.kernels().any(|file| {
        file.program.kind() == Kind::UnifiedKernel
            && file
                .stub_version()
                .is_none_or(|version| version >= FIRST_WITH_SEPARATOR)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rhel_9_4_and_later_have_the_import() {
        for version in ["252-27.el9", "252-32.el9_4", "252-46.el9_5.2", "252-55.el9"] {
            assert!(imports_by_backport(version), "{version}");
        }
        for version in [
            "252-13.el9_2",
            "252-18.el9",
            "252.39-1~deb12u2",
            "252-27.fc38",
            "253-27.el9",
        ] {
            assert!(!imports_by_backport(version), "{version}");
        }
    }
}
