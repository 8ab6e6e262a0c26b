//! The anti-forensic split as LUKS2 uses it, under the name `luks1`: a volume key over 4000 stripes, with
//! the hash that the keyslot names. The split itself is that of `base::secret`.

use super::Hash;
use base::secret::{Entropy, EntropyError, SecretBytes, anti_forensic};

/// The number of stripes that LUKS2 uses; cryptsetup ignores other numbers on reading.
pub(crate) const STRIPES: u32 = 4000;

/// Spreads `key` over `stripes` stripes. The random ones are drawn in one call.
pub(crate) fn split(
    key: &[u8],
    stripes: usize,
    hash: Hash,
    entropy: &mut dyn Entropy,
) -> Result<SecretBytes, EntropyError> {
    anti_forensic::split(key, stripes, hash.algorithm(), entropy)
}

/// Gets a key of `key_bytes` bytes back from its stripes; `None` where they are not whole.
pub(crate) fn merge(material: &[u8], key_bytes: usize, hash: Hash) -> Option<SecretBytes> {
    anti_forensic::merge(material, key_bytes, hash.algorithm())
}

#[cfg(test)]
mod tests {
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
                let found = anti_forensic::mix(&random, key.len(), Hash::Sha256.algorithm());
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
