//! The volume key: what the data of a container are encrypted with.
//!
//! 64 bytes for AES-256-XTS: the data key, then the tweak key. The halves differ, always: XTS with equal
//! halves is weak, and both the standard (IEEE 1619, FIPS 140 IG C.I) and AWS-LC refuse it. The invariant
//! holds for every value of the type, so nobody behind it has to ask again.

use super::Error;
use base::secret::{Entropy, SecretBytes};

/// A key for AES-256-XTS whose halves differ. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct VolumeKey(SecretBytes);

impl VolumeKey {
    /// Length in bytes.
    pub const LEN_BYTES: usize = 64;

    /// A new random key.
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, Error> {
        loop {
            match Self::from_bytes(SecretBytes::random(entropy, Self::LEN_BYTES)?) {
                Err(Error::EqualHalves) => {} // one of 2^256 draws
                other => return other,
            }
        }
    }

    /// Takes 64 bytes as a key.
    ///
    /// Fails with [`Error::KeyLength`] or [`Error::EqualHalves`].
    pub fn from_bytes(bytes: SecretBytes) -> Result<Self, Error> {
        if bytes.len() != Self::LEN_BYTES {
            return Err(Error::KeyLength {
                len_bytes: bytes.len(),
            });
        }
        let (data_key, tweak_key) = bytes.expose().split_at(Self::LEN_BYTES / 2);
        if aws_lc_rs::constant_time::verify_slices_are_equal(data_key, tweak_key).is_ok() {
            return Err(Error::EqualHalves);
        }
        Ok(Self(bytes))
    }

    /// The 64 bytes. Every call is a place where the key could leak: keep them few.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::Draws;

    #[test]
    fn a_draw_with_equal_halves_is_drawn_again() {
        let good: Vec<u8> = (0..64).collect();
        let key = VolumeKey::generate(&mut Draws::of([vec![7; 64], good.clone()]));
        assert_eq!(key.ok().unwrap().expose(), good);
    }

    #[test]
    fn other_lengths_are_refused() {
        for len_bytes in [0, 32, 63, 65] {
            let error = VolumeKey::from_bytes(SecretBytes::zeroed(len_bytes)).err();
            assert!(matches!(error, Some(Error::KeyLength { len_bytes: l }) if l == len_bytes));
        }
    }
}
