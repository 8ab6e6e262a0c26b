//! The outside of the file: magic, version, and the content under the anti-forensic splitter.
//!
//! | offset | size | name |
//! | --- | --- | --- |
//! | 0 | 4 | magic, `USK$` |
//! | 4 | 4 | version |
//! | 8 | 4 | stripes |
//! | 12 | 2 | hash of the splitter, 000b (SHA-256) |
//! | 14 | 4 | size: stripes times the length of the content |
//! | 18 | size | the stripes |
//!
//! Numbers are big-endian. There is no checksum. So many stripes are written that they have more than 128
//! KiB: on a disk that keeps overwritten sectors, one lost sector makes the old content useless.

use super::Error;
use aws_lc_rs::digest::SHA256;
use base::number::{fitting, to_usize};
use base::secret::{Entropy, SecretBytes, anti_forensic};
use tpm::{Cursor, Marshal};

/// The longest file that is read.
pub const MAX_FILE_BYTES: usize = 1 << 20;
const MAGIC: &[u8; 4] = b"USK$";
const TPM_ALG_SHA256: u16 = 0x000b;
/// The stripes have more than that together.
const STRIPED_BYTES: usize = 128 * 1024;
const MAX_BODY_BYTES: usize = 256 * 1024;
/// Stripes of the shortest content.
const MAX_STRIPES: u32 = 128 * 1024 + 1;

/// What the outside of a file holds.
pub(super) struct Unwrapped {
    pub version: u32,
    pub body: SecretBytes,
    /// Bytes behind the stripes, which readers pass over.
    pub trailing_bytes: usize,
}

/// The file around `body`.
pub(super) fn wrap(version: u32, body: &[u8], entropy: &mut dyn Entropy) -> Result<Vec<u8>, Error> {
    let stripes = STRIPED_BYTES
        .checked_div(body.len())
        .unwrap_or_default()
        .saturating_add(1);
    let material = anti_forensic::split(body, stripes, &SHA256, entropy)?;
    let mut file = Vec::with_capacity(material.len().saturating_add(18));
    file.put(MAGIC);
    file.put_long(version);
    file.put_long(fitting(stripes));
    file.put_word(TPM_ALG_SHA256);
    file.put_long(fitting(material.len()));
    file.put(material.expose());
    Ok(file)
}

/// The content of a file.
pub(super) fn unwrap(file: &[u8]) -> Result<Unwrapped, Error> {
    if file.len() > MAX_FILE_BYTES {
        return Err(Error::FileLength {
            len_bytes: file.len(),
        });
    }
    if !file.starts_with(MAGIC) {
        return Err(Error::Magic);
    }
    let mut cursor = Cursor::new(file);
    cursor.take(MAGIC.len(), "magic").map_err(Error::Cut)?;
    let version = cursor.long("version").map_err(Error::Cut)?;
    if version != super::VERSION && version != super::VERSION_IMPORTED {
        return Err(Error::Version { version });
    }
    let stripes = cursor.long("stripes").map_err(Error::Cut)?;
    let algorithm = cursor.word("hash").map_err(Error::Cut)?;
    if algorithm != TPM_ALG_SHA256 {
        return Err(Error::SplitHash { algorithm });
    }
    let size_bytes = cursor.long("size").map_err(Error::Cut)?;
    let impossible = Error::Stripes {
        size_bytes,
        stripes,
    };
    let is_whole = size_bytes.checked_rem(stripes) == Some(0);
    let body_bytes = size_bytes.checked_div(stripes).unwrap_or_default();
    let body_bytes = to_usize(body_bytes.into());
    if !is_whole || stripes > MAX_STRIPES || !(1..=MAX_BODY_BYTES).contains(&body_bytes) {
        return Err(impossible);
    }
    let size = to_usize(size_bytes.into());
    let material = cursor.take(size, "stripes").map_err(Error::Cut)?;
    let body = anti_forensic::merge(material, body_bytes, &SHA256).ok_or(impossible)?;
    Ok(Unwrapped {
        version,
        body,
        trailing_bytes: cursor.left(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of so many stripes that claims `size_bytes`.
    fn file(stripes: u32, size_bytes: u32, material: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        file.put(MAGIC);
        file.put_long(1);
        file.put_long(stripes);
        file.put_word(TPM_ALG_SHA256);
        file.put_long(size_bytes);
        file.put(material);
        file
    }

    #[test]
    fn one_stripe_is_the_content_itself() {
        let read = unwrap(&file(1, 3, b"abc")).unwrap();
        assert_eq!((read.body.expose(), read.trailing_bytes), (&b"abc"[..], 0));
        assert_eq!(unwrap(&file(1, 3, b"abcde")).unwrap().trailing_bytes, 2);
    }

    #[test]
    fn stripes_have_limits_that_are_checked_before_they_are_read() {
        assert!(
            unwrap(&file(
                MAX_STRIPES,
                MAX_STRIPES,
                &vec![0; MAX_STRIPES as usize]
            ))
            .is_ok()
        );
        for (stripes, size_bytes) in [
            (0, 100),
            (3, 100),
            (2, 0),
            (MAX_STRIPES + 1, MAX_STRIPES + 1),
            (1, (256 << 10) + 1),
            (u32::MAX, u32::MAX),
        ] {
            let refused = unwrap(&file(stripes, size_bytes, &[0; 100])).err();
            assert_eq!(
                refused,
                Some(Error::Stripes {
                    size_bytes,
                    stripes
                })
            );
        }
        let cut = unwrap(&file(4, 104, &[0; 100])).err();
        assert!(matches!(cut, Some(Error::Cut(_))), "{cut:?}");
        assert_eq!(
            unwrap(&vec![0; MAX_FILE_BYTES + 1])
                .err()
                .unwrap()
                .to_string(),
            "the sealed-key file has 1048577 bytes, more than 1048576"
        );
    }
}
