//! Opening: from a passphrase to the volume key.
//!
//! A keyslot's material always decrypts to something; only what the keyslot's digest confirms is handed
//! out. Keyslots with PBKDF2 are opened, those with Argon2 are told apart from a wrong passphrase.

use std::num::NonZeroU32;

use super::area::{self, MATERIAL_BYTES};
use super::digest::ITERATIONS_LIMIT;
use super::keyslot::{Kdf, Keyslot, salt};
use super::metadata::CIPHER;
use super::{Error, Hash, Metadata, VolumeKey};
use crate::secret::SecretBytes;
use crate::storage::ReadAt;

impl Metadata {
    /// The volume key, by a passphrase whose bytes are taken as they are, and the number of the keyslot that
    /// it opened: `keyslot`, or the first that opens in the order of their priority.
    ///
    /// Fails with [`Error::WrongKey`] where the passphrase is wrong, [`Error::NoKeyslot`],
    /// [`Error::KeyslotUnsupported`] and [`Error::Iterations`] where it could not be tried.
    pub fn unlock(
        &self,
        keyslot: Option<u32>,
        passphrase: &SecretBytes,
        container: &dyn ReadAt,
    ) -> Result<(u32, VolumeKey), Error> {
        if let Some(number) = keyslot {
            let keyslot = self.keyslot(number);
            let keyslot = keyslot.ok_or(Error::NoKeyslot { keyslot: number })?;
            let key = self.try_keyslot(keyslot, passphrase, container)?;
            return Ok((number, key));
        }
        let priority = |keyslot: &&Keyslot| keyslot.luks2().map_or(0, |luks2| luks2.priority);
        let mut keyslots: Vec<&Keyslot> = self.keyslots.iter().collect();
        keyslots.retain(|keyslot| priority(keyslot) > 0);
        keyslots.sort_by_key(|keyslot| (std::cmp::Reverse(priority(keyslot)), keyslot.number));
        let mut not_tried = None;
        for keyslot in keyslots {
            match self.try_keyslot(keyslot, passphrase, container) {
                Ok(key) => return Ok((keyslot.number, key)),
                Err(Error::WrongKey { .. }) => {}
                Err(error @ (Error::KeyslotUnsupported { .. } | Error::Iterations { .. })) => {
                    not_tried.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(not_tried.unwrap_or(Error::WrongKey { keyslot: None }))
    }

    /// The volume key in `keyslot`, confirmed by the keyslot's digest.
    fn try_keyslot(
        &self,
        keyslot: &Keyslot,
        passphrase: &SecretBytes,
        container: &dyn ReadAt,
    ) -> Result<VolumeKey, Error> {
        let number = keyslot.number;
        let unsupported = |what: &str| Error::KeyslotUnsupported {
            keyslot: number,
            what: what.chars().take(40).flat_map(char::escape_debug).collect(),
        };
        let luks2 = keyslot.luks2();
        let luks2 = luks2.ok_or_else(|| unsupported("no volume key but a reencryption"))?;
        let key_bytes = VolumeKey::LEN_BYTES;
        if usize::try_from(luks2.key_size_bytes).ok() != Some(key_bytes) {
            let what = format!("a volume key of {} bytes", luks2.key_size_bytes);
            return Err(unsupported(&what));
        }
        if luks2.area_encryption != CIPHER {
            return Err(unsupported(&luks2.area_encryption));
        }
        if usize::try_from(luks2.area_key_size_bytes).ok() != Some(key_bytes) {
            let what = format!("an area key of {} bytes", luks2.area_key_size_bytes);
            return Err(unsupported(&what));
        }
        let af_hash = Hash::from_name(&luks2.af_hash);
        let af_hash = af_hash.ok_or_else(|| unsupported(&luks2.af_hash))?;
        let key = match &luks2.kdf {
            Kdf::Argon2 { variant, .. } => return Err(unsupported(variant)),
            Kdf::Pbkdf2 {
                hash,
                iterations,
                salt: text,
            } => {
                if *iterations > ITERATIONS_LIMIT {
                    return Err(Error::Iterations {
                        path: format!("keyslots.{number}.kdf.iterations"),
                        iterations: *iterations,
                        limit: ITERATIONS_LIMIT,
                    });
                }
                let hash = Hash::from_name(hash).ok_or_else(|| unsupported(hash))?;
                let iterations = NonZeroU32::new(*iterations);
                let iterations = iterations.ok_or_else(|| unsupported("0 iterations"))?;
                let salt = salt(text).ok_or_else(|| unsupported("a salt that is not 32 bytes"))?;
                let mut key = SecretBytes::zeroed(key_bytes);
                hash.pbkdf2(passphrase.expose(), &salt, iterations, key.expose_mut());
                key
            }
        };
        // The parser has checked that the area holds the material of a key of this size.
        let mut material = SecretBytes::zeroed(usize::try_from(MATERIAL_BYTES).unwrap_or_default());
        container.read_exact_at(material.expose_mut(), keyslot.area.offset_bytes)?;
        let key = area::open(material, key, af_hash)?;
        for digest in &self.digests {
            if digest.keyslots.contains(&number) && digest.is_of(&key)? {
                return VolumeKey::from_bytes(key);
            }
        }
        Err(Error::WrongKey {
            keyslot: Some(number),
        })
    }
}
