//! TPM 2.0 structures, computed without a device.
//!
//! A *bank* holds one value for each PCR, made by one hash function. A value is only ever *extended*: it
//! becomes the digest of itself and a new digest. A policy names a *selection* of PCRs and the *composite*
//! digest of their values.
//!
//! An object has a *public area*; its *name* is the digest of that. A *storage parent* is a key below which
//! other objects are loaded; the *storage root key* (SRK) of a guest is one, known here by its public area
//! alone. [`seal_for`] makes an object that exactly the TPM with that parent imports (*duplication*), and
//! that it unseals only in a session whose *policy digest* ([`Policy`]) is the object's.
//! [`StorageParent::template`] says how the guest makes its SRK again.
//!
//! TPM 2.0 Library 1.59, parts 1 and 2. Numbers are big-endian. Structures are hostile until they are read:
//! RSA-2048, NIST P-256, AES-CFB and SHA-256 are what is understood, anything else is refused by name.
//!
//! ```
//! use tpm::{Bank, Policy, Selection, composite};
//!
//! // The policy of a key that a TPM unseals while PCR 7 has this value.
//! let bank = Bank::Sha256;
//! let pcr_7 = bank.extend(&bank.zero(), &bank.digest(b"what was measured"));
//! let selection = Selection { bank, pcrs: [7].into() };
//! let policy = Policy::START.pcr(&selection.to_bytes(), &composite([pcr_7.as_slice()]));
//! assert_ne!(policy.digest(), Policy::START.digest());
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::cast_possible_truncation,
        clippy::print_stdout,
        clippy::print_stderr
    )
)]
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod error;
pub mod event_log;
mod import;
mod kdf;
mod key_kind;
mod marshal;
mod p256;
mod pcr;
mod policy;
mod public;
mod public_key_file;
mod srk_needs;
mod srk_template;
mod storage_parent;
mod unique_data;

pub use error::Error;
pub use import::{MAX_PAYLOAD_BYTES, SealTerms, SealedObject, seal_for};
pub use key_kind::KeyKind;
pub use marshal::{Cursor, Marshal};
pub use p256::{KeyPair, Point};
pub use pcr::{Bank, Selection, composite};
pub use policy::Policy;
pub use public::{EccScheme, Name, Public, PublicKind};
pub use srk_needs::SrkDifference;
pub use srk_template::SrkTemplate;
pub use storage_parent::{SrkFile, StandardDifference, StorageParent};
pub use unique_data::{UniqueData, UniqueForm};
