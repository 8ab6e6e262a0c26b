//! The LUKS2 token `systemd-tpm2`, written without the TPM: systemd-cryptsetup opens it from version 255 on.
//!
//! One *secret* of 32 random bytes is made for an image; its base64 text is the passphrase of a keyslot. Each state of
//! the PCRs (*branch*) has a token of its own that names this keyslot and seals the same secret under the policy of
//! that state. The token holds an import object in three parts, `TPM2B_PRIVATE` ‖ `TPM2B_PUBLIC` ‖
//! `TPM2B_ENCRYPTED_SECRET`; the third is what makes a reader import it. There is no `PolicyOR`, no signature, no PIN.
//!
//! The parent is found in one of two ways ([`Parent`]): it lies at a handle, which the token names together with its
//! public area, or the reader makes it again from systemd's legacy template.
//!
//! [`seal`] makes tokens and hands them out only after reading them back; [`Tpm2Token::parse`] reads one.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod error;
mod parse;
mod seal;

pub use error::Error;
pub use parse::{PersistentSrk, Tpm2Token};
pub use seal::{UnlockSecret, seal};

use tpm::{KeyKind, Policy, Selection};

/// The token's type.
pub const TOKEN_TYPE: &str = "systemd-tpm2";

/// Where systemd-tpm2-setup puts the SRK, and other guests, too.
pub const DEFAULT_SRK_HANDLE: u32 = 0x8100_0001;

/// How a guest gets at the parent of the sealed object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// It lies in the TPM, at this handle.
    Persistent {
        /// The handle.
        handle: u32,
    },
    /// The reader makes it again from systemd's legacy template.
    Derived,
}

/// A primary key's kind in the token's words.
fn primary_algorithm(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Rsa => "rsa",
        KeyKind::Ecc => "ecc",
    }
}

/// The policy of a state; without a PCR there is nothing to assert, and its digest is that of a new session. A PIN is
/// asserted behind the PCRs.
fn policy(selection: &Selection, composite: &[u8], with_pin: bool) -> [u8; 32] {
    let mut policy = Policy::START;
    if !selection.pcrs.is_empty() {
        policy = policy.pcr(&selection.to_bytes(), composite);
    }
    if with_pin {
        policy = policy.auth_value();
    }
    policy.digest()
}
