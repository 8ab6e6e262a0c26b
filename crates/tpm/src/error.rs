//! What can be wrong with a TPM structure, and with a key that shall be a storage parent.

use super::{KeyKind, SrkDifference};
use base::secret;

/// An error of this crate; byte offsets count from the start of the structure that was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // --- The world below ---
    /// No random bytes.
    #[error("no random bytes for the sealed key")]
    Entropy(#[from] secret::EntropyError),
    /// AWS-LC refused a call that cannot fail for the arguments that it got.
    #[error("the cryptographic library failed in {operation}")]
    Library {
        /// What it was to do.
        operation: &'static str,
    },

    // --- Structures ---
    /// The bytes end within a field.
    #[error("the structure ends at byte {len_bytes}, within its {field} at byte {offset}")]
    Short {
        /// The field's name in the specification.
        field: &'static str,
        /// Where the field begins.
        offset: usize,
        /// How many bytes there are.
        len_bytes: usize,
    },
    /// A field has a value that is not understood here.
    #[error("{field} at byte {offset} is {found:#06x}; only {supported} is supported")]
    Unsupported {
        /// The field's name in the specification.
        field: &'static str,
        /// Where it lies.
        offset: usize,
        /// Its value.
        found: u32,
        /// The values that are understood, for people.
        supported: &'static str,
    },
    /// A byte string is longer or shorter than its field allows.
    #[error("{field} at byte {offset} has {len_bytes} bytes; it must have {allowed}")]
    Length {
        /// The field's name in the specification.
        field: &'static str,
        /// Where it lies.
        offset: usize,
        /// Its length.
        len_bytes: usize,
        /// The lengths that are allowed, for people.
        allowed: &'static str,
    },
    /// Bytes behind the end of a structure that must fill its file.
    #[error("{extra} bytes follow the public area, which ends at byte {end}")]
    Trailing {
        /// Where the structure ends.
        end: usize,
        /// How many bytes follow.
        extra: usize,
    },

    // --- Keys ---
    /// Neither a public area nor a public key.
    #[error(
        "not a TPM public area (TPM2B_PUBLIC or TPMT_PUBLIC) and not a public key in PEM or DER form; write one with tpm2_readpublic -o"
    )]
    NotAPublicArea,
    /// A public key in PEM or DER form where a public area is needed.
    #[error(
        "a public key without its TPM attributes; write the public area with tpm2_readpublic -o"
    )]
    KeyAlone,
    /// The PEM block is of another kind.
    #[error("a PEM block of type {label}; it must be PUBLIC KEY")]
    PemLabel {
        /// The label that was found.
        label: String,
    },
    /// The PEM block or what it holds cannot be read.
    #[error("the public key cannot be read: {reason}")]
    PublicKeyFile {
        /// What is wrong.
        reason: &'static str,
    },
    /// An object that is no parent of others.
    #[error(
        "the key is no storage parent: attributes {attributes:#010x}, {reason}; a parent is restricted, decrypts and does not sign"
    )]
    NotAParent {
        /// `objectAttributes`.
        attributes: u32,
        /// What is wrong with them.
        reason: &'static str,
    },
    /// A storage parent that no guest makes as its storage root key, or that no reader can use as one.
    #[error("{0}")]
    NotAnSrk(SrkDifference),
    /// The public area describes no key to which a seed can be sent.
    #[error("the object is of type {kind}; a storage parent is an RSA or ECC key")]
    NotAsymmetric {
        /// Its type, as the specification names it.
        kind: &'static str,
    },
    /// An RSA key that nothing can be encrypted for.
    #[error("the RSA modulus {reason}")]
    Modulus {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The point of an ECC key is not on its curve.
    #[error("the point of the ECC key is not on the curve NIST P-256")]
    NotOnCurve,

    // --- What is sealed ---
    /// Sealed data that some TPMs could not import.
    #[error(
        "{len_bytes} bytes are too large to be sealed: a TPM imports at most {} bytes",
        super::MAX_PAYLOAD_BYTES
    )]
    PayloadLength {
        /// Length of the data.
        len_bytes: usize,
    },

    // --- Unique data ---
    /// A file of unique data that is in no known form.
    #[error(
        "the unique data for an {kind} key cannot be read: {len_bytes} bytes, neither in the TPM's form nor in that of tpm2_createprimary -u"
    )]
    UniqueForm {
        /// The kind of key that it was read for.
        kind: KeyKind,
        /// Length of the file.
        len_bytes: usize,
    },
    /// Unique data that are longer than the key's field.
    #[error("the unique data have {len_bytes} bytes; {allowed}")]
    UniqueLength {
        /// Length of the data, or of the one coordinate that is too long.
        len_bytes: usize,
        /// What is allowed, for people.
        allowed: &'static str,
    },
    /// Unique data of one kind of key for a key of the other.
    #[error("the unique data are for an {unique} key, the storage root key is an {key} key")]
    UniqueKind {
        /// What the data are for.
        unique: KeyKind,
        /// What the key is.
        key: KeyKind,
    },
}
