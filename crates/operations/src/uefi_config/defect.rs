//! Entries that no firmware takes, in files that somebody made: a tool that could not read its input wrote them.
//!
//! edk2 holds a list against its type before it keeps it (`CheckSignatureListFormat`: sizes, whether a certificate can be
//! read, one PK). What a guest's own variable store holds passed that, or its firmware looks at nothing: it is
//! measured as it is, and only warned about.

use firmware::config::Database;
use firmware::{Entry, SignatureList, signature_list};

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// A certificate of no bytes.
    #[error(
        "the entry at offset {offset_bytes} is a certificate of 0 bytes, which cert-to-efi-sig-list writes where it cannot read its input"
    )]
    EmptyCertificate {
        /// Where the entry begins.
        offset_bytes: usize,
    },
    /// Text in place of DER.
    #[error(
        "the entry at offset {offset_bytes} is a certificate in PEM, and firmware reads DER alone"
    )]
    PemCertificate {
        /// Where the entry begins.
        offset_bytes: usize,
    },
    /// Neither DER nor PEM.
    #[error("the entry at offset {offset_bytes} is no certificate: it does not begin as DER")]
    NoCertificate {
        /// Where the entry begins.
        offset_bytes: usize,
    },
    /// The DER ends early.
    #[error(
        "the entry at offset {offset_bytes} holds {found} bytes of a certificate of {expected}: it was cut off"
    )]
    CutCertificate {
        /// Where the entry begins.
        offset_bytes: usize,
        /// Bytes that are there.
        found: usize,
        /// Bytes that its DER says.
        expected: usize,
    },
    /// Entries of a size that their type does not have.
    #[error(
        "the entry at offset {offset_bytes} has {found} bytes of data, and {kind} has {expected}: firmware takes no such list"
    )]
    EntrySize {
        /// Where the entry begins.
        offset_bytes: usize,
        /// The type's name.
        kind: &'static str,
        /// Bytes of data.
        found: usize,
        /// Bytes that the type has.
        expected: usize,
    },
    /// Not one PK.
    #[error("PK has {count} entries, and firmware takes one")]
    SeveralPk {
        /// How many.
        count: usize,
    },
}

impl Defect {
    /// The way out.
    pub(super) fn hint(self) -> Option<&'static str> {
        match self {
            Self::EmptyCertificate { .. } => Some(
                "make the file again from a PEM file that is there: cert-to-efi-sig-list -g OWNER CERTIFICATE FILE",
            ),
            Self::PemCertificate { .. }
            | Self::NoCertificate { .. }
            | Self::CutCertificate { .. } => Some(
                "openssl x509 -inform DER -noout -subject shows whether a file is a certificate; cert-to-efi-sig-list makes a list of one in PEM",
            ),
            Self::SeveralPk { .. } => Some(
                "leave the one that the guest's firmware has; the others may belong into KEK or db",
            ),
            Self::EntrySize { .. } => None,
        }
    }
}

/// The first defect of lists that belong to one database.
pub(super) fn first(database: Database, lists: &[SignatureList]) -> Option<Defect> {
    let entries = || lists.iter().flat_map(|list| &list.entries);
    let several = || {
        let count = entries().count();
        (database == Database::Pk && count > 1).then_some(Defect::SeveralPk { count })
    };
    lists.iter().find_map(of_list).or_else(several)
}

fn of_list(list: &SignatureList) -> Option<Defect> {
    if list.kind == signature_list::X509 {
        return list.entries.iter().find_map(of_certificate);
    }
    let kind = signature_list::type_name(list.kind)?;
    let expected = signature_list::type_data_bytes(list.kind)?;
    let entry = list.entries.first()?;
    let found = entry.data.len();
    (found != expected).then_some(Defect::EntrySize {
        offset_bytes: entry.offset_bytes,
        kind,
        found,
        expected,
    })
}

/// The outermost length alone: what stands within is for those who verify by it.
fn of_certificate(entry: &Entry) -> Option<Defect> {
    let (offset_bytes, data) = (entry.offset_bytes, &entry.data[..]);
    if data.is_empty() {
        return Some(Defect::EmptyCertificate { offset_bytes });
    }
    if data.starts_with(b"-----BEGIN") {
        return Some(Defect::PemCertificate { offset_bytes });
    }
    let Some(expected) = sequence_bytes(data) else {
        return Some(Defect::NoCertificate { offset_bytes });
    };
    let found = data.len();
    (found < expected).then_some(Defect::CutCertificate {
        offset_bytes,
        found,
        expected,
    })
}

/// Length of the DER SEQUENCE that `data` begins with, its tag and length included; `None` where it begins with none.
fn sequence_bytes(data: &[u8]) -> Option<usize> {
    let (tag, rest) = data.split_first()?;
    let (first, rest) = rest.split_first()?;
    if *tag != 0x30 {
        return None;
    }
    let count = match first {
        0..=0x7f => return usize::from(*first).checked_add(2),
        0x81..=0x84 => usize::from(first & 0x7f),
        _ => return None,
    };
    let length = rest.get(..count)?.iter();
    let length = length.fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
    length.checked_add(count)?.checked_add(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_length_is_read() {
        for (data, expected) in [
            (&[0x30, 0][..], Some(2)),
            (&[0x30, 0x7f], Some(129)),
            (&[0x30, 0x82, 1, 0], Some(260)),
            (&[0x30, 0x82, 1], None),
            (&[0x30, 0x80], None),
            (&[0x30, 0x85, 0, 0, 0, 0, 1], None),
            (&[0x30], None),
            (&[0x31, 0], None),
            (&[], None),
        ] {
            assert_eq!(sequence_bytes(data), expected, "{data:x?}");
        }
    }
}
