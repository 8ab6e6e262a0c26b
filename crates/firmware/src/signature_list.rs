//! `EFI_SIGNATURE_LIST`: what the variables PK, KEK, db and dbx, a file `*.esl` and a shim's own databases
//! hold. UEFI 2.10, section 32.4.1; integers are little-endian.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 16 | type of the entries |
//! | 16 | 4 | size of the list, these 28 bytes included |
//! | 20 | 4 | size of the header, 0 for all types in use |
//! | 24 | 4 | size of an entry, the same for all of a list |
//! | 28 | … | header, then entries: owner (16 bytes), data |
//!
//! Lists follow one another without a count or padding and end where the content ends. A list may be
//! empty, and its type unknown. Nothing is ever encoded anew on the way to a guest's PCR 7, which hashes the
//! content as it is; [`parse`] and [`SignatureList::to_bytes`] are inverse to each other all the same.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use base::number::{fitting, to_usize};
use uuid::{Uuid, uuid};
use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::authenticated_variable;

/// A certificate (DER).
pub const X509: Uuid = uuid!("a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
/// The SHA-1 digest of a program.
pub const SHA1: Uuid = uuid!("826ca512-cf10-4ac9-b187-be01496631bd");
/// The SHA-256 digest of a program.
pub const SHA256: Uuid = uuid!("c1c41626-504c-4092-aca9-41f936934328");
/// The SHA-384 digest of a program.
pub const SHA384: Uuid = uuid!("ff3e5307-9fd0-48c9-85f1-8ad56c701e01");
/// The SHA-512 digest of a program.
pub const SHA512: Uuid = uuid!("093e0fae-a6c4-4f50-9f1b-d41e2b89c19a");
/// The SHA-256 digest of the signed part of a certificate, with the time of its revocation.
pub const X509_SHA256: Uuid = uuid!("3bd2a492-96c0-4079-b420-fcf98ef103ed");
/// The same by SHA-384.
pub const X509_SHA384: Uuid = uuid!("7076876e-80c2-4ee6-aad2-28b349a6865b");
/// The same by SHA-512.
pub const X509_SHA512: Uuid = uuid!("446dbf63-2502-4cda-bcfa-2465d2b0fe9d");

/// Types that firmware knows: GUID, name, bytes of data in an entry where they are fixed.
const TYPES: [(Uuid, &str, Option<usize>); 11] = [
    (X509, "X.509", None),
    (SHA256, "SHA-256", Some(32)),
    (X509_SHA256, "X.509 SHA-256", Some(48)),
    (X509_SHA384, "X.509 SHA-384", Some(64)),
    (X509_SHA512, "X.509 SHA-512", Some(80)),
    (SHA1, "SHA-1", Some(20)),
    (
        uuid!("0b6e5233-a65c-44c9-9407-d9ab83bfc8bd"),
        "SHA-224",
        Some(28),
    ),
    (SHA384, "SHA-384", Some(48)),
    (SHA512, "SHA-512", Some(64)),
    (
        uuid!("3c5766e8-269c-4e34-aa14-ed776e85b3b6"),
        "RSA-2048",
        Some(256),
    ),
    (
        uuid!("452e8ced-dfff-4b8c-ae01-5118862e682c"),
        "external management",
        Some(1),
    ),
];

/// Most entries in a content. A limit of ours: the largest database in use has a few hundred.
pub const MAX_ENTRIES: usize = 65_536;

/// Bytes of the fields before a list's header.
const FIXED_BYTES: usize = 28;

/// Bytes of an entry's owner.
const OWNER_BYTES: usize = 16;

/// The name of a type of entries; `None` for one that firmware does not know either.
pub fn type_name(kind: Uuid) -> Option<&'static str> {
    TYPES
        .iter()
        .find(|(guid, ..)| *guid == kind)
        .map(|(_, name, _)| *name)
}

/// Bytes of data in each entry of a type, where the type fixes them.
pub fn type_data_bytes(kind: Uuid) -> Option<usize> {
    TYPES
        .iter()
        .find(|(guid, ..)| *guid == kind)
        .and_then(|(.., len)| *len)
}

/// Entries of one type and one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureList {
    /// Where the list begins in the content it was read from; 0 in one that was made.
    pub offset_bytes: usize,
    /// What the entries are: [`X509`], [`SHA256`] or another GUID.
    pub kind: Uuid,
    /// What stands between the fields and the entries, usually nothing.
    pub header: Vec<u8>,
    /// Bytes of one entry, its owner included. Entries of an empty list have a size, too.
    pub entry_bytes: u32,
    /// In the order of the list.
    pub entries: Vec<Entry>,
}

/// `EFI_SIGNATURE_DATA`: one certificate or digest, and who put it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where the entry, hence its owner, begins in the content it was read from; 0 in one that was made.
    pub offset_bytes: usize,
    /// Who put it there; measured with the data, never checked.
    pub owner: Uuid,
    /// The certificate or digest.
    pub data: Vec<u8>,
}

impl Entry {
    /// Owner and data as they stand in the list: what an authority event in PCR 7 hashes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.owner.to_bytes_le()[..], &self.data].concat()
    }
}

impl SignatureList {
    /// A list of one certificate.
    ///
    /// Fails where the certificate has 4 GiB.
    pub fn x509(owner: Uuid, certificate: &[u8]) -> Result<Self, Error> {
        Self::new(X509, owner, [certificate])
    }

    /// A list of entries of one size with one owner.
    ///
    /// Fails where the sizes differ or the list would have 4 GiB.
    pub fn new<'a>(
        kind: Uuid,
        owner: Uuid,
        data: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, Error> {
        let entries: Vec<_> = data
            .into_iter()
            .map(|data| Entry {
                offset_bytes: 0,
                owner,
                data: data.to_vec(),
            })
            .collect();
        let data_bytes = entries.first().map_or(0, |entry| entry.data.len());
        if let Some(other) = entries.iter().find(|entry| entry.data.len() != data_bytes) {
            return Err(Error::SizesDiffer {
                first: data_bytes,
                other: other.data.len(),
            });
        }
        let total = data_bytes
            .checked_add(OWNER_BYTES)
            .and_then(|entry| entry.checked_mul(entries.len())?.checked_add(FIXED_BYTES));
        if total.is_none_or(|total| u32::try_from(total).is_err()) {
            return Err(Error::TooLong);
        }
        // An empty list says 0, as the reference writes it for Azure's "value": [].
        let entry_bytes = if entries.is_empty() {
            0
        } else {
            data_bytes.saturating_add(OWNER_BYTES)
        };
        Ok(Self {
            offset_bytes: 0,
            kind,
            header: Vec::new(),
            entry_bytes: fitting(entry_bytes),
            entries,
        })
    }

    /// The list's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let body: Vec<u8> = self.entries.iter().flat_map(Entry::to_bytes).collect();
        let len = fitting::<usize, u32>; // new() and parse() checked it
        let list_bytes = FIXED_BYTES
            .saturating_add(self.header.len())
            .saturating_add(body.len());
        let fields = RawSignatureList {
            kind: self.kind.to_bytes_le(),
            list_bytes: len(list_bytes).into(),
            header_bytes: len(self.header.len()).into(),
            entry_bytes: self.entry_bytes.into(),
        };
        [fields.as_bytes(), &self.header, &body].concat()
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawSignatureList {
    kind: [u8; 16],
    list_bytes: U32,
    header_bytes: U32,
    entry_bytes: U32,
}

/// Why something is no sequence of signature lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A `.auth` file, which has an authentication header before the lists.
    #[error(
        "an authentication header stands at the start, as in a .auth file, and no signature list"
    )]
    AuthenticationHeader,
    /// A file of efivarfs.
    #[error(
        "4 bytes of attributes stand at the start, as in a file of efivarfs, and no signature list"
    )]
    Attributes,
    /// Fewer than 28 bytes are left.
    #[error(
        "a signature list begins at offset {offset_bytes} and has 28 bytes at least, but only {left_bytes} are left"
    )]
    FieldsCut {
        /// Where the list begins.
        offset_bytes: usize,
        /// Bytes from there to the end.
        left_bytes: usize,
    },
    /// The list reaches behind the end.
    #[error(
        "the signature list at offset {offset_bytes} claims {list_bytes} bytes, but only {left_bytes} are left"
    )]
    ListCut {
        /// Where the list begins.
        offset_bytes: usize,
        /// Its size field.
        list_bytes: u32,
        /// Bytes from there to the end.
        left_bytes: usize,
    },
    /// Fields and header are longer than the list.
    #[error(
        "the signature list at offset {offset_bytes} claims {list_bytes} bytes, fewer than its 28 fixed bytes and its header of {header_bytes}"
    )]
    HeaderTooLong {
        /// Where the list begins.
        offset_bytes: usize,
        /// Its size field.
        list_bytes: u32,
        /// Its header size field.
        header_bytes: u32,
    },
    /// An entry has no room for its owner.
    #[error(
        "the signature list at offset {offset_bytes} has entries of {entry_bytes} bytes, but an owner alone takes 16"
    )]
    EntryTooSmall {
        /// Where the list begins.
        offset_bytes: usize,
        /// Its entry size field.
        entry_bytes: u32,
    },
    /// The entries do not fill the list.
    #[error(
        "the signature list at offset {offset_bytes} has {body_bytes} bytes of entries, which is no multiple of the {entry_bytes} that each takes"
    )]
    Uneven {
        /// Where the list begins.
        offset_bytes: usize,
        /// Bytes behind the header.
        body_bytes: usize,
        /// The entry size field.
        entry_bytes: u32,
    },
    /// More than [`MAX_ENTRIES`].
    #[error(
        "there are more than {MAX_ENTRIES} entries up to the signature list at offset {offset_bytes}"
    )]
    TooManyEntries {
        /// Where the list begins that is too much.
        offset_bytes: usize,
    },
    /// A list to be made has entries of several sizes.
    #[error(
        "the entries of one signature list have one size, but there are {first} bytes and {other} bytes"
    )]
    SizesDiffer {
        /// Bytes of data in the first entry.
        first: usize,
        /// Bytes of data in the first that differs.
        other: usize,
    },
    /// A list to be made has 4 GiB.
    #[error("a signature list cannot have 4 GiB")]
    TooLong,
}

/// The signature lists that a variable's content or an `.esl` file is made of; none where it is empty.
pub fn parse(content: &[u8]) -> Result<Vec<SignatureList>, Error> {
    refuse_other_files(content)?;
    let mut lists = Vec::new();
    let mut entries_left = MAX_ENTRIES;
    let mut rest = content;
    while !rest.is_empty() {
        let offset_bytes = content.len().saturating_sub(rest.len());
        let (list, behind) = parse_one(rest, offset_bytes, entries_left)?;
        entries_left = entries_left.saturating_sub(list.entries.len());
        lists.push(list);
        rest = behind;
    }
    Ok(lists)
}

/// Files that are often taken for a signature list, and that parse as nonsense.
fn refuse_other_files(content: &[u8]) -> Result<(), Error> {
    if authenticated_variable::is_header(content) {
        return Err(Error::AuthenticationHeader);
    }
    if !begins_with_a_known_type(content) && content.get(4..).is_some_and(begins_with_a_known_type)
    {
        return Err(Error::Attributes);
    }
    Ok(())
}

/// True where the first 16 bytes are the GUID of a type that firmware knows.
pub fn begins_with_a_known_type(content: &[u8]) -> bool {
    content
        .first_chunk()
        .is_some_and(|guid| type_name(Uuid::from_bytes_le(*guid)).is_some())
}

fn parse_one(
    rest: &[u8],
    offset_bytes: usize,
    entries_left: usize,
) -> Result<(SignatureList, &[u8]), Error> {
    let left_bytes = rest.len();
    let Ok((fields, _)) = RawSignatureList::ref_from_prefix(rest) else {
        return Err(Error::FieldsCut {
            offset_bytes,
            left_bytes,
        });
    };
    let (list_bytes, header_bytes, entry_bytes) = (
        fields.list_bytes.get(),
        fields.header_bytes.get(),
        fields.entry_bytes.get(),
    );
    let size = |field: u32| to_usize(field.into());
    let Some((list, behind)) = rest.split_at_checked(size(list_bytes)) else {
        return Err(Error::ListCut {
            offset_bytes,
            list_bytes,
            left_bytes,
        });
    };
    let Some((header, body)) = list
        .get(FIXED_BYTES..)
        .and_then(|rest| rest.split_at_checked(size(header_bytes)))
    else {
        return Err(Error::HeaderTooLong {
            offset_bytes,
            list_bytes,
            header_bytes,
        });
    };
    if size(entry_bytes) < OWNER_BYTES {
        return Err(Error::EntryTooSmall {
            offset_bytes,
            entry_bytes,
        });
    }
    let chunks = body.chunks_exact(size(entry_bytes));
    if !chunks.remainder().is_empty() {
        return Err(Error::Uneven {
            offset_bytes,
            body_bytes: body.len(),
            entry_bytes,
        });
    }
    if chunks.len() > entries_left {
        return Err(Error::TooManyEntries { offset_bytes });
    }
    let first = offset_bytes
        .saturating_add(FIXED_BYTES)
        .saturating_add(header.len());
    let entries = chunks
        .zip((first..).step_by(size(entry_bytes)))
        .filter_map(|(entry, offset)| {
            let (owner, data) = entry.split_first_chunk()?; // never None: it has 16 bytes
            Some(Entry {
                offset_bytes: offset,
                owner: Uuid::from_bytes_le(*owner),
                data: data.to_vec(),
            })
        });
    let list = SignatureList {
        offset_bytes,
        kind: Uuid::from_bytes_le(fields.kind),
        header: header.to_vec(),
        entry_bytes,
        entries: entries.collect(),
    };
    Ok((list, behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guid;

    fn list(sizes: [u32; 3], rest: &[u8]) -> Vec<u8> {
        let fields = RawSignatureList {
            kind: SHA256.to_bytes_le(),
            list_bytes: sizes[0].into(),
            header_bytes: sizes[1].into(),
            entry_bytes: sizes[2].into(),
        };
        [fields.as_bytes(), rest].concat()
    }

    fn message(content: &[u8]) -> String {
        parse(content).unwrap_err().to_string()
    }

    #[test]
    fn the_bytes_of_a_made_list_are_those_of_the_specification() {
        let made = SignatureList::x509(guid::MICROSOFT, &[0, 1, 2])
            .unwrap()
            .to_bytes();
        assert_eq!(
            hex::encode(&made),
            "a159c0a5e494a74a87b5ab155c2bf0722f0000000000000013000000\
             bd9afa775903324dbd6028f4e78f784b000102"
        );
        let [list] = &parse(&made).unwrap()[..] else {
            panic!()
        };
        assert_eq!(list.entries[0].offset_bytes, 28);
        assert_eq!(list.entries[0].owner, guid::MICROSOFT);
        assert_eq!(list.to_bytes(), made);
    }

    #[test]
    fn lists_headers_and_unknown_types_come_back_as_they_were() {
        let mut several = list([28 + 3 + 2 * 17, 3, 17], &[7; 3 + 34]);
        several.extend(list([28, 0, 16], &[])); // no entry
        several.extend([&[9; 16][..], &list([28 + 16, 0, 16], &[8; 16])[16..]].concat());
        let lists = parse(&several).unwrap();
        assert_eq!(
            lists
                .iter()
                .map(|list| list.entries.len())
                .collect::<Vec<_>>(),
            [2, 0, 1]
        );
        assert_eq!(
            lists
                .iter()
                .map(|list| list.offset_bytes)
                .collect::<Vec<_>>(),
            [0, 65, 93]
        );
        assert_eq!(lists[0].entries[1].offset_bytes, 28 + 3 + 17);
        assert_eq!(type_name(lists[2].kind), None);
        assert_eq!(
            lists
                .iter()
                .flat_map(SignatureList::to_bytes)
                .collect::<Vec<_>>(),
            several
        );
        assert_eq!(parse(&[]).unwrap(), []);
    }

    #[test]
    fn what_is_no_sequence_of_lists_is_refused_with_the_offset() {
        let good = list([28 + 48, 0, 48], &[1; 48]);
        let behind_good = |rest: &[u8]| message(&[&good[..], rest].concat());
        assert_eq!(
            behind_good(&[0]),
            "a signature list begins at offset 76 and has 28 bytes at least, but only 1 are left"
        );
        assert_eq!(
            behind_good(&list([77, 0, 48], &[1; 48])),
            "the signature list at offset 76 claims 77 bytes, but only 76 are left"
        );
        assert_eq!(
            behind_good(&list([27, 0, 48], &[1; 48])),
            "the signature list at offset 76 claims 27 bytes, fewer than its 28 fixed bytes and its header of 0"
        );
        assert_eq!(
            message(&list([76, 49, 48], &[1; 48])),
            "the signature list at offset 0 claims 76 bytes, fewer than its 28 fixed bytes and its header of 49"
        );
        for entry_bytes in [0, 15] {
            assert_eq!(
                message(&list([76, 0, entry_bytes], &[1; 48])),
                format!(
                    "the signature list at offset 0 has entries of {entry_bytes} bytes, but an owner alone takes 16"
                )
            );
        }
        assert_eq!(
            parse(&list([76, 0, 16], &[1; 48])).unwrap()[0]
                .entries
                .len(),
            3
        );
        assert_eq!(
            message(&list([76, 0, 47], &[1; 48])),
            "the signature list at offset 0 has 48 bytes of entries, which is no multiple of the 47 that each takes"
        );
        for sizes in [
            [u32::MAX, 0, 48],
            [0, u32::MAX, 48],
            [76, u32::MAX, 48],
            [76, 0, u32::MAX],
        ] {
            assert!(parse(&list(sizes, &[1; 48])).is_err());
        }
    }

    #[test]
    fn files_that_are_often_taken_for_a_list_are_named() {
        let good = list([28 + 48, 0, 48], &[1; 48]);
        assert_eq!(
            message(&[&[0x27, 0, 0, 0], &good[..]].concat()),
            "4 bytes of attributes stand at the start, as in a file of efivarfs, and no signature list"
        );
        let mut auth = vec![
            0xe8, 0x07, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0,
        ];
        auth.extend([0, 2, 0xf1, 0x0e]);
        assert_eq!(
            message(&auth),
            "an authentication header stands at the start, as in a .auth file, and no signature list"
        );
    }

    #[test]
    fn entries_are_counted_over_all_lists() {
        let whole = list([28 + 16 * 65_536, 0, 16], &vec![0; 16 * 65_536]);
        assert_eq!(parse(&whole).unwrap()[0].entries.len(), MAX_ENTRIES);
        assert_eq!(
            message(&[&whole[..], &list([44, 0, 16], &[0; 16])].concat()),
            "there are more than 65536 entries up to the signature list at offset 1048604"
        );
    }

    #[test]
    fn a_list_has_one_size_of_entries() {
        let made = SignatureList::new(SHA256, guid::MICROSOFT, [&[0; 32][..], &[0; 31]]);
        assert_eq!(
            made.unwrap_err().to_string(),
            "the entries of one signature list have one size, but there are 32 bytes and 31 bytes"
        );
        let empty = SignatureList::new(SHA256, guid::MICROSOFT, []).unwrap();
        assert_eq!(empty.to_bytes(), list([28, 0, 0], &[]));
        assert_eq!(
            Error::TooLong.to_string(),
            "a signature list cannot have 4 GiB"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_lists_or_an_error(
            at in 0_usize..152, byte: u8, len in 0_usize..=152
        ) {
            let mut content = [list([76, 0, 48], &[1; 48]), list([76, 16, 16], &[2; 48])].concat();
            content[at] = byte;
            content.truncate(len);
            if let Ok(lists) = parse(&content) {
                let written: Vec<_> = lists.iter().flat_map(SignatureList::to_bytes).collect();
                assert_eq!(written, content);
            }
        }
    }
}
