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
        found.push(Signature::parse(data)?);
        // The last entry's padding may be left out.
        rest = rest
            .get(entry.len().next_multiple_of(8)..)
            .unwrap_or_default();
    }
    Ok(found)
}
