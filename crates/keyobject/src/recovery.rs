//! The recovery key: 16 random bytes that open a recovery keyslot, and the digits that people type.
//!
//! Printed form: the 16 bytes as eight little-endian 16-bit numbers, each with five decimal digits, joined
//! by `-`. It is what Ubuntu's initramfs asks for where the sealed key does not open the disk.

use zeroize::Zeroizing;

use base::number::fitting;
use base::secret::{Entropy, EntropyError, SecretBytes};

/// Length of a recovery key in bytes.
pub const RECOVERY_KEY_BYTES: usize = 16;

/// A recovery key; its bytes are the passphrase of its keyslot.
#[derive(Clone)]
pub struct RecoveryKey(SecretBytes);

/// Bytes that are no recovery key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One byte too many, and it is the end of a line.
    #[error(
        "a recovery key has 16 bytes, this one has 17 and ends in a newline: a key file holds the raw bytes alone"
    )]
    TrailingNewline,
    /// Any other wrong length.
    #[error("a recovery key has 16 bytes, this one has {len_bytes}{}", or_more(*len_bytes))]
    Length {
        /// How many bytes there were; counted up to a little more than the right length.
        len_bytes: usize,
    },
}

/// Digits that are no recovery key; what was typed is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a recovery key is typed as eight groups of five digits, each up to 65535, with - between them or nothing"
)]
pub struct TextError;

/// Whoever reads a key file stops at twice the length of a key.
fn or_more(len_bytes: usize) -> &'static str {
    if len_bytes < 2 * RECOVERY_KEY_BYTES {
        ""
    } else {
        " or more"
    }
}

impl RecoveryKey {
    /// Takes over the bytes of a key file.
    pub fn from_bytes(bytes: SecretBytes) -> Result<Self, Error> {
        match (bytes.len(), bytes.expose().last()) {
            (RECOVERY_KEY_BYTES, _) => Ok(Self(bytes)),
            (17, Some(b'\n')) => Err(Error::TrailingNewline),
            (len_bytes, _) => Err(Error::Length { len_bytes }),
        }
    }

    /// Makes a new key.
    pub fn random(entropy: &mut dyn Entropy) -> Result<Self, EntropyError> {
        SecretBytes::random(entropy, RECOVERY_KEY_BYTES).map(Self)
    }

    /// Reads the digits as a guest's prompt does: five digits eight times, each boundary with or without a `-`.
    pub fn from_text(text: &str) -> Result<Self, TextError> {
        let mut key = SecretBytes::zeroed(RECOVERY_KEY_BYTES);
        let mut rest = text.as_bytes();
        for (group, pair) in key.expose_mut().chunks_exact_mut(2).enumerate() {
            if group > 0 {
                rest = rest.strip_prefix(b"-").unwrap_or(rest);
            }
            let (digits, behind) = rest.split_at_checked(5).ok_or(TextError)?;
            rest = behind;
            if !digits.iter().all(u8::is_ascii_digit) {
                return Err(TextError);
            }
            let number = digits
                .iter()
                .fold(0, |number, digit| 10 * number + u32::from(digit - b'0'));
            let number = u16::try_from(number).map_err(|_| TextError)?;
            pair.copy_from_slice(&number.to_le_bytes());
        }
        if rest.is_empty() {
            Ok(Self(key))
        } else {
            Err(TextError)
        }
    }

    /// The passphrase of the keyslot: the 16 bytes themselves.
    pub fn passphrase(&self) -> &SecretBytes {
        &self.0
    }

    /// The printed form, 47 characters without a newline.
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(47));
        for (group, pair) in self.0.expose().chunks_exact(2).enumerate() {
            if group > 0 {
                text.push('-');
            }
            let mut number = u32::from(pair[0]) | u32::from(pair[1]) << 8;
            let mut digits = Zeroizing::new([b'0'; 5]);
            for digit in digits.iter_mut().rev() {
                *digit += fitting::<u32, u8>(number % 10);
                number /= 10;
            }
            text.extend(digits.iter().copied().map(char::from));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(bytes: &[u8]) -> Result<RecoveryKey, Error> {
        RecoveryKey::from_bytes(SecretBytes::new(bytes.to_vec()))
    }

    #[test]
    fn each_pair_of_bytes_is_a_little_endian_number_of_five_digits() {
        let text = |bytes: &[u8]| key(bytes).ok().unwrap().text();
        assert_eq!(
            &*text(&[0x41; 16]),
            "16705-16705-16705-16705-16705-16705-16705-16705"
        );
        assert_eq!(
            &*text(&[0xff; 16]),
            "65535-65535-65535-65535-65535-65535-65535-65535"
        );
        let counted: Vec<u8> = (0..16).collect();
        assert_eq!(
            &*text(&counted),
            "00256-00770-01284-01798-02312-02826-03340-03854"
        );
    }

    #[test]
    fn digits_are_read_as_a_guests_prompt_reads_them() {
        let cases = include_str!("../../../tests/data/recovery-key/cases.json");
        let cases: serde_json::Value = serde_json::from_str(cases).unwrap();
        let mut refused = 0;
        for case in cases["parse"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let read = RecoveryKey::from_text(text);
            let read = read.map(|key| hex::encode(key.passphrase().expose()));
            refused += usize::from(read.is_err());
            assert_eq!(read.ok().as_deref(), case["key"].as_str(), "{text:?}");
        }
        assert!(refused > 5, "{refused}");
        for pair in cases["pairs"].as_array().unwrap() {
            let key = RecoveryKey::from_text(pair["text"].as_str().unwrap()).unwrap();
            assert_eq!(key.text().as_str(), pair["text"].as_str().unwrap());
        }
        assert_eq!(
            RecoveryKey::from_text("12").err().unwrap().to_string(),
            "a recovery key is typed as eight groups of five digits, each up to 65535, with - between them or nothing"
        );
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let message = |bytes: &[u8]| key(bytes).err().unwrap().to_string();
        assert_eq!(
            message(&[1; 15]),
            "a recovery key has 16 bytes, this one has 15"
        );
        assert_eq!(
            message(&[1; 17]),
            "a recovery key has 16 bytes, this one has 17"
        );
        assert_eq!(
            message(b"0123456789abcdef\n"),
            "a recovery key has 16 bytes, this one has 17 and ends in a newline: a key file holds the raw bytes alone"
        );
    }
}
