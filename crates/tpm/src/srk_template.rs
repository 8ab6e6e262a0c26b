//! The template of a storage root key: from what a guest makes the key again.
//!
//! In form a `TPM2B_PUBLIC` in which the *unique data* that was given when the key was made stand in the place of the
//! key. [`StorageParent::template`](super::StorageParent::template) makes one.

use super::marshal::Cursor;
use super::{Error, KeyKind, Public, PublicKind};

/// A template as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SrkTemplate {
    /// The kind of key that it makes.
    pub kind: KeyKind,
    /// Key bits of the AES that encrypts the key's objects.
    pub aes_bits: Option<u16>,
    /// `objectAttributes`.
    pub attributes: u32,
    /// True where unique data stand in it, be they zeros.
    pub has_unique_data: bool,
}

impl SrkTemplate {
    /// Reads a template; nothing may follow it.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(bytes);
        let area = cursor.sized("size")?;
        let extra = cursor.left();
        let mut cursor = Cursor::new(area);
        let public = Public::read(&mut cursor)?;
        let extra = extra.saturating_add(cursor.left());
        if extra > 0 {
            let end = cursor.offset().saturating_add(2);
            return Err(Error::Trailing { end, extra });
        }
        let (kind, aes_bits, has_unique_data) = match &public.kind {
            PublicKind::KeyedHash { .. } => {
                return Err(Error::NotAsymmetric { kind: "KEYEDHASH" });
            }
            PublicKind::Rsa {
                aes_bits, unique, ..
            } => (KeyKind::Rsa, *aes_bits, !unique.is_empty()),
            PublicKind::Ecc { aes_bits, x, y, .. } => {
                (KeyKind::Ecc, *aes_bits, !(x.is_empty() && y.is_empty()))
            }
        };
        Ok(Self {
            kind,
            aes_bits,
            attributes: public.attributes,
            has_unique_data,
        })
    }
}
