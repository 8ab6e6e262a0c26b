//! Who asks the TPM for the key, and so what was extended into the PCRs until then.
//!
//! snap-bootstrap extends an *epoch* into PCR 12 before it asks. systemd's initrd does not; from version 261 on
//! a unit of its own, systemd-pcrosseparator, extends the word `os-separator` into most PCRs before the volume is
//! opened, in initrds that have the unit. Whether one has it cannot be told from outside, so a prediction may be made
//! with it, without it, or in both ways.

use super::branch::Boot;
use super::event::Event;
use crate::tpm::Bank;

/// The first version of systemd that has the separator.
const FIRST_WITH_SEPARATOR: u32 = 261;

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

/// Only a unified kernel image makes a boot in which systemd measures; one whose stub tells no version may be new.
fn may_have_separator(boot: &Boot) -> bool {
    boot.kernels().any(|file| {
        file.program.has_section(".linux")
            && file
                .stub_version()
                .is_none_or(|version| version >= FIRST_WITH_SEPARATOR)
    })
}
