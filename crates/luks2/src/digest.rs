//! A digest in the metadata: says which key the keyslots hold and which segments it encrypts
//! (LUKS2 On-Disk Format, section 3.4).
//!
//! The digest is PBKDF2 of the volume key: the one way to tell the right volume key from the noise that a
//! wrong passphrase gives.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::area::{ITERATIONS, SALT_BYTES};
use super::json::Object;
use super::keyslot::salt;
use super::pbkdf2::pbkdf2;
use super::refusal::Refusal;
use super::{Error, Hash, VolumeKey};
use base::secret::{Entropy, SecretBytes};

/// What a volume key can be told by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Its number, the name of its member.
    pub number: u32,
    /// The keyslots that hold the key.
    pub keyslots: Vec<u32>,
    /// The segments that the key encrypts.
    pub segments: Vec<u32>,
    hash: Hash,
    iterations: NonZeroU32,
    salt: Vec<u8>,
    expected: Vec<u8>,
}

/// No program sets as many iterations as this: trying a key would take more than half a minute.
pub(crate) const ITERATIONS_LIMIT: u32 = 100_000_000;

impl Digest {
    pub(crate) fn parse(
        number: u32,
        object: &Object,
        keyslots: &[u32],
        segments: &[u32],
    ) -> Result<Self, Refusal> {
        object.name("type")?;
        let keyslots = object.references("keyslots", "keyslot", keyslots)?;
        let segments = object.references("segments", "segment", segments)?;
        // cryptsetup looks at the rest only when it checks a key. Here, what cannot be checked is refused.
        let value = |member: &str, expected| {
            Refusal::Unsupported(Error::Value {
                path: object.path_of(member),
                expected,
            })
        };
        let text = |member: &str| object.string(member).map_err(Refusal::Unsupported);
        if text("type")? != "pbkdf2" {
            return Err(value("type", "pbkdf2"));
        }
        let hash = Hash::from_name(&text("hash")?)
            .ok_or_else(|| value("hash", "sha1, sha256, sha384 or sha512"))?;
        let iterations = object.uint32("iterations").map_err(Refusal::Unsupported)?;
        let iterations =
            NonZeroU32::new(iterations).ok_or_else(|| value("iterations", "1 or more"))?;
        let salt = salt(&text("salt")?).ok_or_else(|| value("salt", "32 bytes in base64"))?;
        let expected = STANDARD
            .decode(text("digest")?)
            .ok()
            .filter(|digest| (16..=64).contains(&digest.len()))
            .ok_or_else(|| value("digest", "16 to 64 bytes in base64"))?;
        Ok(Self {
            number,
            keyslots,
            segments,
            hash,
            iterations,
            salt,
            expected,
        })
    }

    /// Whether this is the digest of `key`.
    ///
    /// Fails with [`Error::Iterations`] where computing it would take minutes.
    pub(crate) fn is_of(&self, key: &SecretBytes) -> Result<bool, Error> {
        let iterations = self.iterations.get();
        if iterations > ITERATIONS_LIMIT {
            return Err(Error::Iterations {
                path: format!("digests.{}.iterations", self.number),
                iterations,
                limit: ITERATIONS_LIMIT,
            });
        }
        let mut found = SecretBytes::zeroed(self.expected.len());
        pbkdf2(
            self.hash,
            key.expose(),
            &self.salt,
            self.iterations,
            found.expose_mut(),
        );
        Ok(found == SecretBytes::new(self.expected.clone()))
    }

    /// The JSON of a new digest of `volume_key` over segment 0, without keyslots yet.
    pub(crate) fn create(
        volume_key: &VolumeKey,
        entropy: &mut dyn Entropy,
    ) -> Result<serde_json::Value, Error> {
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt)?;
        let mut digest = [0; 32];
        pbkdf2(
            Hash::Sha256,
            volume_key.expose(),
            &salt,
            ITERATIONS,
            &mut digest,
        );
        Ok(serde_json::json!({
            "type": "pbkdf2",
            "keyslots": [],
            "segments": ["0"],
            "hash": "sha256",
            "iterations": ITERATIONS,
            "salt": STANDARD.encode(salt),
            "digest": STANDARD.encode(digest),
        }))
    }
}
