//! The sealed-key file: `device/fde/cloudimg-rootfs.sealed-key` on the EFI system partition.
//!
//! Its format is key data version 2 of snapcore/secboot, the library in Ubuntu's initramfs. In the terms of
//! that library: the disk key is the payload of an *import object*, which only the TPM with the given storage
//! parent imports. Its *static policy* names a *policy key*, drawn for this file; what that key has signed is
//! the *approved policy*, a tree of `PolicyOR` over *leaves*, one for each way to boot (*branch*). The private half
//! of the policy key is sealed together with the disk key: so the guest, once open, can sign another tree
//! when its kernel changes, and nobody else can.
//!
//! [`seal`] makes a file and hands it out only after reading it back; [`SealedKey::read`] reads one, also
//! version 1, which a guest makes of it. Everything but the payload can be checked without a TPM:
//! [`SealedKey::check`], [`SealedKey::opens_with`].

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod body;
mod error;
mod file;
mod seal;
mod tree;

pub use body::{SealedKey, Signature};
pub use error::Error;
pub use file::MAX_FILE_BYTES;
pub use seal::{MAX_KEY_BYTES, PcrProfile, seal};
pub use tree::{MAX_LEAVES, Node, Tree};

use tpm::{Name, Policy};

/// Version that is written.
const VERSION: u32 = 2;
/// Version that a guest writes after it has imported the object; the seed is gone.
const VERSION_IMPORTED: u32 = 1;

/// `TPM_RH_NULL` in the place of a counter: there is none.
const NO_COUNTER: u32 = 0x4000_0007;
/// SHA-256 of `AUTH-PCR-POLICY` and [`NO_COUNTER`]: signed along with every approved policy.
const POLICY_REF: [u8; 32] = [
    0xf0, 0x80, 0x40, 0xfe, 0xc2, 0x8a, 0xf3, 0x64, 0x48, 0x9e, 0x35, 0x51, 0x95, 0x52, 0x99, 0x3a,
    0xb2, 0x1f, 0xca, 0x26, 0xa6, 0x7c, 0xaa, 0xa5, 0x15, 0x72, 0x79, 0x36, 0x22, 0x76, 0x22, 0x91,
];
/// Attributes of the policy key: sign, userWithAuth, sensitiveDataOrigin.
const POLICY_KEY_ATTRIBUTES: u32 = 0x0004_0060;

/// The policy of the sealed object itself: whatever the policy key has signed, and an empty authorisation
/// value.
fn static_policy(policy_key: &Name) -> [u8; 32] {
    Policy::authorize(policy_key, &POLICY_REF)
        .auth_value()
        .digest()
}

/// What the policy key signs the SHA-256 digest of.
fn signed_message(approved_policy: &[u8; 32]) -> [u8; 64] {
    let mut message = [0; 64];
    let (policy, reference) = message.split_at_mut(32);
    policy.copy_from_slice(approved_policy);
    reference.copy_from_slice(&POLICY_REF);
    message
}
