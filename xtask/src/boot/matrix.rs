//! All boots.

use super::case::{Case, Change, Expected};
use super::sign::{
    NO_SEALED_KEY, NOT_THIS_TPM, SIGNER_UNKNOWN, STATE_NOT_SEALED_TO, TOKEN_OF_ANOTHER_TPM,
    TOKEN_OF_ANOTHER_TPM_BY_TYPE, TOKENS_NOT_OF_THIS_STATE,
};
use super::subject::Srk;
use crate::guest::{Kernel, Reader, Recipe};

/// A deployed guest and its boots.
pub struct Group {
    pub name: &'static str,
    pub recipe: fn() -> Recipe,
    pub way: Way,
    /// Options of `encrypt`.
    pub encrypt: &'static [&'static str],
    /// Options of `deploy`: the key object, and what it is sealed to.
    pub deploy: &'static [&'static str],
    pub srk: Srk,
    pub cases: &'static [Case],
}

/// How a plain disk becomes one of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An encrypted image of a pool, and a copy of it for the guest.
    EncryptAndDeploy,
    /// In one pass.
    Provision,
}

/// What Ubuntu's reader needs: the label of the volume. The guest is Debian's, which its image says.
const UBUNTU: &[&str] = &["--profile=ubuntu"];

/// The key object that Ubuntu's reader takes.
const SECBOOT: &[&str] = &[
    "--add-efi-boot-manager-profile",
    "--add-efi-secure-boot-profile",
    "--add-ubuntu-kernel-profile",
];

/// The key object that systemd's reader takes. PCR 12 stays zero there.
const SYSTEMD: &[&str] = &[
    "--key-object=systemd-tpm2",
    "--add-efi-boot-manager-profile",
    "--add-efi-secure-boot-profile",
    "--add-ubuntu-kernel-profile",
];

/// The same, closed when the initrd is left, and when the volume key is measured.
const SYSTEMD_CLOSED: &[&str] = &[
    "--key-object=systemd-tpm2",
    "--add-efi-boot-manager-profile",
    "--add-efi-secure-boot-profile",
    "--add-ubuntu-kernel-profile",
    "--bind-pcr11",
    "--bind-pcr15",
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

/// The boot files are the guest's own, and the root is not.
const SOMEBODY_ELSES_ROOT: Case = Case {
    name: "somebody else's plain root",
    change: Change::StrangeRoot,
    expected: Expected::StrangeRoot,
    is_short: false,
};

const fn short(case: Case) -> Case {
    Case {
        is_short: true,
        ..case
    }
}

const ANOTHER_COMMAND_LINE_AND_THE_RECOVERY_KEY: Case = Case {
    name: "another command line, and the recovery key typed",
    change: Change::CommandLine,
    expected: Expected::RootByRecoveryKey,
    is_short: false,
};

/// Each negative boot has its positive twin, the first of its group: the same disk, TPM and variables, but for one
/// thing.
pub const GROUPS: &[Group] = &[
    Group {
        name: "secboot-rsa",
        recipe: || Recipe::new(Reader::SnapBootstrap),
        way: Way::EncryptAndDeploy,
        encrypt: UBUNTU,
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
            ANOTHER_COMMAND_LINE_AND_THE_RECOVERY_KEY,
            Case {
                name: "run once, and sealed again for another TPM",
                change: Change::SealedAgain,
                expected: Expected::OtherTpm(NOT_THIS_TPM),
                is_short: false,
            },
        ],
    },
    Group {
        name: "secboot-ecc-two-kernels",
        recipe: || Recipe::with_kernels(Reader::SnapBootstrap, TWO_KERNELS),
        way: Way::EncryptAndDeploy,
        encrypt: UBUNTU,
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
        way: Way::EncryptAndDeploy,
        // Without a network to ask, cloud-init takes the datasource that has nothing to say.
        encrypt: &["--profile=ubuntu", "--override-datasources", "None"],
        deploy: SECBOOT,
        srk: Srk::RSA,
        cases: &[Case {
            name: "a larger disk, booted twice",
            change: Change::LargerDisk,
            expected: Expected::Growth,
            is_short: false,
        }],
    },
    Group {
        name: "systemd-rsa-derived",
        recipe: || Recipe::new(Reader::SystemdByPartition),
        way: Way::EncryptAndDeploy,
        encrypt: &[],
        deploy: SYSTEMD,
        srk: Srk::RSA,
        cases: &[
            short(opens("as deployed", Change::Nothing)),
            short(refuses(
                "another command line",
                Change::CommandLine,
                TOKENS_NOT_OF_THIS_STATE,
            )),
            refuses(
                "Secure Boot off",
                Change::SecureBootOff,
                TOKENS_NOT_OF_THIS_STATE,
            ),
            refuses(
                "another certificate in db",
                Change::Certificate,
                SIGNER_UNKNOWN,
            ),
            refuses("another TPM", Change::Tpm, TOKEN_OF_ANOTHER_TPM),
        ],
    },
    Group {
        name: "systemd-ecc-persistent-by-type",
        recipe: || Recipe::with_kernels(Reader::SystemdByType, TWO_KERNELS),
        way: Way::EncryptAndDeploy,
        encrypt: &[],
        deploy: SYSTEMD,
        srk: Srk::ECC_THAT_PERSISTS,
        cases: &[
            opens("the first kernel", Change::BootEntry("kernel.efi-1")),
            opens("the second kernel", Change::BootEntry("kernel.efi-2")),
            refuses("another TPM", Change::Tpm, TOKEN_OF_ANOTHER_TPM_BY_TYPE),
            ANOTHER_COMMAND_LINE_AND_THE_RECOVERY_KEY,
            SOMEBODY_ELSES_ROOT,
        ],
    },
    Group {
        name: "secboot-ecc-provision",
        recipe: || Recipe::new(Reader::SnapBootstrap),
        way: Way::Provision,
        encrypt: UBUNTU,
        deploy: SECBOOT,
        srk: Srk::ECC,
        cases: &[
            opens("as provisioned", Change::Nothing),
            refuses(
                "another command line",
                Change::CommandLine,
                STATE_NOT_SEALED_TO,
            ),
        ],
    },
    // What the running system, and another root, get in the group before, they do not get here.
    Group {
        name: "systemd-ecc-closed-by-type",
        recipe: || Recipe::new(Reader::SystemdByType),
        way: Way::EncryptAndDeploy,
        encrypt: &[],
        deploy: SYSTEMD_CLOSED,
        srk: Srk::ECC,
        cases: &[opens("as deployed", Change::Nothing), SOMEBODY_ELSES_ROOT],
    },
    // Under PCR 4 Secure Boot off changes two things. This is sealed to PCR 7 alone.
    Group {
        name: "systemd-ecc-secure-boot-alone",
        recipe: || Recipe::new(Reader::SystemdByPartition),
        way: Way::EncryptAndDeploy,
        encrypt: &[],
        deploy: &["--key-object=systemd-tpm2", "--add-efi-secure-boot-profile"],
        srk: Srk::ECC,
        cases: &[
            opens("as deployed", Change::Nothing),
            opens("another command line", Change::CommandLine),
            refuses(
                "Secure Boot off",
                Change::SecureBootOff,
                TOKENS_NOT_OF_THIS_STATE,
            ),
        ],
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
