//! The anti-forensic split (LUKS1 On-Disk Format Specification 1.2.3, section 2.4; LUKS2 calls it `luks1`).
//!
//! A key is spread over 4000 *stripes* of its own length, all of which are needed to get it back, so that
//! overwriting any part of the material destroys the key. All stripes but the last are random; each is
//! mixed into a running buffer, which is then *diffused*: cut into blocks of the hash's length, block *j*
//! replaced by hash(be32(*j*) ‖ block). The last stripe is that buffer xor the key.

use super::Hash;
use crate::secret::{Entropy, EntropyError, SecretBytes};

/// The number of stripes that LUKS2 uses; cryptsetup ignores other numbers on reading.
pub(crate) const STRIPES: u32 = 4000;

/// Spreads `key` over `stripes` stripes. The random ones are drawn in one call.
pub(crate) fn split(
    key: &[u8],
    stripes: usize,
    hash: Hash,
    entropy: &mut dyn Entropy,
) -> Result<SecretBytes, EntropyError> {
    let mut material = SecretBytes::zeroed(key.len().saturating_mul(stripes));
    let random_bytes = key.len().saturating_mul(stripes.saturating_sub(1));
    let (random, last) = material.expose_mut().split_at_mut(random_bytes);
    entropy.fill(random)?;
    let mixed = mix(random, key.len(), hash);
    last.copy_from_slice(mixed.expose());
    xor(last, key);
    Ok(material)
}

/// Gets a key of `key_bytes` bytes back from its stripes; `None` where they are not whole.
pub(crate) fn merge(material: &[u8], key_bytes: usize, hash: Hash) -> Option<SecretBytes> {
    let random_bytes = material.len().checked_sub(key_bytes)?;
    if key_bytes == 0 || !material.chunks_exact(key_bytes).remainder().is_empty() {
        return None;
    }
    let (random, last) = material.split_at_checked(random_bytes)?;
    let mut key = mix(random, key_bytes, hash);
    xor(key.expose_mut(), last);
    Some(key)
}

/// The buffer that the last stripe is xored with.
fn mix(stripes: &[u8], key_bytes: usize, hash: Hash) -> SecretBytes {
    let mut buffer = SecretBytes::zeroed(key_bytes);
    for stripe in stripes.chunks_exact(key_bytes) {
        xor(buffer.expose_mut(), stripe);
        diffuse(buffer.expose_mut(), hash);
    }
    buffer
}

fn diffuse(buffer: &mut [u8], hash: Hash) {
    for (number, block) in (0_u32..).zip(buffer.chunks_mut(hash.len_bytes())) {
        let digest = hash.of(&[&number.to_be_bytes(), block]);
        for (byte, new) in block.iter_mut().zip(digest.as_ref()) {
            *byte = *new; // the last block may be shorter than the digest
        }
    }
}

fn xor(buffer: &mut [u8], other: &[u8]) {
    for (byte, other) in buffer.iter_mut().zip(other) {
        *byte ^= other;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::luks2::vectors::{Draws, primitives, sha256_hex, stream, unhex};

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
                let found = mix(&random, key.len(), Hash::Sha256);
                assert_eq!(mixed, hex::encode(found.expose()));
            } else {
                assert_eq!(vector["random_sha256"], sha256_hex(&random));
            }
            let material = split(&key, stripes, Hash::Sha256, &mut Draws::of([random])).unwrap();
            if let Some(expected) = vector["material"].as_str() {
                assert_eq!(expected, hex::encode(material.expose()));
            } else {
                let last = &material.expose()[(stripes - 1) * key.len()..];
                assert_eq!(vector["last_stripe"], hex::encode(last));
                assert_eq!(vector["material_sha256"], sha256_hex(material.expose()));
            }
            let merged = merge(material.expose(), key.len(), Hash::Sha256).unwrap();
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
            let material = split(&key, stripes, hash, &mut draws).unwrap();
            let merged = merge(material.expose(), key.len(), hash).unwrap();
            prop_assert_eq!(merged.expose(), &key[..]);
        }
    }

    #[test]
    fn material_of_another_length_is_no_key() {
        assert!(merge(&[0; 63], 64, Hash::Sha256).is_none());
        assert!(merge(&[0; 65], 64, Hash::Sha256).is_none());
        assert!(merge(&[], 0, Hash::Sha256).is_none());
    }
}
