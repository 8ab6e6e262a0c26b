//! Files of Linux's efivarfs, `/sys/firmware/efi/efivars`, and of copies of it: `NAME-GUID`, holding 4 bytes
//! of attributes and then the variable's content. Linux `Documentation/filesystems/efivarfs.rst`.
//!
//! The GUID has 36 characters, lower case where the kernel made the name; a name may contain dashes. A file
//! without a byte is a variable that does not exist. A file that lacks the attributes, as `efi-readvar -o`
//! writes it, is told by its content, which begins with the type of a signature list.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use uuid::Uuid;

use super::signature_list;

/// Where Linux shows the variables of the machine that it runs on.
pub const MOUNT_POINT: &str = "/sys/firmware/efi/efivars";

/// Bytes of the attributes before the content.
pub const ATTRIBUTES_BYTES: usize = 4;

/// Characters of a GUID.
const GUID_CHARACTERS: usize = 36;

/// Name and vendor GUID of the variable in a file of this name; `None` for any other file.
pub fn split_file_name(file_name: &str) -> Option<(&str, Uuid)> {
    let at = file_name.len().checked_sub(GUID_CHARACTERS)?;
    let (name, vendor) = file_name.split_at_checked(at)?;
    let name = name.strip_suffix('-').filter(|name| !name.is_empty())?;
    Some((name, Uuid::try_parse(vendor).ok()?))
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: there is no such variable.
    Absent,
    /// A variable.
    Variable {
        /// Attributes (UEFI 2.10, section 8.2.1); PK, KEK, db and dbx have 0x27.
        attributes: u32,
        /// The content.
        data: Vec<u8>,
    },
    /// Signature lists, without the attributes before them.
    BareList(Vec<u8>),
}

/// The file has 1 to 3 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("only {0} bytes, and a file of efivarfs begins with 4 bytes of attributes")]
pub struct AttributesCut(usize);

/// Takes the content of a file apart.
pub fn content(file: &[u8]) -> Result<Content, AttributesCut> {
    if file.is_empty() {
        return Ok(Content::Absent);
    }
    if signature_list::begins_with_a_known_type(file) {
        return Ok(Content::BareList(file.to_vec()));
    }
    let (attributes, data) = file
        .split_first_chunk::<ATTRIBUTES_BYTES>()
        .ok_or(AttributesCut(file.len()))?;
    Ok(Content::Variable {
        attributes: u32::from_le_bytes(*attributes),
        data: data.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guid;

    #[test]
    fn the_last_37_characters_are_a_dash_and_the_guid() {
        let guid = guid::GLOBAL_VARIABLE;
        let split =
            |name: &str| split_file_name(name).map(|(name, vendor)| (name.to_owned(), vendor));
        assert_eq!(split(&format!("PK-{guid}")), Some(("PK".to_owned(), guid)));
        assert_eq!(
            split(&format!("a-b-{guid}")),
            Some(("a-b".to_owned(), guid))
        );
        assert_eq!(
            split(&format!("PK-{}", guid.to_string().to_uppercase())),
            Some(("PK".to_owned(), guid))
        );
        for other in [
            format!("-{guid}"),
            format!("PK_{guid}"),
            format!("{guid}"),
            format!("PK-{guid}x"),
            "PK".to_owned(),
            "é".repeat(30),
        ] {
            assert_eq!(split(&other), None, "{other}");
        }
        assert_eq!(split(&format!("PK-{}", guid.simple())), None);
    }

    #[test]
    fn content_stands_behind_the_attributes() {
        let file = [&[0x27, 0, 0, 0][..], b"data"].concat();
        assert_eq!(
            content(&file).unwrap(),
            Content::Variable {
                attributes: 0x27,
                data: b"data".to_vec()
            }
        );
        assert_eq!(
            content(&file[..4]).unwrap(),
            Content::Variable {
                attributes: 0x27,
                data: vec![]
            }
        );
        assert_eq!(content(&[]).unwrap(), Content::Absent);
        let bare = [&signature_list::SHA256.to_bytes_le()[..], b"rest"].concat();
        assert_eq!(content(&bare).unwrap(), Content::BareList(bare));
        assert_eq!(
            content(&[7; 3]).unwrap_err().to_string(),
            "only 3 bytes, and a file of efivarfs begins with 4 bytes of attributes"
        );
    }
}
