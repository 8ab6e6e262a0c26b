//! The hash functions that LUKS2 names: for header checksums, PBKDF2 and the anti-forensic split.
//!
//! What this program writes uses SHA-256, in keyslots for systemd's readers SHA-512, as systemd's own writer does;
//! the others occur in headers that cryptsetup made on request. A name that is not listed is not an error here: the
//! caller knows what it was for.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, pbkdf2};

/// A hash function, by the name that LUKS2 gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// `sha1`
    Sha1,
    /// `sha256`
    Sha256,
    /// `sha384`
    Sha384,
    /// `sha512`
    Sha512,
}

impl Hash {
    /// The hash function of that name, if it is one of the four.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            "sha384" => Some(Self::Sha384),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// The name that LUKS2 gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The function itself.
    pub(crate) fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    /// The hash of `parts`, one after the other.
    pub(crate) fn of(self, parts: &[&[u8]]) -> digest::Digest {
        let mut context = digest::Context::new(self.algorithm());
        for part in parts {
            context.update(part);
        }
        context.finish()
    }

    /// PBKDF2 with HMAC of this hash (RFC 8018, section 5.2); `output` is filled whole.
    pub(crate) fn pbkdf2(
        self,
        password: &[u8],
        salt: &[u8],
        iterations: NonZeroU32,
        output: &mut [u8],
    ) {
        let algorithm = match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha384 => pbkdf2::PBKDF2_HMAC_SHA384,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        pbkdf2::derive(algorithm, iterations, salt, password, output);
    }
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
            hash.pbkdf2(
                &unhex(&vector["password"]),
                &unhex(&vector["salt"]),
                NonZeroU32::new(iterations).unwrap(),
                &mut output,
            );
            assert_eq!(vector["out"], hex::encode(output), "{}", vector["name"]);
        }
    }

    #[test]
    fn a_hash_is_known_by_its_name() {
        for (name, len_bytes) in [("sha1", 20), ("sha256", 32), ("sha384", 48), ("sha512", 64)] {
            let hash = Hash::from_name(name).unwrap();
            assert_eq!(hash.name(), name);
            assert_eq!(hash.of(&[b"a", b"b"]).as_ref().len(), len_bytes);
        }
        assert_eq!(Hash::from_name("whirlpool"), None);
    }
}
