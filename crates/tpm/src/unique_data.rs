//! Unique data: what was given as the `unique` field when the SRK was made, and so must be given again.
//!
//! | form | RSA | ECC |
//! | --- | --- | --- |
//! | wire | length (2, big-endian), data | x, y, each behind its length |
//! | of `tpm2_createprimary -u` | length (2, little-endian), data, zeros up to 512 bytes | length (2, little-endian), 128 bytes, twice |
//!
//! The two look alike. A file that the wire form fits exactly is in that form, else the other one is tried;
//! what fits neither is refused. At most 256 bytes for RSA, 32 for each coordinate.

use super::marshal::Cursor;
use super::{Error, KeyKind};

/// The most that `tpm2_createprimary -u` reads for an RSA key.
const TOOLS_RSA_BYTES: usize = 512;
/// Length of one coordinate's buffer in the C structure.
const TOOLS_COORDINATE_BYTES: usize = 128;
const MAX_RSA_BYTES: usize = 256;
const MAX_COORDINATE_BYTES: usize = 32;

/// Unique data of one kind of key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UniqueData {
    /// For an RSA key.
    Rsa(Vec<u8>),
    /// For an ECC key: what stands in the place of x and y.
    Ecc(Vec<u8>, Vec<u8>),
}

/// The form of a file of unique data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UniqueForm {
    /// As the TPM marshals it.
    Wire,
    /// As `tpm2_createprimary -u` takes it.
    Tools,
}

impl UniqueData {
    /// No unique data, as `tpm2_createprimary` without `-u` has it.
    pub fn none(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Rsa => Self::Rsa(Vec::new()),
            KeyKind::Ecc => Self::Ecc(Vec::new(), Vec::new()),
        }
    }

    /// Reads a file of unique data for a key of that kind, in either form.
    pub fn read(bytes: &[u8], kind: KeyKind) -> Result<(Self, UniqueForm), Error> {
        let unknown = Error::UniqueForm {
            kind,
            len_bytes: bytes.len(),
        };
        let wire = match kind {
            KeyKind::Rsa => wire_rsa(bytes),
            KeyKind::Ecc => wire_ecc(bytes),
        };
        let (data, form) = match wire {
            Some(data) => (data, UniqueForm::Wire),
            None => match kind {
                KeyKind::Rsa => tools_rsa(bytes),
                KeyKind::Ecc => tools_ecc(bytes),
            }
            .map(|data| (data, UniqueForm::Tools))
            .ok_or(unknown)?,
        };
        data.check()?;
        Ok((data, form))
    }

    fn check(&self) -> Result<(), Error> {
        let (len_bytes, most, allowed) = match self {
            Self::Rsa(data) => (data.len(), MAX_RSA_BYTES, "an RSA key takes at most 256"),
            Self::Ecc(x, y) => (
                x.len().max(y.len()),
                MAX_COORDINATE_BYTES,
                "an ECC key on NIST P-256 takes at most 32 for each coordinate",
            ),
        };
        if len_bytes > most {
            return Err(Error::UniqueLength { len_bytes, allowed });
        }
        Ok(())
    }
}

/// One byte string behind its length, and nothing behind it.
fn wire_rsa(bytes: &[u8]) -> Option<UniqueData> {
    let mut cursor = Cursor::new(bytes);
    let data = cursor.sized("unique").ok()?.to_vec();
    (cursor.left() == 0).then_some(UniqueData::Rsa(data))
}

fn wire_ecc(bytes: &[u8]) -> Option<UniqueData> {
    let mut cursor = Cursor::new(bytes);
    let x = cursor.sized("unique x").ok()?.to_vec();
    let y = cursor.sized("unique y").ok()?.to_vec();
    (cursor.left() == 0).then_some(UniqueData::Ecc(x, y))
}

/// The data behind a little-endian length; all that follows must be zero.
fn tools_sized(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (data, padding) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    padding.iter().all(|byte| *byte == 0).then(|| data.to_vec())
}

fn tools_rsa(bytes: &[u8]) -> Option<UniqueData> {
    let data = (bytes.len() <= TOOLS_RSA_BYTES).then(|| tools_sized(bytes));
    data.flatten().map(UniqueData::Rsa)
}

fn tools_ecc(bytes: &[u8]) -> Option<UniqueData> {
    let one = TOOLS_COORDINATE_BYTES.saturating_add(2);
    let (x, y) = bytes.split_at_checked(one)?;
    (y.len() == one).then_some(())?;
    Some(UniqueData::Ecc(tools_sized(x)?, tools_sized(y)?))
}
