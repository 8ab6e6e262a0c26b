//! The hash functions that formats name, each by names of its own.

use std::fmt;

use aws_lc_rs::digest::{self, Algorithm, Context, Digest};

/// A hash function (FIPS 180-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// Of old headers, certificates and lists of digests alone.
    Sha1,
    /// What everything here writes where it has the choice.
    Sha256,
    /// That of a TPM's other bank.
    Sha384,
    /// That of systemd's keyslots.
    Sha512,
}

impl Hash {
    /// The function itself.
    pub fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    /// The length of its digests, in bytes.
    pub fn digest_bytes(self) -> usize {
        self.algorithm().output_len()
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        digest::digest(self.algorithm(), bytes)
    }

    /// The digest of `parts`, one after the other.
    pub fn of(self, parts: &[&[u8]]) -> Digest {
        let mut context = Context::new(self.algorithm());
        for part in parts {
            context.update(part);
        }
        context.finish()
    }

    /// The function that the kernel's crypto API, and LUKS2 with it, gives this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512]
            .into_iter()
            .find(|hash| hash.name() == name)
    }

    /// The name that the kernel's crypto API gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// As documents write it.
impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_known_by_its_name() {
        for (name, len_bytes) in [("sha1", 20), ("sha256", 32), ("sha384", 48), ("sha512", 64)] {
            let hash = Hash::from_name(name).unwrap();
            assert_eq!(hash.name(), name);
            assert_eq!(hash.digest_bytes(), len_bytes);
            assert_eq!(hash.of(&[b"a", b"b"]).as_ref(), hash.digest(b"ab").as_ref());
        }
        assert_eq!(Hash::from_name("whirlpool"), None);
    }
}
