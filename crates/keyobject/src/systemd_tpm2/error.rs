//! What can be wrong with a token, and with what shall be sealed in one.

use base::secret;

/// An error of the token `systemd-tpm2`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // --- Sealing ---
    /// The object cannot be made.
    #[error("the secret cannot be sealed")]
    Seal(#[source] tpm::Error),
    /// No random bytes.
    #[error("no random bytes for the secret")]
    Entropy(#[from] secret::EntropyError),
    /// An ECC key in a form that no TPM writes.
    #[error(
        "the public area of the SRK has a coordinate of less than 32 bytes; a TPM writes 32, zeros in front included"
    )]
    Coordinate,
    /// No branch at all.
    #[error("no PCR values to seal to")]
    NoBranch,
    /// Another bank than the one that is sealed to.
    #[error("the PCRs are of the {bank} bank; tokens are sealed to sha256 alone")]
    Bank {
        /// The bank.
        bank: tpm::Bank,
    },
    /// What was sealed is not what is read back.
    #[error("the token, read back, is not what was to be sealed")]
    ReadBack,

    // --- The token ---
    /// The text is no JSON object.
    #[error("the token is no JSON object")]
    NotAnObject,
    /// A member is missing, or of another form.
    #[error("the token's {member} must be {expected}")]
    Member {
        /// Its name.
        member: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A TPM structure in a member cannot be read.
    #[error("the token's {member}: {problem}")]
    Structure {
        /// The member's name.
        member: &'static str,
        /// What is wrong with it.
        problem: tpm::Error,
    },
    /// The token asks for more than a state of the PCRs.
    #[error("the token has {member}, which this program does not know how to check")]
    Further {
        /// The member that asks for it.
        member: &'static str,
    },
    /// The object has another policy than the token says.
    #[error("the policy of the sealed object is not the one in tpm2-policy-hash")]
    Policy,
}
