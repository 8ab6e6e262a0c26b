//! The LUKS2 container (LUKS2 On-Disk Format Specification 1.1.4): header, keyslots, tokens, cipher.
//!
//! A container begins with two copies of its *header*, each a *binary header* of 4096 bytes and a JSON area;
//! then comes the *keyslots area*, then the *segment*, which holds the encrypted data. A *keyslot* holds the
//! *volume key* under a passphrase; a *digest* tells the right volume key; a *token* says how a passphrase is
//! found. One token is understood here: the *clear key* of an image that is not deployed yet.
//!
//! [`NewContainer`] makes the first 16 MiB of a container, [`XtsCipher`] encrypts the segment behind them.
//! [`Header::read`] reads the header of a partition that can be nothing else, and never writes,
//! [`Header::unlock`] gets the volume key, [`Update`] changes the header in steps that a caller can order and
//! flush. Metadata that nobody here understands are kept as text.
//!
//! A header is hostile until it has been checked: no length is believed, no buffer exceeds 4 MiB, and what
//! other readers could take in another way is refused. Nothing here looks at the data.
//!
//! ```
//! use base::secret::{SecretBytes, SystemEntropy};
//! use base::storage::MemoryStorage;
//! use luks2::{Header, NewContainer, SectorSize, VolumeKey};
//! use probe::OnlyLuks2;
//!
//! let mut entropy = SystemEntropy::new();
//! let key = VolumeKey::generate(&mut entropy)?;
//! let passphrase = || SecretBytes::new(b"correct horse".to_vec());
//! let mut container = NewContainer::new("root", uuid::Uuid::from_u128(1), SectorSize::S4096);
//! container.add_keyslot(0, passphrase());
//! let mut partition = container.head(&key, &mut entropy)?;
//! partition.resize(17 << 20, 0);
//!
//! let partition = MemoryStorage::new(partition);
//! let only_luks2 = OnlyLuks2::check(&partition)?.ok_or("no container")?;
//! let header = Header::read(only_luks2)?;
//! let (keyslot, found) = header.unlock(None, &passphrase(), &partition)?;
//! assert_eq!((keyslot, found.expose()), (0, key.expose()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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

mod area;
mod binary_header;
mod create;
mod derivation;
mod digest;
mod document;
mod error;
mod header;
mod json;
mod keyslot;
mod metadata;
mod open;
mod pbkdf2;
mod refusal;
mod segment;
mod token;
mod update;
#[cfg(test)]
mod vectors;
mod volume_key;
mod xts;

pub use area::KeyslotMaterial;
pub use base::hash::Hash;
pub use create::{HEAD_BYTES, NewContainer};
pub use digest::Digest;
pub use error::Error;
pub use header::{CopyState, Header, HeaderCopy, Warning};
pub use keyslot::{Area, Kdf, Keyslot, KeyslotKind, Luks2Keyslot};
pub use metadata::Metadata;
pub use segment::{Crypt, Segment};
pub use token::{ClearKeyToken, Token};
pub use update::Update;
pub use volume_key::VolumeKey;
pub use xts::{SectorCipher, SectorSize, XtsCipher};

/// One of the two places where a header lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// At offset 0.
    Primary,
    /// Right behind the primary.
    Secondary,
}

impl Position {
    /// The other one of the two.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Primary => Self::Secondary,
            Self::Secondary => Self::Primary,
        }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        })
    }
}
