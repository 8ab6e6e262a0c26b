//! Which rules a prediction follows, and which PCRs it is for.

use std::collections::BTreeSet;

/// Which PCRs a prediction is for.
#[expect(clippy::struct_excessive_bools, reason = "each may be asked for alone")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Profile {
    /// PCR 4: the programs that are booted.
    pub boot_manager: bool,
    /// PCR 7: the Secure Boot databases, and what authorised the programs.
    pub secure_boot: bool,
    /// PCR 11: the sections of the unified kernel image, until its initrd begins.
    pub sections: bool,
    /// PCR 12: the epoch of Ubuntu's initial ramdisk, or that nothing else was handed to systemd's stub.
    pub kernel: bool,
    /// PCR 15: that no volume was opened yet.
    pub volume_key: bool,
}

impl Profile {
    /// The numbers of the PCRs, ascending.
    pub fn pcrs(self) -> BTreeSet<u8> {
        let all = [
            (self.boot_manager, 4),
            (self.secure_boot, 7),
            (self.sections, 11),
            (self.kernel, 12),
            (self.volume_key, 15),
        ];
        all.into_iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, pcr)| pcr)
            .collect()
    }

    /// True where PCR 4 or PCR 7 is asked for: what firmware itself says of the programs that boot.
    pub fn asks_for_firmware(self) -> bool {
        self.boot_manager || self.secure_boot
    }
}

/// Which rules a prediction follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct Rules {
    /// Answer as the reference does, also where firmware and shim measure something else.
    pub follow_reference: bool,
    /// Firmware and shim judge programs by their signatures. Off: they measure, and load everything.
    pub secure_boot: bool,
    /// A shim without a kernel is a boot of its own.
    pub allow_no_kernel: bool,
    /// Signatures and digests must verify. Off: names of certificates decide.
    pub verify_signatures: bool,
    /// What dbx and the shim's own list forbid cannot boot.
    pub obey_dbx: bool,
    /// What shim refuses for its `.sbat` cannot boot. Part of verifying: without it, nothing is refused.
    pub obey_sbat: bool,
}

impl Rules {
    /// Those of firmware and shim.
    pub const fn firmware() -> Self {
        Self {
            follow_reference: false,
            secure_boot: true,
            allow_no_kernel: false,
            verify_signatures: true,
            obey_dbx: true,
            obey_sbat: true,
        }
    }

    /// Those of the reference, which verifies nothing.
    pub const fn reference() -> Self {
        Self {
            follow_reference: true,
            secure_boot: true,
            allow_no_kernel: true,
            verify_signatures: false,
            obey_dbx: false,
            obey_sbat: false,
        }
    }

    /// The same with every check that firmware and shim make; `None` where an option lifts none of them.
    pub fn with_every_check(self) -> Option<Self> {
        let all = Self {
            verify_signatures: true,
            obey_dbx: true,
            obey_sbat: true,
            ..self
        };
        (self.secure_boot && !self.follow_reference && all != self).then_some(all)
    }

    pub(super) fn asks_for_sbat(self) -> bool {
        self.secure_boot && self.verify_signatures && self.obey_sbat
    }
}
