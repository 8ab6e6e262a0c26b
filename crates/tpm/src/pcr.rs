//! PCR banks, selections and composite digests.
//!
//! TPM 2.0 Library, part 1 section 17 (PCR operations), part 2 section 10.9.7 (`TPML_PCR_SELECTION`).
//! Numbers in TPM structures are big-endian.

use std::collections::BTreeSet;

use base::hash::Hash;

/// A bank of PCRs, named by its hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bank {
    /// What keys are sealed to.
    Sha256,
    /// For readers of the other bank that guests have.
    Sha384,
}

impl Bank {
    /// The hash function of its values.
    pub fn hash(self) -> Hash {
        match self {
            Self::Sha256 => Hash::Sha256,
            Self::Sha384 => Hash::Sha384,
        }
    }

    /// `TPM_ALG_ID` of the hash function.
    pub fn algorithm_id(self) -> u16 {
        match self {
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
        }
    }

    /// Length of a value, in bytes.
    pub fn digest_bytes(self) -> usize {
        self.hash().digest_bytes()
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        self.hash().digest(bytes).as_ref().to_vec()
    }

    /// The value of a PCR that nothing was extended into.
    pub fn zero(self) -> Vec<u8> {
        vec![0; self.digest_bytes()]
    }

    /// The value that follows `value` when `digest` is extended.
    pub fn extend(self, value: &[u8], digest: &[u8]) -> Vec<u8> {
        self.digest(&[value, digest].concat())
    }
}

impl std::fmt::Display for Bank {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.hash().name())
    }
}

/// The PCRs of one bank that a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The bank.
    pub bank: Bank,
    /// Numbers of PCRs, 0 to 23.
    pub pcrs: BTreeSet<u8>,
}

impl Selection {
    /// `TPML_PCR_SELECTION` of this one bank, with a bitmap of three bytes; PCRs above 23 have no bit.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bitmap = self.pcrs.iter().filter(|pcr| **pcr < 24);
        let bitmap = bitmap
            .fold(0_u32, |bits, pcr| bits | (1 << pcr))
            .to_le_bytes();
        let [first, second, third, _] = bitmap;
        let mut bytes = 1_u32.to_be_bytes().to_vec();
        bytes.extend(self.bank.algorithm_id().to_be_bytes());
        bytes.extend([3, first, second, third]);
        bytes
    }
}

/// The digest that a policy of SHA-256 holds of the values of its PCRs, in ascending order of their
/// numbers.
pub fn composite<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let values: Vec<_> = values.into_iter().collect();
    Hash::Sha256.of(&values).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_has_its_bits_in_the_byte_of_the_pcr() {
        let bytes = |bank, pcrs: &[u8]| {
            hex::encode(
                Selection {
                    bank,
                    pcrs: pcrs.iter().copied().collect(),
                }
                .to_bytes(),
            )
        };
        assert_eq!(bytes(Bank::Sha256, &[4]), "00000001000b03100000");
        assert_eq!(bytes(Bank::Sha256, &[4, 7, 12]), "00000001000b03901000");
        assert_eq!(bytes(Bank::Sha384, &[7, 12]), "00000001000c03801000");
        assert_eq!(bytes(Bank::Sha256, &[23, 24, 255]), "00000001000b03000080");
    }

    #[test]
    fn the_epoch_extended_into_zero_is_the_known_value() {
        let bank = Bank::Sha256;
        let value = bank.extend(&bank.zero(), &bank.digest(&[0; 4]));
        assert_eq!(
            hex::encode(&value),
            "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"
        );
        assert_eq!(
            hex::encode(composite([value.as_slice()])),
            "da301acd1cfa3963a46b39f70c3ce51e88a5a296769f49656b6598230817df89"
        );
    }
}
