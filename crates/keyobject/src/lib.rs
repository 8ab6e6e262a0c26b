//! What carries a key to its reader.
//!
//! [`secboot`] is the sealed-key file that Ubuntu's initramfs reads, [`systemd_tpm2`] the LUKS2 token that
//! systemd-cryptsetup reads. [`RecoveryKey`] is what a person types where that does not open the disk,
//! [`recovery_token`] what makes its keyslot known as one; [`systemd_recovery`] is systemd's form of both.
//! [`reseal_token`] stands in the header while a sealed key is replaced.

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

mod recovery;
mod recovery_token;
pub mod reseal_token;
pub mod secboot;
pub mod systemd_recovery;
pub mod systemd_tpm2;

pub use recovery::{
    Error as RecoveryKeyError, RECOVERY_KEY_BYTES, RecoveryKey, TextError as RecoveryTextError,
};
pub use recovery_token::{RECOVERY_KEY_NAME, RECOVERY_TOKEN_TYPE, RecoveryToken, recovery_token};
