//! Keys on the curve NIST P-256: drawn, agreed upon (ECDH), signing and verifying (ECDSA with SHA-256).
//!
//! Numbers are 32 bytes, big-endian, padded with zeros in front. A [`KeyPair`] comes from the caller's
//! random bytes; the one number of a signature that must be random as well is AWS-LC's own.

use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
};

use super::Error;
use base::secret::{Entropy, SecretBytes};

/// Length of a number, in bytes.
const NUMBER_BYTES: usize = 32;
/// Draws before the source of random bytes is held to be broken: one in 2^32 is no scalar.
const DRAWS: usize = 4;

/// A point on the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Coordinate x.
    pub x: [u8; NUMBER_BYTES],
    /// Coordinate y.
    pub y: [u8; NUMBER_BYTES],
}

/// A number of at most 32 bytes with zeros in front, so that it has 32.
fn padded(number: &[u8]) -> Option<[u8; NUMBER_BYTES]> {
    let mut padded = [0; NUMBER_BYTES];
    let start = NUMBER_BYTES.checked_sub(number.len())?;
    padded.get_mut(start..)?.copy_from_slice(number);
    Some(padded)
}

impl Point {
    /// The point with these coordinates, of at most 32 bytes each; `None` where it is not on the curve.
    pub fn new(x: &[u8], y: &[u8]) -> Option<Self> {
        let point = Self {
            x: padded(x)?,
            y: padded(y)?,
        };
        let unparsed = UnparsedPublicKey::new(&ECDH_P256, point.uncompressed());
        agreement::ParsedPublicKey::try_from(unparsed).ok()?;
        Some(point)
    }

    /// SEC 1's uncompressed form: 04, x, y.
    fn uncompressed(&self) -> [u8; 65] {
        let mut bytes = [4; 65];
        let (_, numbers) = bytes.split_at_mut(1);
        let (x, y) = numbers.split_at_mut(NUMBER_BYTES);
        x.copy_from_slice(&self.x);
        y.copy_from_slice(&self.y);
        bytes
    }

    /// True where (`r`, `s`), of at most 32 bytes each, is this key's signature of the SHA-256 digest of
    /// `message`.
    pub fn verifies(&self, message: &[u8], r: &[u8], s: &[u8]) -> bool {
        let (Some(r), Some(s)) = (padded(r), padded(s)) else {
            return false;
        };
        signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.uncompressed())
            .verify(message, &[r, s].concat())
            .is_ok()
    }
}

/// A private scalar with its point.
pub struct KeyPair {
    scalar: SecretBytes,
    key: PrivateKey,
    point: Point,
}

impl KeyPair {
    /// Draws a key.
    pub fn random(entropy: &mut dyn Entropy) -> Result<Self, Error> {
        for _ in 0..DRAWS {
            let scalar = SecretBytes::random(entropy, NUMBER_BYTES)?;
            if let Some(pair) = Self::from_scalar(scalar) {
                return Ok(pair);
            }
        }
        Err(base::secret::EntropyError.into())
    }

    /// The key of a scalar of 32 bytes; `None` where it is 0 or not below the order of the curve.
    pub fn from_scalar(scalar: SecretBytes) -> Option<Self> {
        let key = PrivateKey::from_private_key(&ECDH_P256, scalar.expose()).ok()?;
        let public = key.compute_public_key().ok()?;
        let (x, y) = public.as_ref().get(1..)?.split_at_checked(NUMBER_BYTES)?;
        let point = Point::new(x, y)?;
        Some(Self { scalar, key, point })
    }

    /// The public key.
    pub fn point(&self) -> &Point {
        &self.point
    }

    /// The private scalar, 32 bytes.
    pub fn scalar(&self) -> &SecretBytes {
        &self.scalar
    }

    /// The x coordinate of the point that is shared with the owner of `other` (ECDH).
    pub(crate) fn agree(&self, other: &Point) -> Result<SecretBytes, Error> {
        let failed = Error::Library {
            operation: "a key agreement",
        };
        let other = UnparsedPublicKey::new(&ECDH_P256, other.uncompressed());
        agreement::agree(&self.key, other, failed, |shared_x| {
            Ok(SecretBytes::new(shared_x.to_vec()))
        })
    }

    /// The signature (r, s) of the SHA-256 digest of `message`, 32 bytes each.
    pub fn sign(&self, message: &[u8]) -> Result<[[u8; NUMBER_BYTES]; 2], Error> {
        let failed = Error::Library {
            operation: "a signature",
        };
        let key = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            self.scalar.expose(),
            &self.point.uncompressed(),
        );
        let key = key.map_err(|_| failed.clone())?;
        let signature = key.sign(&SystemRandom::new(), message);
        let signature = signature.map_err(|_| failed.clone())?;
        let (r, s) = signature
            .as_ref()
            .split_at_checked(NUMBER_BYTES)
            .ok_or_else(|| failed.clone())?;
        match (padded(r), padded(s)) {
            (Some(r), Some(s)) => Ok([r, s]),
            _ => Err(failed),
        }
    }
}
