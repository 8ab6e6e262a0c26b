//! What carries a key to its reader.
//!
//! Today the recovery key in its printed form; the sealed-key file and systemd's token come with `deploy`.

mod recovery;

pub use recovery::{Error as RecoveryKeyError, RECOVERY_KEY_BYTES, RecoveryKey};
