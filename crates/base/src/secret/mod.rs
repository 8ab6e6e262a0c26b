//! Key bytes, and the source that random bytes come from.
//!
//! [`SecretBytes`] wipes itself when dropped and has neither `Debug` nor `Serialize`, so that a secret
//! reaches a log or a report only by a line of code that takes it out on purpose. [`Entropy`] is the one
//! way to random bytes: the pure rooms take it as an argument, tests stand in for it.

pub mod anti_forensic;

use memmap2::{Advice, MmapMut};
use zeroize::{Zeroize as _, Zeroizing};

/// Key material in memory: wiped when dropped, compared in constant time, never printed.
///
/// It has pages of its own, which are left out of dumps, and do not go to swap as far as the limit on locked memory allows it.
pub struct SecretBytes {
    store: Store,
    len_bytes: usize,
}

enum Store {
    Pages(MmapMut),
    /// Where the system gives no pages.
    Heap(Zeroizing<Vec<u8>>),
}

impl SecretBytes {
    /// Takes over `bytes`; the caller's buffer is wiped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self::copy_of(&Zeroizing::new(bytes))
    }

    fn copy_of(bytes: &[u8]) -> Self {
        let mut secret = Self::zeroed(bytes.len());
        secret.expose_mut().copy_from_slice(bytes);
        secret
    }

    /// `len_bytes` zero bytes, to be filled in place through [`SecretBytes::expose_mut`].
    pub fn zeroed(len_bytes: usize) -> Self {
        let store = match MmapMut::map_anon(len_bytes.max(1)) {
            Ok(pages) => {
                // Both are more than the system has to give.
                let _ = pages.advise(Advice::DontDump);
                let _ = pages.lock();
                Store::Pages(pages)
            }
            Err(_) => Store::Heap(Zeroizing::new(vec![0; len_bytes])),
        };
        Self { store, len_bytes }
    }

    /// `len_bytes` bytes drawn from `entropy`.
    pub fn random(entropy: &mut dyn Entropy, len_bytes: usize) -> Result<Self, EntropyError> {
        let mut secret = Self::zeroed(len_bytes);
        entropy.fill(secret.expose_mut())?;
        Ok(secret)
    }

    /// The bytes themselves. Every call is a place where a secret could leak: keep them few.
    pub fn expose(&self) -> &[u8] {
        let bytes: &[u8] = match &self.store {
            Store::Pages(pages) => pages,
            Store::Heap(bytes) => bytes,
        };
        bytes.get(..self.len_bytes).unwrap_or(bytes)
    }

    /// The bytes themselves, to be changed in place.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        let bytes: &mut [u8] = match &mut self.store {
            Store::Pages(pages) => pages,
            Store::Heap(bytes) => bytes,
        };
        let len_bytes = self.len_bytes.min(bytes.len());
        &mut bytes[..len_bytes]
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len_bytes
    }

    /// True where there is no byte at all.
    pub fn is_empty(&self) -> bool {
        self.len_bytes == 0
    }
}

impl Clone for SecretBytes {
    fn clone(&self) -> Self {
        Self::copy_of(self.expose())
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.expose_mut().zeroize();
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

    #[test]
    fn a_secret_of_any_length_is_what_it_was_made_from() {
        for len in [0, 1, 32, 4096, 4097, 100_000] {
            let bytes: Vec<u8> = (0..=255).cycle().take(len).collect();
            let mut secret = SecretBytes::new(bytes.clone());
            assert_eq!(secret.len(), len);
            assert!(secret.expose() == bytes && secret.clone().expose() == bytes);
            assert_eq!(secret.is_empty(), len == 0);
            secret.expose_mut().fill(7);
            assert!(secret.expose().iter().all(|byte| *byte == 7));
        }
    }

    /// What the kernel says of the pages: `dd`, not in dumps; `lo`, locked.
    #[test]
    fn the_pages_of_a_secret_are_locked_and_in_no_dump() {
        let secret = SecretBytes::new(vec![1; 64]);
        let at = secret.expose().as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_its_own = false;
        let mut flags = "";
        for line in maps.lines() {
            if let Some(found) = line.strip_prefix("VmFlags:") {
                if is_its_own {
                    flags = found;
                }
            } else if let Some((start, end)) = line.split_once(' ').unwrap().0.split_once('-') {
                let address = |text| usize::from_str_radix(text, 16).unwrap();
                is_its_own = (address(start)..address(end)).contains(&at);
            }
        }
        let has = |flag| flags.split_whitespace().any(|found| found == flag);
        assert!(has("dd"), "{flags}");
        let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
        if limit.current.is_none_or(|bytes| bytes >= 8 << 20) {
            assert!(has("lo"), "{flags}");
        }
    }
}
