//! Reads `tests/data/luks2` for the unit tests of this crate.

use serde_json::Value;

use super::Hash;
use base::secret::{Entropy, EntropyError};

pub fn primitives() -> Value {
    serde_json::from_str(include_str!("../../../tests/data/luks2/primitives.json")).unwrap()
}

/// The bytes that a label of the vectors stands for.
pub fn stream(label: &str, len_bytes: usize) -> Vec<u8> {
    if label == "zeros" {
        return vec![0; len_bytes];
    }
    (0_u32..)
        .flat_map(|i| {
            let block = Hash::Sha256.of(&[label.as_bytes(), b"|", &i.to_be_bytes()]);
            block.as_ref().to_vec()
        })
        .take(len_bytes)
        .collect()
}

pub fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Hash::Sha256.of(&[bytes]))
}

/// Random bytes that a test has laid out, one buffer a draw, each of exactly the length that is asked for.
pub struct Draws(std::collections::VecDeque<Vec<u8>>);

impl Draws {
    pub fn of<const N: usize>(draws: [Vec<u8>; N]) -> Self {
        Self(draws.into())
    }
}

impl Entropy for Draws {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        buffer.copy_from_slice(&self.0.pop_front().ok_or(EntropyError)?);
        Ok(())
    }
}
