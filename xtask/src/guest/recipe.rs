//! What a disk is to be made of.

use super::Reader;

/// The target that a boot test starts instead of the whole system: it reaches the root, tells what it is booted
/// from, and powers off.
const PROOF: &str = "systemd.unit=boot-proof.target";

/// The whole system, which tells at its end what it is booted from.
const WHOLE_SYSTEM: &str = "systemd.wants=boot-proof.service";

/// What shim loads where nobody tells it otherwise.
const SHIMS_OWN_CHOICE: &str = "grubx64.efi";

/// A disk to be made of a guest's parts.
pub struct Recipe {
    pub reader: Reader,
    /// The kernel images beside shim.
    pub kernels: Vec<Kernel>,
}

/// A kernel image on a disk.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// Its name beside shim.
    pub file: &'static str,
    /// What its command line has beside what the reader needs.
    pub words: &'static str,
}

impl Kernel {
    fn shims_own_choice(words: &'static str) -> Self {
        Self {
            file: SHIMS_OWN_CHOICE,
            words,
        }
    }
}

impl Recipe {
    /// One kernel image that starts the boot test's target.
    pub fn new(reader: Reader) -> Self {
        Self::with_kernels(reader, &[Kernel::shims_own_choice(PROOF)])
    }

    /// One kernel image that starts the whole system, cloud-init included.
    pub fn of_whole_system(reader: Reader) -> Self {
        Self::with_kernels(reader, &[Kernel::shims_own_choice(WHOLE_SYSTEM)])
    }

    /// The name that a boot entry has to give shim for the first kernel image; none where shim knows it.
    pub fn second_stage(&self) -> Option<&'static str> {
        let first = self.kernels.first()?.file;
        (first != SHIMS_OWN_CHOICE).then_some(first)
    }

    /// These kernel images beside shim; the boot entry says which one is started.
    pub fn with_kernels(reader: Reader, kernels: &[Kernel]) -> Self {
        Self {
            reader,
            kernels: kernels.to_vec(),
        }
    }
}
