//! The certificate table of a signed program: the signatures in it, in the order of the file.
//!
//! Microsoft "PE Format", section "The Attribute Certificate Table". Entries are `WIN_CERTIFICATE`, each at
//! a multiple of 8 from the table's start, up to the table's end:
//!
//! | offset | size | name |
//! | --- | --- | --- |
//! | 0 | 4 | length, this header included |
//! | 4 | 2 | revision, 0x0200 |
//! | 6 | 2 | type, 2 for PKCS#7 |
//! | 8 | … | data |
//!
//! Anything else in the table makes the program unbootable, also beside good entries: firmware and shim
//! were seen to refuse such a program, so this reader does.

use super::pkcs7::Signature;
use super::{Error, Result};

const HEADER_BYTES: usize = 8;
const REVISION: u16 = 0x0200;
const TYPE_PKCS7: u16 = 2;

/// Signatures of a program. Those of shims have two, so far; each costs time wherever it is verified.
const MAX_SIGNATURES: usize = 32;

/// The signatures of a certificate table.
pub fn signatures(table: &[u8]) -> Result<Vec<Signature>> {
    let mut found = Vec::new();
    let mut rest = table;
    while !rest.is_empty() {
        let offset = table.len().saturating_sub(rest.len());
        let field = |at: usize| rest.get(at..).and_then(|bytes| bytes.first_chunk::<2>());
        let (Some(length), Some(revision), Some(kind)) = (rest.first_chunk(), field(4), field(6))
        else {
            return Err(Error::CertificateEntryCut {
                offset,
                left_bytes: rest.len(),
            });
        };
        let len_bytes = u32::from_le_bytes(*length);
        let entry = usize::try_from(len_bytes)
            .ok()
            .and_then(|len| rest.get(..len));
        let data = entry.and_then(|entry| entry.get(HEADER_BYTES..));
        let (Some(entry), Some(data)) = (entry, data) else {
            return Err(Error::CertificateEntryLength {
                offset,
                len_bytes,
                left_bytes: rest.len(),
            });
        };
        let (revision, kind) = (u16::from_le_bytes(*revision), u16::from_le_bytes(*kind));
        if revision != REVISION || kind != TYPE_PKCS7 {
            return Err(Error::CertificateEntryType {
                offset,
                revision,
                kind,
            });
        }
        if found.len() >= MAX_SIGNATURES {
            return Err(Error::TooManySignatures {
                max: MAX_SIGNATURES,
            });
        }
        found.push(Signature::parse(data)?);
        // The last entry's padding may be left out.
        rest = rest
            .get(entry.len().next_multiple_of(8)..)
            .unwrap_or_default();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::efi::Pe;
    use crate::storage::MemoryStorage;

    const KERNEL: &[u8] = include_bytes!("../../tests/data/vectors/pe/kernel-db-a.efi");

    /// The signature of a program, without the header of its entry and without padding.
    fn signature() -> Vec<u8> {
        let file = MemoryStorage::new(KERNEL.to_vec());
        let table = Pe::read(&file).unwrap().certificate_table(&file);
        let table = table.unwrap().unwrap();
        let len = usize::from(u16::from_be_bytes([table[10], table[11]]));
        table[8..8 + 4 + len].to_vec()
    }

    fn entry(len_bytes: usize, revision: u16, kind: u16, data: &[u8]) -> Vec<u8> {
        let len_bytes = u32::try_from(len_bytes).unwrap();
        [
            &len_bytes.to_le_bytes(),
            &revision.to_le_bytes()[..],
            &kind.to_le_bytes(),
            data,
        ]
        .concat()
    }

    fn good() -> Vec<u8> {
        let signature = signature();
        entry(signature.len() + 8, 0x0200, 2, &signature)
    }

    fn padded(mut entry: Vec<u8>) -> Vec<u8> {
        entry.resize(entry.len().next_multiple_of(8), 0);
        entry
    }

    fn refusal(table: &[u8]) -> String {
        signatures(table).unwrap_err().to_string()
    }

    #[test]
    fn entries_begin_at_multiples_of_8() {
        assert_ne!(good().len() % 8, 0);
        assert_eq!(signatures(&[]).unwrap().len(), 0);
        assert_eq!(signatures(&good()).unwrap().len(), 1);
        assert_eq!(signatures(&padded(good())).unwrap().len(), 1);
        let two = [padded(good()), good()].concat();
        assert_eq!(signatures(&two).unwrap().len(), 2);
        // A length that counts the padding is a length like any other.
        let signature = padded(signature());
        let counted = entry(signature.len() + 8, 0x0200, 2, &signature);
        assert_eq!(signatures(&counted).unwrap().len(), 1);
    }

    #[test]
    fn a_length_below_that_of_its_header_or_beyond_the_table_is_refused() {
        let left_bytes = signature().len() + 8;
        for len_bytes in [0, 1, 7, left_bytes + 1, 0xffff_ffff] {
            let table = entry(len_bytes, 0x0200, 2, &signature());
            assert_eq!(
                refusal(&table),
                format!(
                    "the entry at offset 0 of the certificate table claims {len_bytes} bytes, with {left_bytes} left and a header of 8"
                )
            );
        }
        // A header alone holds nothing that could be a signature.
        assert_eq!(
            refusal(&entry(8, 0x0200, 2, &[])),
            "a PKCS#7 structure is malformed or missing at byte 0 of its DER"
        );
    }

    #[test]
    fn bytes_behind_the_padding_are_an_entry_and_so_refused() {
        let offset = padded(good()).len();
        for stray in 1..8 {
            let table = [padded(good()), vec![0; stray]].concat();
            assert_eq!(
                refusal(&table),
                format!(
                    "the certificate table ends within an entry: {stray} bytes at offset {offset} are no header of 8"
                )
            );
        }
        assert_eq!(
            refusal(&[padded(good()), vec![0; 8]].concat()),
            format!(
                "the entry at offset {offset} of the certificate table claims 0 bytes, with 8 left and a header of 8"
            )
        );
    }

    #[test]
    fn an_entry_of_another_kind_is_refused_also_behind_a_good_one() {
        for (revision, kind) in [(0x0100, 2), (0x0200, 1), (0x0200, 0x0ef1)] {
            let other = entry(good().len(), revision, kind, &signature());
            let offset = padded(good()).len();
            assert_eq!(
                refusal(&[padded(good()), other].concat()),
                format!(
                    "the entry at offset {offset} of the certificate table has revision {revision:#06x} and type {kind}, not 0x0200 and 2 as a signature has"
                )
            );
        }
    }

    #[test]
    fn there_are_not_many_signatures() {
        let table = padded(good()).repeat(MAX_SIGNATURES);
        assert_eq!(signatures(&table).unwrap().len(), MAX_SIGNATURES);
        assert_eq!(
            refusal(&[table, good()].concat()),
            "the certificate table has more than 32 signatures"
        );
    }
}
