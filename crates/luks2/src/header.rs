//! The header: two copies, one of which counts (LUKS2 On-Disk Format, sections 3.1 and 4.1).
//!
//! Reading checks both copies and takes the valid one with the higher sequence id, the primary where both
//! are equal. An unreadable primary does not say where the secondary lies, so it is looked for at every
//! place that LUKS2 allows. cryptsetup mends the other copy as it reads; this program never writes when it
//! reads, and says what it found as [`Warning`]s.
//!
//! A secondary alone proves little: it may be the leftover of a container over which something else was written. So a
//! partition must begin with the magic number of LUKS2 and have no other signature ([`OnlyLuks2`]), and a primary that
//! is not valid must be the remains of one of the same container: its UUID and size, zeros or the same bytes where the
//! format has padding, and nothing but text where it has text. cryptsetup 2.6.1 asks for less.

use super::binary_header::{BINARY_HEADER_BYTES, BinaryHeader, HEADER_SIZES_BYTES};
use super::document::Document;
use super::refusal::{Refusal, valid};
use super::{Error, Metadata, Position, VolumeKey};
use base::secret::SecretBytes;
use base::storage::{self, ReadAt};
use probe::OnlyLuks2;

/// A header whose chosen copy has passed every check.
pub struct Header {
    current: Box<HeaderCopy>,
    other: CopyState,
}

/// What became of one copy.
pub enum CopyState {
    /// The copy is sound.
    Valid(Box<HeaderCopy>),
    /// Every reader skips this copy, and why.
    Invalid(Error),
    /// Other readers may take this copy, this program does not.
    Unsupported {
        /// The sequence id that it claims.
        sequence_id: u64,
        /// Why it is refused.
        reason: Error,
    },
}

/// A sound copy of the header.
pub struct HeaderCopy {
    position: Position,
    pub(super) binary: BinaryHeader,
    text: String,
    metadata: Metadata,
}

/// Something about a header that does not stop anybody from reading it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// One copy is damaged.
    #[error("the {position} LUKS2 header copy is not usable: {reason}")]
    NotUsable {
        /// Which copy.
        position: Position,
        /// Why.
        reason: String,
    },
    /// One copy is older than the other.
    #[error(
        "the {position} LUKS2 header copy is older (sequence id {sequence_id}) than the other ({newer})"
    )]
    Older {
        /// The older copy.
        position: Position,
        /// Its sequence id.
        sequence_id: u64,
        /// The other copy's.
        newer: u64,
    },
    /// The copies claim to be the same and are not.
    #[error("the two LUKS2 header copies differ, with the same sequence id; the primary is taken")]
    Different,
}

impl Header {
    /// Reads the header of the container that a partition is.
    ///
    /// Fails with [`Error::NoValidCopy`], [`Error::Refused`], [`Error::Remains`] or [`Error::TooShort`].
    pub fn read(partition: OnlyLuks2<'_>) -> Result<Self, Error> {
        let container = partition.storage();
        let primary = RawCopy::read(container, Position::Primary, 0)?;
        let known;
        let places = match &primary {
            Ok(raw) => {
                known = [raw.binary.size_bytes()];
                &known[..]
            }
            Err(_) => &HEADER_SIZES_BYTES[..],
        };
        let secondary = find_secondary(container, places)?;
        let header = Self::of_copies(primary, secondary)?;
        if header.is_primary_torn() {
            header.current.check_remains(container)?;
        }
        header.check_length(container)
    }

    /// Reads a header that this program has built, in memory or laid over what it will replace. Its primary copy must be
    /// sound, so there is no question of what else the bytes may be.
    pub fn read_built(container: &dyn ReadAt) -> Result<Self, Error> {
        let primary = RawCopy::read(container, Position::Primary, 0)?;
        let primary = match primary {
            Ok(raw) => raw,
            Err(Refusal::Invalid(error) | Refusal::Unsupported(error)) => return Err(error),
        };
        let secondary = find_secondary(container, &[primary.binary.size_bytes()])?;
        Self::of_copies(Ok(primary), secondary)?.check_length(container)
    }

    fn of_copies(
        primary: Result<RawCopy, Refusal>,
        secondary: Result<RawCopy, Refusal>,
    ) -> Result<Self, Error> {
        let (primary, secondary) = (CopyState::parse(primary), CopyState::parse(secondary));
        let (position, chosen, other) = match (primary.sequence_id(), secondary.sequence_id()) {
            (Some(first), Some(second)) if first < second => {
                (Position::Secondary, secondary, primary)
            }
            (None, Some(_)) => (Position::Secondary, secondary, primary),
            _ => (Position::Primary, primary, secondary),
        };
        match chosen {
            CopyState::Valid(current) => Ok(Self { current, other }),
            CopyState::Unsupported { reason, .. } => Err(Error::Refused {
                position,
                source: Box::new(reason),
            }),
            CopyState::Invalid(reason) => Err(no_copy(reason, other)),
        }
    }

    fn check_length(self, container: &dyn ReadAt) -> Result<Self, Error> {
        let needed_bytes = self.metadata().header_end_bytes();
        let len_bytes = container.len_bytes();
        if len_bytes < needed_bytes {
            return Err(Error::TooShort {
                needed_bytes,
                len_bytes,
            });
        }
        Ok(self)
    }

    /// True where no reader takes the primary copy: the header is known from the secondary alone.
    pub fn is_primary_torn(&self) -> bool {
        self.current.position == Position::Secondary && matches!(self.other, CopyState::Invalid(_))
    }

    /// The copy that counts.
    pub fn current(&self) -> &HeaderCopy {
        &self.current
    }

    /// The copy that does not count. Until both are written again, what was removed from the one that counts
    /// may still stand here.
    pub fn other(&self) -> &CopyState {
        &self.other
    }

    /// The copies that are valid, the one that counts first.
    pub fn valid_copies(&self) -> impl Iterator<Item = &HeaderCopy> {
        let other = match &self.other {
            CopyState::Valid(copy) => Some(&**copy),
            _ => None,
        };
        std::iter::once(&*self.current).chain(other)
    }

    /// The metadata that count.
    pub fn metadata(&self) -> &Metadata {
        self.current().metadata()
    }

    /// The volume key, by a passphrase: see [`Metadata::unlock`].
    pub fn unlock(
        &self,
        keyslot: Option<u32>,
        passphrase: &SecretBytes,
        container: &dyn ReadAt,
    ) -> Result<(u32, VolumeKey), Error> {
        self.metadata().unlock(keyslot, passphrase, container)
    }

    /// The volume key, by any keyslot but those in `left_out`: see [`Metadata::unlock_any`].
    pub fn unlock_any(
        &self,
        left_out: &[u32],
        passphrase: &SecretBytes,
        container: &dyn ReadAt,
    ) -> Result<(u32, VolumeKey), Error> {
        self.metadata().unlock_any(left_out, passphrase, container)
    }

    /// What is not as it should be in the other copy.
    pub fn warnings(&self) -> Vec<Warning> {
        let position = self.current.position.other();
        let newer = self.current.sequence_id();
        let warning = match &self.other {
            CopyState::Valid(copy) if copy.sequence_id() < newer => Some(Warning::Older {
                position,
                sequence_id: copy.sequence_id(),
                newer,
            }),
            CopyState::Valid(copy) => {
                (!copy.says_the_same_as(&self.current)).then_some(Warning::Different)
            }
            CopyState::Invalid(reason) | CopyState::Unsupported { reason, .. } => {
                Some(Warning::NotUsable {
                    position,
                    reason: reason.to_string(),
                })
            }
        };
        warning.into_iter().collect()
    }

    /// The highest sequence id of any copy that a reader may take.
    pub(super) fn highest_sequence_id(&self) -> u64 {
        let current = self.current.sequence_id();
        let other = self.other.sequence_id();
        other.map_or(current, |other| other.max(current))
    }
}

impl HeaderCopy {
    /// Which of the two this is.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Counts the updates.
    pub fn sequence_id(&self) -> u64 {
        self.binary.sequence_id()
    }

    /// The label; empty where there is none, or where it is no UTF-8.
    pub fn label(&self) -> &str {
        self.binary.label()
    }

    /// The UUID as it is written, which need not be one; empty where there is none.
    pub fn uuid(&self) -> &str {
        self.binary.uuid()
    }

    /// What the copy says.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The JSON text as it stands in the copy.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The copy as it lies on disk, byte for byte as it was read.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let salt = self.binary.salt();
        self.binary.encode(self.position, salt, &self.text)
    }

    pub(super) fn document(&self) -> Result<Document, Error> {
        Document::parse(self.text.clone(), self.binary.size_bytes())
    }

    /// Checks that what lies in the place of the primary copy are the remains of one: of this container, and not
    /// overwritten by something else.
    fn check_remains(&self, container: &dyn ReadAt) -> Result<(), Error> {
        let mut binary = BinaryHeader::zeroed();
        container.read_exact_at(binary.bytes_mut(), 0)?;
        let differs = binary.differs_in_what_stays(&self.binary);
        if let Some(offset_bytes) = differs {
            return Err(Error::Remains { offset_bytes });
        }
        let mut json_area = vec![0; self.binary.json_area_bytes()];
        container.read_exact_at(&mut json_area, BINARY_HEADER_BYTES as u64)?;
        let is_text = |byte: &u8| matches!(byte, 0 | b'\t' | b'\n' | b'\r' | 0x20..=0xff);
        match json_area.iter().position(|byte| !is_text(byte)) {
            None => Ok(()),
            Some(at) => Err(Error::Remains {
                offset_bytes: BINARY_HEADER_BYTES.saturating_add(at),
            }),
        }
    }

    fn says_the_same_as(&self, other: &Self) -> bool {
        self.text == other.text && self.label() == other.label() && self.uuid() == other.uuid()
    }

    fn parse(raw: &RawCopy) -> Result<Self, Refusal> {
        let area = &raw.json_area;
        let text_bytes = area.iter().position(|byte| *byte == 0);
        let text_bytes = text_bytes.ok_or(Error::TextUnterminated {
            area_bytes: area.len(),
        })?;
        let (text, rest) = area.split_at(text_bytes);
        if let Some(behind) = rest.iter().position(|byte| *byte != 0) {
            return Err(Refusal::Invalid(Error::TextEnd {
                offset_bytes: text_bytes.saturating_add(behind),
            }));
        }
        valid(text.first() == Some(&b'{'), || Error::TextStart)?;
        let text = std::str::from_utf8(text).map_err(|error| {
            Refusal::Unsupported(Error::TextNotUtf8 {
                offset_bytes: error.valid_up_to(),
            })
        })?;
        Ok(Self {
            position: raw.position,
            binary: raw.binary.clone(),
            text: text.to_owned(),
            metadata: Metadata::parse(text, raw.binary.size_bytes())?,
        })
    }
}

impl CopyState {
    fn parse(raw: Result<RawCopy, Refusal>) -> Self {
        let sequence_id = match &raw {
            Ok(raw) => raw.binary.sequence_id(),
            Err(_) => u64::MAX, // unverified: it cannot be ruled out that others take this copy
        };
        match raw.and_then(|raw| HeaderCopy::parse(&raw)) {
            Ok(copy) => Self::Valid(Box::new(copy)),
            Err(Refusal::Invalid(error)) => Self::Invalid(error),
            Err(Refusal::Unsupported(reason)) => Self::Unsupported {
                sequence_id,
                reason,
            },
        }
    }

    /// The sequence id by which readers choose; `None` for a copy that none of them takes.
    fn sequence_id(&self) -> Option<u64> {
        match self {
            Self::Valid(copy) => Some(copy.sequence_id()),
            Self::Invalid(_) => None,
            Self::Unsupported { sequence_id, .. } => Some(*sequence_id),
        }
    }
}

/// A copy whose binary header and checksum are right; its text has not been looked at.
struct RawCopy {
    position: Position,
    binary: BinaryHeader,
    json_area: Vec<u8>,
}

impl RawCopy {
    /// Reads the copy at `offset_bytes`. The outer error is the storage's, and ends the reading.
    fn read(
        container: &dyn ReadAt,
        position: Position,
        offset_bytes: u64,
    ) -> Result<Result<Self, Refusal>, Error> {
        let within =
            |bytes: &mut [u8], offset_bytes| match container.read_exact_at(bytes, offset_bytes) {
                Ok(()) => Ok(true),
                Err(storage::Error::BeyondEnd { .. }) => Ok(false),
                Err(error) => Err(error),
            };
        let mut binary = BinaryHeader::zeroed();
        if !within(binary.bytes_mut(), offset_bytes)? {
            return Ok(Err(Refusal::Invalid(Error::Magic {
                position,
                offset_bytes,
            })));
        }
        if let Err(refusal) = binary.check(position, offset_bytes) {
            return Ok(Err(refusal));
        }
        // The size is one of those that LUKS2 has, at most 4 MiB.
        let mut json_area = vec![0; binary.json_area_bytes()];
        let json_offset_bytes = offset_bytes.saturating_add(BINARY_HEADER_BYTES as u64);
        if !within(&mut json_area, json_offset_bytes)? {
            return Ok(Err(Refusal::Invalid(Error::Truncated { offset_bytes })));
        }
        let checked = valid(binary.has_checksum_of(&json_area), || Error::Checksum {
            offset_bytes,
        });
        Ok(checked.map(|()| Self {
            position,
            binary,
            json_area,
        }))
    }
}

/// The first sound secondary at one of `places`; else the most telling refusal.
fn find_secondary(
    container: &dyn ReadAt,
    places: &[u64],
) -> Result<Result<RawCopy, Refusal>, Error> {
    let mut refusal: Option<Error> = None;
    for offset_bytes in places {
        let found = RawCopy::read(container, Position::Secondary, *offset_bytes)?;
        match found {
            Err(Refusal::Invalid(error)) => {
                let tells_more = refusal.as_ref().is_some_and(is_absence) && !is_absence(&error);
                if refusal.is_none() || tells_more {
                    refusal = Some(error);
                }
            }
            found => return Ok(found),
        }
    }
    let refusal = refusal.unwrap_or(Error::Magic {
        position: Position::Secondary,
        offset_bytes: 0, // not so: there is no reader without places
    });
    Ok(Err(Refusal::Invalid(refusal)))
}

/// True where there is no trace of a copy.
fn is_absence(error: &Error) -> bool {
    matches!(error, Error::Magic { .. })
}

/// The error for a container without a copy that anybody would take.
fn no_copy(primary: Error, secondary: CopyState) -> Error {
    let secondary = match secondary {
        CopyState::Invalid(reason) | CopyState::Unsupported { reason, .. } => reason,
        // Not so: it would have been chosen.
        CopyState::Valid(_) => Error::Magic {
            position: Position::Secondary,
            offset_bytes: 0,
        },
    };
    Error::NoValidCopy {
        primary: Box::new(primary),
        secondary: Box::new(secondary),
    }
}
