//! Opening: from a passphrase to the volume key.
//!
//! A keyslot's material always decrypts to something; only what the keyslot's digest confirms is handed
//! out. Of keyslots that are tried one after the other, those with Argon2 come last: each of them takes seconds, and
//! memory that its header asks for.

use super::area::{self, MATERIAL_BYTES};
use super::keyslot::Keyslot;
use super::metadata::CIPHER;
use super::{Error, Hash, Metadata, VolumeKey};
use base::number::to_usize;
use base::secret::SecretBytes;
use base::storage::ReadAt;

impl Metadata {
    /// The volume key, by a passphrase whose bytes are taken as they are, and the number of the keyslot that
    /// it opened: `keyslot`, or the first that opens, those with Argon2 behind the others, in the order of their priority.
    ///
    /// Fails with [`Error::WrongKey`] where the passphrase is wrong, [`Error::NoKeyslot`],
    /// [`Error::KeyslotUnsupported`], [`Error::Iterations`], [`Error::Memory`] and [`Error::NoMemory`] where it could not be
    /// tried.
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
        self.unlock_any(&[], passphrase, container)
    }

    /// The same by any keyslot but those in `left_out`.
    pub fn unlock_any(
        &self,
        left_out: &[u32],
        passphrase: &SecretBytes,
        container: &dyn ReadAt,
    ) -> Result<(u32, VolumeKey), Error> {
        let mut keyslots: Vec<&Keyslot> = self.keyslots.iter().collect();
        keyslots.retain(|keyslot| {
            let is_ignored = keyslot.luks2().is_none_or(|luks2| luks2.priority == 0);
            !is_ignored && !left_out.contains(&keyslot.number)
        });
        keyslots.sort_by_key(|keyslot| {
            let is_costly = keyslot.luks2().is_some_and(|luks2| luks2.kdf.is_costly());
            let priority = keyslot.luks2().map_or(0, |luks2| luks2.priority);
            (is_costly, std::cmp::Reverse(priority), keyslot.number)
        });
        let mut not_tried = None;
        for keyslot in keyslots {
            match self.try_keyslot(keyslot, passphrase, container) {
                Ok(key) => return Ok((keyslot.number, key)),
                Err(Error::WrongKey { .. }) => {}
                Err(
                    error @ (Error::KeyslotUnsupported { .. }
                    | Error::Iterations { .. }
                    | Error::Memory { .. }
                    | Error::NoMemory { .. }),
                ) => {
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
        let unsupported = |what: &str| Error::unsupported(number, what);
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
        let key = luks2.kdf.derive(number, passphrase, key_bytes)?;
        // The parser has checked that the area holds the material of a key of this size.
        let mut material = SecretBytes::zeroed(to_usize(MATERIAL_BYTES));
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
