//! `EFI_VARIABLE_AUTHENTICATION_2`: what stands before the new value in a signed update of a variable, as in
//! the files `*.auth` of efitools and in the updates of dbx that are published. UEFI 2.10, section 8.2.6.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 16 | time: year u16, month, day, hour, minute, second u8, then zeros |
//! | 16 | 4 | length of the certificate from here on, this field included |
//! | 20 | 2 | revision 0x0200 |
//! | 22 | 2 | type of the certificate, 0x0EF1 |
//! | 24 | 16 | `4aafd29d-68df-49ee-8aa9-347d375665a7`: PKCS#7 |
//! | 40 | … | `SignedData`, with or without a `ContentInfo` around it |
//!
//! The signature is not verified: the guest's firmware did or will, under a key that the file does not have.
//! [`value`] returns the new value, the rest of the file; an empty one deletes the variable.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use base::number::to_usize;
use uuid::{Uuid, uuid};
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `EFI_CERT_TYPE_PKCS7_GUID`.
const PKCS7: Uuid = uuid!("4aafd29d-68df-49ee-8aa9-347d375665a7");

/// `WIN_CERT_TYPE_EFI_GUID`.
const TYPE_EFI_GUID: u16 = 0x0ef1;

/// Bytes of the time before the certificate.
const TIME_BYTES: usize = 16;

/// Bytes of the certificate's fields; its length counts them.
const CERTIFICATE_FIELDS_BYTES: u32 = 24;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawAuthentication2 {
    year: U16,
    time: [u8; 14],
    certificate_bytes: U32,
    revision: U16,
    certificate_type: U16,
    format: [u8; 16],
}

/// Why a file is no signed update of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not begin with such a header.
    #[error("no authentication header at the start (a time, then a certificate of type 0x0ef1)")]
    NoHeader,
    /// The certificate is no PKCS#7.
    #[error("the certificate in the authentication header has the format {0}, not PKCS#7")]
    Format(Uuid),
    /// The length of the certificate is too small for its own fields or reaches behind the end.
    #[error(
        "the certificate in the authentication header claims {claimed_bytes} bytes: it has 24 at least, and {left_bytes} are there"
    )]
    Length {
        /// The length field.
        claimed_bytes: u32,
        /// Bytes behind the time.
        left_bytes: usize,
    },
}

/// True where the content begins like a signed update: a time of the years 1900 to 9999, then a
/// certificate of the type 0x0EF1.
pub fn is_header(content: &[u8]) -> bool {
    let year = content.first_chunk().copied().map(u16::from_le_bytes);
    let kind = content
        .get(22..)
        .and_then(|rest| rest.first_chunk().copied());
    year.is_some_and(|year| (1900..=9999).contains(&year))
        && kind.map(u16::from_le_bytes) == Some(TYPE_EFI_GUID)
}

/// The new value of the variable, which stands behind the header.
pub fn value(content: &[u8]) -> Result<&[u8], Error> {
    if !is_header(content) {
        return Err(Error::NoHeader);
    }
    let Ok((fields, _)) = RawAuthentication2::ref_from_prefix(content) else {
        return Err(Error::NoHeader);
    };
    let format = Uuid::from_bytes_le(fields.format);
    if format != PKCS7 {
        return Err(Error::Format(format));
    }
    let claimed_bytes = fields.certificate_bytes.get();
    let behind_time = content.get(TIME_BYTES..).unwrap_or_default();
    let length = to_usize(claimed_bytes.into());
    match behind_time.get(length..) {
        Some(value) if claimed_bytes >= CERTIFICATE_FIELDS_BYTES => Ok(value),
        _ => Err(Error::Length {
            claimed_bytes,
            left_bytes: behind_time.len(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(year: u16, certificate_bytes: u32, certificate_type: u16, rest: &[u8]) -> Vec<u8> {
        let fields = RawAuthentication2 {
            year: year.into(),
            time: [1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            certificate_bytes: certificate_bytes.into(),
            revision: 0x0200.into(),
            certificate_type: certificate_type.into(),
            format: PKCS7.to_bytes_le(),
        };
        [fields.as_bytes(), rest].concat()
    }

    #[test]
    fn the_value_stands_behind_the_certificate() {
        assert_eq!(
            value(&update(2024, 24 + 5, 0x0ef1, b"pkcs7value")).unwrap(),
            b"value"
        );
        assert_eq!(
            value(&update(2024, 24, 0x0ef1, b"value")).unwrap(),
            b"value"
        );
        assert_eq!(value(&update(2024, 24 + 5, 0x0ef1, b"pkcs7")).unwrap(), b"");
    }

    #[test]
    fn what_is_no_update_is_refused() {
        let none =
            "no authentication header at the start (a time, then a certificate of type 0x0ef1)";
        let message = |content: &[u8]| value(content).unwrap_err().to_string();
        assert_eq!(message(&update(1899, 24, 0x0ef1, b"")), none);
        assert_eq!(message(&update(10000, 24, 0x0ef1, b"")), none);
        assert_eq!(message(&update(2024, 24, 0x0ef0, b"")), none);
        assert_eq!(message(&update(2024, 24, 0x0ef1, b"")[..39]), none);
        assert_eq!(message(b""), none);
        for claimed in [0, 23, 30, u32::MAX] {
            assert_eq!(
                message(&update(2024, claimed, 0x0ef1, b"value")),
                format!(
                    "the certificate in the authentication header claims {claimed} bytes: it has 24 at least, and 29 are there"
                )
            );
        }
        let mut other = update(2024, 24, 0x0ef1, b"");
        other[24] = 0;
        assert_eq!(
            message(&other),
            "the certificate in the authentication header has the format 4aafd200-68df-49ee-8aa9-347d375665a7, not PKCS#7"
        );
    }
}
