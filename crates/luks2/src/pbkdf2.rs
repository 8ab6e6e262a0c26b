//! PBKDF2, by which passphrases, and the volume key in digests, are stretched.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, Algorithm};

use base::hash::Hash;

/// PBKDF2 with HMAC of this hash (RFC 8018, section 5.2); `output` is filled whole.
pub(crate) fn pbkdf2(
    hash: Hash,
    password: &[u8],
    salt: &[u8],
    iterations: NonZeroU32,
    output: &mut [u8],
) {
    let algorithm: Algorithm = match hash {
        Hash::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        Hash::Sha384 => pbkdf2::PBKDF2_HMAC_SHA384,
        Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
    };
    pbkdf2::derive(algorithm, iterations, salt, password, output);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{primitives, unhex};

    #[test]
    fn the_derived_keys_of_the_vectors_come_out() {
        for vector in primitives()["pbkdf2"].as_array().unwrap() {
            let hash = Hash::from_name(vector["hash"].as_str().unwrap()).unwrap();
            let iterations = u32::try_from(vector["iterations"].as_u64().unwrap()).unwrap();
            let mut output = vec![0; vector["out"].as_str().unwrap().len() / 2];
            pbkdf2(
                hash,
                &unhex(&vector["password"]),
                &unhex(&vector["salt"]),
                NonZeroU32::new(iterations).unwrap(),
                &mut output,
            );
            assert_eq!(vector["out"], hex::encode(output), "{}", vector["name"]);
        }
    }
}
