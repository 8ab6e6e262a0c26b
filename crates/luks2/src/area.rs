//! A keyslot's area: the volume key, split and encrypted with a key that comes from a passphrase.
//!
//! Sealing: PBKDF2 makes a 64-byte key-encryption key of the passphrase; the volume key is split into 4000
//! stripes, and their 256000 bytes are encrypted by AES-256-XTS in 512-byte sectors, numbered from 0 at the
//! start of the area (also where the data have 4096-byte sectors). Opening is the way back; whether the
//! result is the volume key only the digest can tell.

use std::num::NonZeroU32;

use super::pbkdf2::pbkdf2;
use super::{Error, Hash, SectorCipher, SectorSize, VolumeKey, XtsCipher};
use base::number::to_usize;
use base::secret::{Entropy, SecretBytes, anti_forensic};

/// The number of stripes that LUKS2 uses; cryptsetup ignores other numbers on reading.
pub(crate) const STRIPES: u32 = 4000;
/// Iterations of PBKDF2 in keyslots and digest: the least that LUKS2 allows, enough because every key of
/// this program is random.
pub(crate) const ITERATIONS: NonZeroU32 = NonZeroU32::new(1000).unwrap();
/// Length of every salt in the metadata.
pub(crate) const SALT_BYTES: usize = 32;
/// Length of the key material of a 64-byte volume key.
pub(crate) const MATERIAL_BYTES: u64 = 256_000;
/// Length of a new keyslot's area: the material, rounded up to 4096 bytes.
pub(crate) const AREA_BYTES: u64 = 258_048;

/// A new keyslot's encrypted material, to be written before the header that names it.
pub struct KeyslotMaterial {
    pub(crate) keyslot: u32,
    pub(crate) offset_bytes: u64,
    pub(crate) bytes: Vec<u8>,
}

impl KeyslotMaterial {
    /// The keyslot's number.
    pub fn keyslot(&self) -> u32 {
        self.keyslot
    }

    /// Where the material belongs, in bytes from the start of the container.
    pub fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// The encrypted material.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the material to its place; the caller flushes.
    pub fn write(&self, container: &dyn base::storage::WriteAt) -> Result<(), Error> {
        Ok(container.write_all_at(&self.bytes, self.offset_bytes)?)
    }
}

/// Encrypts `volume_key` under `passphrase`, by what this program writes: PBKDF2 with 1000 iterations, and `hash` in it
/// and in the split.
pub(crate) fn seal(
    volume_key: &VolumeKey,
    passphrase: &SecretBytes,
    hash: Hash,
    salt: &[u8],
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, Error> {
    let mut key = SecretBytes::zeroed(VolumeKey::LEN_BYTES);
    pbkdf2(
        hash,
        passphrase.expose(),
        salt,
        ITERATIONS,
        key.expose_mut(),
    );
    let stripes = to_usize(STRIPES.into());
    let mut material =
        anti_forensic::split(volume_key.expose(), stripes, hash.algorithm(), entropy)?;
    area_cipher(key)?.encrypt(0, material.expose_mut())?;
    Ok(material.expose().to_vec())
}

/// Decrypts `material` with a key-encryption key and merges its stripes. The result is the volume key if the
/// passphrase was right, and noise otherwise.
pub(crate) fn open(
    mut material: SecretBytes,
    key: SecretBytes,
    hash: Hash,
) -> Result<SecretBytes, Error> {
    area_cipher(key)?.decrypt(0, material.expose_mut())?;
    anti_forensic::merge(material.expose(), VolumeKey::LEN_BYTES, hash.algorithm())
        .ok_or(Error::Cipher)
}

fn area_cipher(key: SecretBytes) -> Result<XtsCipher, Error> {
    XtsCipher::new(&VolumeKey::from_bytes(key)?, SectorSize::S512)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::SHA256;
    use proptest::prelude::*;

    use super::*;
    use crate::vectors::{Draws, primitives, sha256_hex, stream, unhex};

    #[test]
    fn the_vectors_come_out() {
        for vector in primitives()["af"].as_array().unwrap() {
            let key = unhex(&vector["key"]);
            let stripes = usize::try_from(vector["stripes"].as_u64().unwrap()).unwrap();
            let random = match vector["random_label"].as_str() {
                Some(label) => stream(label, (stripes - 1) * key.len()),
                None => unhex(&vector["random"]),
            };
            if let Some(mixed) = vector["diffused_before_last_xor"].as_str() {
                let found = anti_forensic::mix(&random, key.len(), &SHA256);
                assert_eq!(mixed, hex::encode(found.expose()));
            } else {
                assert_eq!(vector["random_sha256"], sha256_hex(&random));
            }
            let material =
                anti_forensic::split(&key, stripes, &SHA256, &mut Draws::of([random])).unwrap();
            if let Some(expected) = vector["material"].as_str() {
                assert_eq!(expected, hex::encode(material.expose()));
            } else {
                let last = &material.expose()[(stripes - 1) * key.len()..];
                assert_eq!(vector["last_stripe"], hex::encode(last));
                assert_eq!(vector["material_sha256"], sha256_hex(material.expose()));
            }
            let merged = anti_forensic::merge(material.expose(), key.len(), &SHA256).unwrap();
            assert_eq!(merged.expose(), key);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_merge_gives_back_what_was_split(
            key in proptest::collection::vec(any::<u8>(), 1..150),
            stripes in 1_usize..20,
            hash in prop_oneof![Just(Hash::Sha1), Just(Hash::Sha256), Just(Hash::Sha384), Just(Hash::Sha512)],
            label in "[a-z]{4}",
        ) {
            let mut draws = Draws::of([stream(&label, key.len() * (stripes - 1))]);
            let material = anti_forensic::split(&key, stripes, hash.algorithm(), &mut draws).unwrap();
            let merged = anti_forensic::merge(material.expose(), key.len(), hash.algorithm()).unwrap();
            prop_assert_eq!(merged.expose(), &key[..]);
        }
    }

    #[test]
    fn material_of_another_length_is_no_key() {
        assert!(anti_forensic::merge(&[0; 63], 64, &SHA256).is_none());
        assert!(anti_forensic::merge(&[0; 65], 64, &SHA256).is_none());
        assert!(anti_forensic::merge(&[], 0, &SHA256).is_none());
    }
}
