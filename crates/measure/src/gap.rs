//! What a boot measures, or takes in, that its prediction does not cover.
//!
//! A chain that ends in a unified kernel image is predicted whole: all that boots is in that one file, and its digest is in
//! PCR 4. Every other [`Kind`] leaves a [`Gap`]. Values with a gap are shown; only a [`Sealable`](super::Sealable) prediction
//! is one that a key can be sealed to.

use std::fmt;

use super::boot::BootFile;
use firmware::Kind;

/// The first version of systemd-stub that loads addons.
const FIRST_WITH_ADDONS: u32 = 254;

/// What a boot measures, or takes in, that its prediction does not cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// Nothing is loaded behind a shim.
    NoKernel {
        /// The shim.
        file: String,
    },
    /// The chain ends in a kernel that brings no initrd and no command line with it.
    Kernel {
        /// The kernel.
        file: String,
    },
    /// The chain ends in GRUB.
    Grub {
        /// GRUB.
        file: String,
    },
    /// The chain ends in systemd-boot.
    SystemdBoot {
        /// systemd-boot.
        file: String,
    },
    /// The second program is a shim again.
    SecondShim {
        /// The second one.
        file: String,
    },
    /// The chain ends in a program that nothing is known of.
    Unknown {
        /// The program.
        file: String,
    },
    /// systemd-stub finds addons for the kernel image.
    Addons {
        /// The kernel image.
        file: String,
        /// Paths of the addons.
        addons: Vec<String>,
    },
}

impl Gap {
    /// What a chain that ends in `last` leaves out; `addons` are those that lie there for it.
    pub(super) fn behind(last: &BootFile, is_second: bool, addons: &[String]) -> Option<Self> {
        let file = last.name.clone();
        match last.program.kind() {
            Kind::UnifiedKernel if addons.is_empty() || ignores_addons(last) => None,
            Kind::UnifiedKernel => Some(Self::Addons {
                file,
                addons: addons.to_vec(),
            }),
            Kind::Shim if is_second => Some(Self::SecondShim { file }),
            Kind::Shim => Some(Self::NoKernel { file }),
            Kind::Kernel => Some(Self::Kernel { file }),
            Kind::Grub => Some(Self::Grub { file }),
            Kind::SystemdBoot => Some(Self::SystemdBoot { file }),
            Kind::Unknown => Some(Self::Unknown { file }),
        }
    }

    /// The PCRs that have other values, or may have, when a guest asks for its key.
    pub fn missed_pcrs(&self) -> &'static [u8] {
        match self {
            Self::Kernel { .. } => &[11],
            Self::Grub { .. } | Self::Unknown { .. } => &[4, 11],
            Self::Addons { .. } => &[4, 7, 12],
            Self::NoKernel { .. } | Self::SystemdBoot { .. } | Self::SecondShim { .. } => {
                &[4, 7, 11, 12]
            }
        }
    }

    /// True where more is measured for certain, so that no guest ever has the values of those PCRs.
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Grub { .. }
            | Self::SystemdBoot { .. }
            | Self::SecondShim { .. }
            | Self::NoKernel { .. } => true,
            // A kernel measures nothing there; addons of another architecture or kernel are passed over.
            Self::Kernel { .. } | Self::Unknown { .. } | Self::Addons { .. } => false,
        }
    }
}

/// True where the version of the stub is known, and below the first that loads addons.
fn ignores_addons(kernel: &BootFile) -> bool {
    kernel
        .stub_version()
        .is_some_and(|version| version < FIRST_WITH_ADDONS)
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKernel { file } => write!(
                f,
                "{file}: is a shim, and loads no kernel: no guest that asks for a key has these values"
            ),
            Self::Kernel { file } => write!(
                f,
                "{file}: is a kernel alone, no unified kernel image: no PCR that is predicted covers its initrd and its command line"
            ),
            Self::Grub { file } => write!(
                f,
                "{file}: is GRUB: the kernel that it loads is measured into PCR 4 as well, and into PCR 7 where another has signed it; no PCR that is predicted covers that kernel's initrd and command line"
            ),
            Self::SystemdBoot { file } => write!(
                f,
                "{file}: is systemd-boot: what it loads is measured into PCR 4 as well, and into PCR 7 where another has signed it, which is not predicted"
            ),
            Self::SecondShim { file } => write!(
                f,
                "{file}: is a second shim: what it loads is measured into PCR 4 and PCR 7 as well, which is not predicted"
            ),
            Self::Unknown { file } => write!(
                f,
                "{file}: is no unified kernel image, nor any other program that is known: if it loads another one, that is measured into PCR 4 as well, and no PCR that is predicted covers an initrd and a command line"
            ),
            Self::Addons { file, addons } => write!(
                f,
                "{file}: its systemd-stub may load {}: addons are measured into PCR 4 and PCR 12, and into PCR 7 where another has signed them, which is not predicted",
                addons.join(", ")
            ),
        }
    }
}
