//! Key bytes, and the source that random bytes come from.
//!
//! [`SecretBytes`] wipes itself when dropped and has neither `Debug` nor `Serialize`, so that a secret
//! reaches a log or a report only by a line of code that takes it out on purpose. [`Entropy`] is the one
//! way to random bytes: the pure rooms take it as an argument, tests stand in for it.

pub(crate) mod anti_forensic;

use zeroize::Zeroizing;

/// Key material in memory: wiped when dropped, compared in constant time, never printed.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes over `bytes`; the caller's buffer is moved, not copied.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// `len_bytes` zero bytes, to be filled in place through [`SecretBytes::expose_mut`].
    pub fn zeroed(len_bytes: usize) -> Self {
        Self::new(vec![0; len_bytes])
    }

    /// `len_bytes` bytes drawn from `entropy`.
    pub fn random(entropy: &mut dyn Entropy, len_bytes: usize) -> Result<Self, EntropyError> {
        let mut secret = Self::zeroed(len_bytes);
        entropy.fill(secret.expose_mut())?;
        Ok(secret)
    }

    /// The bytes themselves. Every call is a place where a secret could leak: keep them few.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes themselves, to be changed in place.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True where there is no byte at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.expose(), other.expose()).is_ok()
    }
}

impl Eq for SecretBytes {}

/// Where random bytes come from.
pub trait Entropy {
    /// Fills `buffer` with random bytes, all of it or none that may be used.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError>;
}

/// The source of random bytes gave none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random number generator failed")]
pub struct EntropyError;

/// The generator of AWS-LC, seeded by the operating system: the one that the programs use.
#[derive(Debug, Default)]
pub struct SystemEntropy(aws_lc_rs::rand::SystemRandom);

impl SystemEntropy {
    /// A handle on the process-wide generator.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        use aws_lc_rs::rand::SecureRandom;
        self.0.fill(buffer).map_err(|_| EntropyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ_and_secrets_compare_by_content() {
        let mut entropy = SystemEntropy::new();
        let first = SecretBytes::random(&mut entropy, 32).unwrap();
        let second = SecretBytes::random(&mut entropy, 32).unwrap();
        assert!(first != second);
        assert!(first == first.clone());
        assert!(first != SecretBytes::zeroed(31));
    }
}
