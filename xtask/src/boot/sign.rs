//! The texts on the console that end a boot, and those that say why.
//!
//! Whole messages: a shorter text would be found in the kernel's echo of its command line. The first text that decides
//! ends the boot, so that nobody waits for what follows it. A reason may stand before: of several tokens some are
//! refused in a good boot, too.

/// A refusal: what has to be seen, and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    /// Ends the boot; one of [`DECISIVE`].
    pub decisive: &'static str,
    /// Has to stand on the console as well.
    pub reason: &'static str,
    /// Who refuses, and why.
    pub meaning: &'static str,
}

const SHIM_REFUSES: &str = "Verification failed: (0x1A) Security Violation";
const NOT_IN_POLICY: &str = "current session digest not found in policy data";
const CANNOT_LOAD: &str = "cannot load sealed key object into TPM";
const NO_FILE: &str = "device/fde/cloudimg-rootfs.sealed-key: no such file or directory";

const MAY_NOT_ASK: &str = "Password querying disabled via 'headless' option";

/// shim looks for the signer of its second stage in db, and waits for a key to be pressed.
pub const SIGNER_UNKNOWN: Sign = Sign {
    decisive: SHIM_REFUSES,
    reason: "",
    meaning: "shim finds no certificate for the kernel image in db",
};

/// snap-bootstrap compares the state with those that the file has branches for.
pub const STATE_NOT_SEALED_TO: Sign = Sign {
    decisive: NOT_IN_POLICY,
    reason: "",
    meaning: "snap-bootstrap: the key is not sealed to these PCR values",
};

/// snap-bootstrap gives the file's object to the TPM: the import, or the load behind it.
pub const NOT_THIS_TPM: Sign = Sign {
    decisive: CANNOT_LOAD,
    reason: "",
    meaning: "snap-bootstrap: the TPM cannot load the sealed key",
};

/// snap-bootstrap reads the file first.
pub const NO_SEALED_KEY: Sign = Sign {
    decisive: NO_FILE,
    reason: "",
    meaning: "snap-bootstrap: there is no sealed key",
};

/// systemd-cryptsetup tries one token after the other, and may not ask for a passphrase.
pub const TOKENS_NOT_OF_THIS_STATE: Sign = Sign {
    decisive: MAY_NOT_ASK,
    reason: "Failed to unseal secret using TPM2: Operation not permitted",
    meaning: "systemd-cryptsetup: no token is sealed to these PCR values",
};

/// The TPM cannot import the token's object.
pub const TOKEN_OF_ANOTHER_TPM: Sign = Sign {
    decisive: MAY_NOT_ASK,
    reason: "Failed to unseal secret using TPM2: State not recoverable",
    meaning: "systemd-cryptsetup: the token belongs to another TPM",
};

/// The same where the root was found by its type: no option keeps systemd from asking.
pub const TOKEN_OF_ANOTHER_TPM_BY_TYPE: Sign = Sign {
    decisive: SYSTEMDS_PROMPT,
    ..TOKEN_OF_ANOTHER_TPM
};

/// Any of these ends a boot, whether expected or not.
pub const DECISIVE: &[&str] = &[
    SHIM_REFUSES,
    NOT_IN_POLICY,
    CANNOT_LOAD,
    NO_FILE,
    "start_image() returned Not Found",
    "No bootable option or device was found",
    "Boot has failed",
    SYSTEMDS_PROMPT,
    "Please enter passphrase for disk",
    MAY_NOT_ASK,
    "Kernel panic - not syncing",
];

/// snap-bootstrap asks for the recovery key where it has none from the TPM, up to three times, and says why only
/// after the last answer.
pub const RECOVERY_PROMPT: &str = "Please enter the recovery key for disk";

/// systemd asks where the header has a recovery key and no option forbids it. By then it has said why.
pub const SYSTEMDS_PROMPT: &str = "Please enter recovery key for disk";
