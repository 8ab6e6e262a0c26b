//! PE images, as firmware loads them: today just enough to tell one from another file.
//!
//! Microsoft PE format, sections "MS-DOS Stub", "Optional Header" and "Optional Header Data Directories".
//! Numbers are little-endian. Nothing here trusts an offset before it is checked.

/// Offset of the word that tells where the PE header is, and the header's own length.
const PE_POINTER: usize = 0x3c;
/// Offset of the certificate table's entry from the optional header's start, in PE32 and in PE32+.
const SECURITY_DIRECTORY: [(u16, usize); 2] = [(0x10b, 128), (0x20b, 144)];

/// A file that firmware could load, as far as its headers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// A PE file with a certificate table.
    Signed,
    /// A PE file without one.
    Unsigned,
}

/// Looks at the headers of a file; `None` where it is no PE image.
pub fn check(bytes: &[u8]) -> Option<Image> {
    let word = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    if !bytes.starts_with(b"MZ") {
        return None;
    }
    let header = usize::try_from(long(PE_POINTER)?).ok()?;
    if bytes.get(header..)?.get(..4)? != b"PE\0\0" {
        return None;
    }
    let optional = header.checked_add(24)?;
    let magic = word(optional)?;
    let (_, directory) = SECURITY_DIRECTORY
        .into_iter()
        .find(|(known, _)| *known == magic)?;
    let directories = long(optional.checked_add(directory)?.checked_sub(36)?)?;
    let table_bytes = long(optional.checked_add(directory)?.checked_add(4)?).unwrap_or(0);
    Some(if directories > 4 && table_bytes > 0 {
        Image::Signed
    } else {
        Image::Unsigned
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PE32+ header with a certificate table of `table_bytes` bytes and nothing else.
    fn pe(table_bytes: u32) -> Vec<u8> {
        let mut bytes = vec![0; 0x200];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[PE_POINTER] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
        bytes[0x98 + 108] = 16;
        bytes[0x98 + 148..0x98 + 152].copy_from_slice(&table_bytes.to_le_bytes());
        bytes
    }

    #[test]
    fn a_certificate_table_makes_a_file_signed() {
        assert_eq!(check(&pe(0)), Some(Image::Unsigned));
        assert_eq!(check(&pe(1480)), Some(Image::Signed));
    }

    #[test]
    fn what_is_no_pe_file_is_told_from_one_at_every_length() {
        assert_eq!(check(b"#!/bin/sh\n"), None);
        let whole = pe(0);
        for len in 0..0x98 + 108 {
            assert_eq!(check(&whole[..len]), None, "{len}");
        }
        let mut far = whole;
        far[PE_POINTER..PE_POINTER + 4].fill(0xff);
        assert_eq!(check(&far), None);
    }
}
