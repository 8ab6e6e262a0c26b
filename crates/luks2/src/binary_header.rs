//! The binary header: the 4096 bytes at the start of each copy (LUKS2 On-Disk Format, section 3.1).
//!
//! It names the copy's place and size, carries label, UUID, sequence id and salt, and a checksum over itself
//! and the whole JSON area behind it. A [`BinaryHeader`] is bytes alone; [`BinaryHeader::check`] and
//! [`BinaryHeader::has_checksum_of`] say whether they may be believed. Bytes that this program does not know
//! (padding, subsystem) are kept as they were found.

use base::number::to_usize;
use zerocopy::big_endian::{U16, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::refusal::{Refusal, supported, valid};
use super::{Error, Hash, Position};

/// Length of the binary header; the JSON area follows.
pub(crate) const BINARY_HEADER_BYTES: usize = 4096;
/// The sizes that a copy can have, JSON area included.
/// The secondary one lies behind the primary, so these are the places where it can be.
pub(crate) const HEADER_SIZES_BYTES: [u64; 9] = probe::SECONDARY_OFFSETS_BYTES;
/// The salt makes the two copies differ, and serves nothing else.
pub(crate) const SALT_BYTES: usize = 64;
const LABEL_BYTES: usize = 48;

/// The binary header, integers big-endian.
///
/// | offset | size | field |
/// | --- | --- | --- |
/// | 0 | 6 | magic: `LUKS\xba\xbe` primary, `SKUL\xba\xbe` secondary |
/// | 6 | 2 | version: 2 |
/// | 8 | 8 | size of the copy, JSON area included |
/// | 16 | 8 | sequence id |
/// | 24 | 48 | label, ended by NUL |
/// | 72 | 32 | checksum algorithm, ended by NUL |
/// | 104 | 64 | salt |
/// | 168 | 40 | UUID as text, ended by NUL |
/// | 208 | 48 | subsystem, ended by NUL |
/// | 256 | 8 | offset of this copy |
/// | 264 | 184 | padding |
/// | 448 | 64 | checksum |
/// | 512 | 3584 | padding |
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct BinaryHeader {
    magic: [u8; 6],
    version: U16,
    size_bytes: U64,
    sequence_id: U64,
    label: [u8; LABEL_BYTES],
    checksum_algorithm: [u8; 32],
    salt: [u8; SALT_BYTES],
    uuid: [u8; 40],
    subsystem: [u8; 48],
    offset_bytes: U64,
    padding: [u8; 184],
    checksum: [u8; 64],
    padding_to_4096: [u8; 3584],
}

const fn magic(position: Position) -> [u8; 6] {
    match position {
        Position::Primary => *b"LUKS\xba\xbe",
        Position::Secondary => *b"SKUL\xba\xbe",
    }
}

impl BinaryHeader {
    /// A new primary header of `size_bytes` with sequence id 1 and SHA-256 as its checksum.
    pub(crate) fn new(size_bytes: u64, label: &str, uuid: &uuid::Uuid) -> Result<Self, Error> {
        let mut header = Self::new_zeroed();
        header.version = 2.into();
        header.size_bytes = size_bytes.into();
        header.sequence_id = 1.into();
        header.set_label(label)?;
        copy_text(&mut header.checksum_algorithm, b"sha256");
        copy_text(&mut header.uuid, uuid.hyphenated().to_string().as_bytes());
        header.place(Position::Primary);
        Ok(header)
    }

    /// Checks everything but the checksum of a header that was read at `offset_bytes`.
    pub(crate) fn check(&self, position: Position, offset_bytes: u64) -> Result<(), Refusal> {
        valid(self.magic == magic(position), || Error::Magic {
            position,
            offset_bytes,
        })?;
        let version = self.version.get();
        valid(version == 2, || Error::Version {
            offset_bytes,
            version,
        })?;
        let claimed_bytes = self.offset_bytes.get();
        valid(claimed_bytes == offset_bytes, || Error::HeaderOffset {
            offset_bytes,
            claimed_bytes,
        })?;
        let claimed_bytes = self.size_bytes.get();
        // A secondary lies right behind a primary of the same size.
        let fits = position == Position::Primary || claimed_bytes == offset_bytes;
        valid(fits && HEADER_SIZES_BYTES.contains(&claimed_bytes), || {
            Error::HeaderSize {
                offset_bytes,
                claimed_bytes,
            }
        })?;
        // cryptsetup takes every hash that its library knows.
        supported(self.checksum_algorithm().is_some(), || {
            Error::ChecksumAlgorithm { offset_bytes }
        })
    }

    /// A header without content, to be read into.
    pub(crate) fn zeroed() -> Self {
        Self::new_zeroed()
    }

    /// The 4096 bytes, to be read into.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.as_mut_bytes()
    }

    /// Whether the checksum is that of this header and of `json_area`.
    pub(crate) fn has_checksum_of(&self, json_area: &[u8]) -> bool {
        self.checksum_over(json_area)
            .is_some_and(|checksum| checksum == self.checksum)
    }

    /// The hash over this header with a zero checksum, then the JSON area, padded with zeros; `None` for an
    /// unknown algorithm.
    fn checksum_over(&self, json_area: &[u8]) -> Option<[u8; 64]> {
        let hash = self.checksum_algorithm()?;
        let mut blank = self.clone();
        blank.checksum = [0; 64];
        let digest = hash.of(&[blank.as_bytes(), json_area]);
        let mut checksum = [0; 64];
        copy_text(&mut checksum, digest.as_ref());
        Some(checksum)
    }

    fn checksum_algorithm(&self) -> Option<Hash> {
        Hash::from_name(text(&self.checksum_algorithm)?)
    }

    /// The offset of the first field in which a primary header differs from `valid`, a copy of the same container,
    /// of those that no update changes: magic number, version, size, UUID, padding.
    pub(crate) fn differs_in_what_stays(&self, valid: &Self) -> Option<usize> {
        let fields = [
            (0, self.magic == magic(Position::Primary)),
            (6, self.version == valid.version),
            (8, self.size_bytes == valid.size_bytes),
            (168, self.uuid == valid.uuid),
            (264, self.padding == valid.padding),
            (512, self.padding_to_4096 == valid.padding_to_4096),
        ];
        let mut fields = fields.into_iter();
        fields.find_map(|(offset, is_same)| (!is_same).then_some(offset))
    }

    /// Size of the copy in bytes, JSON area included. Checked by [`Self::check`].
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes.get()
    }

    pub(crate) fn sequence_id(&self) -> u64 {
        self.sequence_id.get()
    }

    /// The label up to its NUL; empty where it is no UTF-8.
    pub(crate) fn label(&self) -> &str {
        text(&self.label).unwrap_or_default()
    }

    /// The UUID's text up to its NUL; empty where it is no UTF-8.
    pub(crate) fn uuid(&self) -> &str {
        text(&self.uuid).unwrap_or_default()
    }

    pub(crate) fn salt(&self) -> &[u8; SALT_BYTES] {
        &self.salt
    }

    /// Sets the label: at most 47 bytes, no NUL.
    pub(crate) fn set_label(&mut self, label: &str) -> Result<(), Error> {
        if label.len() >= LABEL_BYTES || label.contains('\0') {
            return Err(Error::Label);
        }
        self.label = [0; LABEL_BYTES];
        copy_text(&mut self.label, label.as_bytes());
        Ok(())
    }

    pub(crate) fn set_sequence_id(&mut self, sequence_id: u64) {
        self.sequence_id = sequence_id.into();
    }

    fn place(&mut self, position: Position) {
        self.magic = magic(position);
        self.offset_bytes = match position {
            Position::Primary => 0.into(),
            Position::Secondary => self.size_bytes,
        };
    }

    /// The whole copy as it lies at `position`: this header with that salt and the right checksum, then
    /// `text` and NULs up to the copy's size.
    pub(crate) fn encode(
        &self,
        position: Position,
        salt: &[u8; SALT_BYTES],
        text: &str,
    ) -> Result<Vec<u8>, Error> {
        let mut header = self.clone();
        header.place(position);
        header.salt = *salt;
        let offset_bytes = header.offset_bytes.get();
        let mut json_area = vec![0; header.json_area_bytes()];
        let space = json_area.get_mut(..text.len());
        let space = space.ok_or(Error::TextUnterminated {
            area_bytes: header.json_area_bytes(),
        })?;
        space.copy_from_slice(text.as_bytes());
        header.checksum = header
            .checksum_over(&json_area)
            .ok_or(Error::ChecksumAlgorithm { offset_bytes })?;
        Ok([header.as_bytes(), &json_area].concat())
    }

    /// Length of the JSON area.
    pub(crate) fn json_area_bytes(&self) -> usize {
        to_usize(self.size_bytes()).saturating_sub(BINARY_HEADER_BYTES)
    }
}

/// The text of a field up to its NUL, or to the field's end; `None` where it is no UTF-8.
fn text(field: &[u8]) -> Option<&str> {
    let until_nul = field.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(until_nul).ok()
}

/// Copies `text` to the start of `field`, as much as fits.
fn copy_text(field: &mut [u8], text: &[u8]) {
    for (byte, new) in field.iter_mut().zip(text) {
        *byte = *new;
    }
}
