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
//! Bytes in the table that are no entry make the program unbootable, also behind good ones: firmware and shim were seen
//! to refuse such a program. An entry that holds no signature for this reader is *skipped*, and what firmware and shim
//! make of it is told with it ([`Effect`]).

use super::der::tag;
use super::pkcs7::{Signature, firmware_hash};
use super::{Error, Result};

const HEADER_BYTES: usize = 8;
const REVISION: u16 = 0x0200;
const TYPE_PKCS7: u16 = 2;
const TYPE_GUID: u16 = 0x0ef1;
/// 4aafd29d-68df-49ee-8aa9-347d375665a7, `EFI_CERT_TYPE_PKCS7_GUID`, as it lies in memory.
const PKCS7_GUID: &[u8] = b"\x9d\xd2\xaf\x4a\xdf\x68\xee\x49\x8a\xa9\x34\x7d\x37\x56\x65\xa7";

/// Signatures of a program. Those of shims have two, so far; each costs time wherever it is verified.
const MAX_SIGNATURES: usize = 32;

/// What a certificate table holds.
#[derive(Debug, Default)]
pub struct Signatures {
    /// Those that can be read, in the order of the table.
    pub read: Vec<Signature>,
    /// The other entries.
    pub skipped: Vec<Skipped>,
}

/// An entry that holds no signature for this reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Why, in words.
    pub reason: String,
    /// What it does to the program.
    pub effect: Effect,
}

/// What firmware and shim make of an entry of the certificate table that holds no signature for this reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Both pass over it, and start the program for a good signature beside it.
    PassedOver,
    /// edk2 refuses the program, if dbx is not empty: it cannot look for a signer there. shim passes over it.
    FirmwareRefuses,
    /// Their readers may take what this one does not, or refuse the program.
    Unknown,
}

impl Skipped {
    fn new(error: &Error, data: &[u8]) -> Self {
        let effect = match error {
            // Neither looks at the revision, and edk2 takes PKCS#7 in an entry of the other type as well.
            Error::CertificateEntryType {
                kind: TYPE_GUID, ..
            } if data.starts_with(PKCS7_GUID) => Effect::Unknown,
            Error::CertificateEntryType { kind, .. } if *kind != TYPE_PKCS7 => Effect::PassedOver,
            Error::SignerMissing => Effect::FirmwareRefuses,
            _ if data.first() != Some(&tag::SEQUENCE) && firmware_hash(data).is_none() => {
                Effect::PassedOver
            }
            _ => Effect::Unknown,
        };
        Self {
            reason: error.to_string(),
            effect,
        }
    }
}

/// The signatures of a certificate table.
pub fn signatures(table: &[u8]) -> Result<Signatures> {
    let mut found = Signatures::default();
    let mut count = 0_usize;
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
        if count >= MAX_SIGNATURES {
            return Err(Error::TooManySignatures {
                max: MAX_SIGNATURES,
            });
        }
        count = count.saturating_add(1);
        let signature = if revision == REVISION && kind == TYPE_PKCS7 {
            Signature::parse(data)
        } else {
            Err(Error::CertificateEntryType {
                offset,
                revision,
                kind,
            })
        };
        match signature {
            Ok(signature) => found.read.push(signature),
            Err(error) => found.skipped.push(Skipped::new(&error, data)),
        }
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
    use crate::Pe;
    use base::storage::MemoryStorage;

    const KERNEL: &[u8] = include_bytes!("../../../tests/data/vectors/pe/kernel-db-a.efi");

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
        let none = signatures(&[]).unwrap();
        assert!(none.read.is_empty() && none.skipped.is_empty());
        assert_eq!(signatures(&good()).unwrap().read.len(), 1);
        assert_eq!(signatures(&padded(good())).unwrap().read.len(), 1);
        let two = [padded(good()), good()].concat();
        assert_eq!(signatures(&two).unwrap().read.len(), 2);
        // A length that counts the padding is a length like any other.
        let signature = padded(signature());
        let counted = entry(signature.len() + 8, 0x0200, 2, &signature);
        assert_eq!(signatures(&counted).unwrap().read.len(), 1);
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
    fn an_entry_that_is_no_signature_is_skipped_and_its_effect_told() {
        let signer = signature();
        let in_guid_entry = [PKCS7_GUID, &signer].concat();
        let not_pkcs7 = "a PKCS#7 structure is malformed or missing at byte 0 of its DER";
        let of_kind = |revision: u16, kind: u16| {
            let offset = padded(good()).len();
            format!(
                "the entry at offset {offset} of the certificate table has revision {revision:#06x} and type {kind}, not 0x0200 and 2 as a signature has"
            )
        };
        let cases: [(u16, u16, &[u8], String, Effect); 7] = [
            (0x0200, 1, &signer, of_kind(0x0200, 1), Effect::PassedOver),
            (
                0x0200,
                0x0ef1,
                &signer,
                of_kind(0x0200, 0x0ef1),
                Effect::PassedOver,
            ),
            (
                0x0200,
                0x0ef1,
                &in_guid_entry,
                of_kind(0x0200, 0x0ef1),
                Effect::Unknown,
            ),
            (0x0100, 2, &signer, of_kind(0x0100, 2), Effect::Unknown),
            (
                0x0100,
                2,
                &[0xa5; 64],
                of_kind(0x0100, 2),
                Effect::PassedOver,
            ),
            (0x0200, 2, &[], not_pkcs7.to_owned(), Effect::PassedOver),
            (
                0x0200,
                2,
                &[0xa5; 64],
                not_pkcs7.to_owned(),
                Effect::PassedOver,
            ),
        ];
        for (revision, kind, data, reason, effect) in cases {
            let other = padded(entry(data.len() + 8, revision, kind, data));
            let table = [padded(good()), other, good()].concat();
            let found = signatures(&table).unwrap();
            assert_eq!(found.read.len(), 2);
            assert_eq!(found.skipped, [Skipped { reason, effect }]);
        }
    }

    #[test]
    fn what_begins_like_a_signature_is_not_passed_over() {
        // SignedData of another version, and noise with a hash function's name where edk2 looks for it.
        let mut of_version_3 = signature();
        let version = of_version_3.windows(3).position(|one| one == [2, 1, 1]);
        of_version_3[version.unwrap() + 2] = 3;
        let mut noise = signature();
        noise[0] = 0xa5;
        for data in [of_version_3, noise] {
            let table = entry(data.len() + 8, 0x0200, 2, &data);
            let found = signatures(&table).unwrap();
            assert_eq!(found.skipped[0].effect, Effect::Unknown, "{found:?}");
        }
    }

    #[test]
    fn there_are_not_many_signatures() {
        let table = padded(good()).repeat(MAX_SIGNATURES);
        assert_eq!(signatures(&table).unwrap().read.len(), MAX_SIGNATURES);
        assert_eq!(
            refusal(&[table, good()].concat()),
            "the certificate table has more than 32 signatures"
        );
    }
}
