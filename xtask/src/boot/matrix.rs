//! All boots.

use super::case::{Case, Change, Expected};
use super::sign::{NO_SEALED_KEY, NOT_THIS_TPM, SIGNER_UNKNOWN, STATE_NOT_SEALED_TO};
use super::subject::Srk;
use crate::guest::{Kernel, Reader, Recipe};

/// A deployed guest and its boots.
pub struct Group {
    pub name: &'static str,
    pub recipe: fn() -> Recipe,
    /// Options of `encrypt`.
    pub encrypt: &'static [&'static str],
    /// Options of `deploy`: the key object, and what it is sealed to.
    pub deploy: &'static [&'static str],
    pub srk: Srk,
    pub cases: &'static [Case],
}

/// The key object that Ubuntu's reader takes.
const SECBOOT: &[&str] = &[
    "--add-efi-boot-manager-profile",
    "--add-efi-secure-boot-profile",
    "--add-ubuntu-kernel-profile",
];

const fn opens(name: &'static str, change: Change) -> Case {
    Case {
        name,
        change,
        expected: Expected::Root,
        is_short: false,
    }
}

const fn refuses(name: &'static str, change: Change, sign: super::sign::Sign) -> Case {
    Case {
        name,
        change,
        expected: Expected::Refusal(sign),
        is_short: false,
    }
}

const fn short(case: Case) -> Case {
    Case {
        is_short: true,
        ..case
    }
}

/// Each negative boot has its positive twin, the first of its group: the same disk, TPM and variables, but for one
/// thing.
pub const GROUPS: &[Group] = &[
    Group {
        name: "secboot-rsa",
        recipe: || Recipe::new(Reader::SnapBootstrap),
        encrypt: &[],
        deploy: SECBOOT,
        srk: Srk::RSA,
        cases: &[
            short(opens("as deployed", Change::Nothing)),
            short(refuses(
                "another command line",
                Change::CommandLine,
                STATE_NOT_SEALED_TO,
            )),
            refuses(
                "Secure Boot off",
                Change::SecureBootOff,
                STATE_NOT_SEALED_TO,
            ),
            refuses(
                "another certificate in db",
                Change::Certificate,
                SIGNER_UNKNOWN,
            ),
            refuses("another TPM", Change::Tpm, NOT_THIS_TPM),
            refuses("not deployed", Change::NotDeployed, NO_SEALED_KEY),
            Case {
                name: "another command line, and the recovery key typed",
                change: Change::CommandLine,
                expected: Expected::RootByRecoveryKey,
                is_short: false,
            },
        ],
    },
    Group {
        name: "secboot-ecc-two-kernels",
        recipe: || Recipe::with_kernels(Reader::SnapBootstrap, TWO_KERNELS),
        encrypt: &[],
        deploy: SECBOOT,
        srk: Srk::ECC,
        cases: &[
            opens("the first kernel", Change::BootEntry("kernel.efi-1")),
            opens("the second kernel", Change::BootEntry("kernel.efi-2")),
            refuses("another TPM", Change::Tpm, NOT_THIS_TPM),
        ],
    },
    Group {
        name: "secboot-growpart",
        recipe: || Recipe::of_whole_system(Reader::SnapBootstrap),
        // Without a network to ask, cloud-init takes the datasource that has nothing to say.
        encrypt: &["--override-datasources", "None"],
        deploy: SECBOOT,
        srk: Srk::RSA,
        cases: &[Case {
            name: "a larger disk, booted twice",
            change: Change::LargerDisk,
            expected: Expected::Growth,
            is_short: false,
        }],
    },
];

/// Two kernel images that differ by their command line, hence in PCR 4.
const TWO_KERNELS: &[Kernel] = &[
    Kernel {
        file: "kernel.efi-1",
        words: "systemd.unit=boot-proof.target kernel=1",
    },
    Kernel {
        file: "kernel.efi-2",
        words: "systemd.unit=boot-proof.target kernel=2",
    },
];
