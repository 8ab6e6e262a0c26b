//! An update: a changed header, and the steps that bring it to disk.
//!
//! A caller that must survive a crash at any point proceeds so:
//!
//! 1. change the update (add keyslots and tokens, remove them); nothing is written yet;
//! 2. write the [`KeyslotMaterial`] of new keyslots, into areas that no keyslot has; flush;
//! 3. write the copies in the [`order`](Update::order) that the update names, a flush after each: first the
//!    one that a reader would not take, so a torn write leaves the other;
//! 4. overwrite the areas of removed keyslots with random bytes ([`Area::overwrite`]); flush.
//!
//! Each copy is written whole, binary header and JSON area, so nothing of an older and longer text stays.

use super::area::KeyslotMaterial;
use super::binary_header::{BINARY_HEADER_BYTES, BinaryHeader, SALT_BYTES};
use super::document::Document;
use super::{Area, Error, Hash, Header, Metadata, Position, VolumeKey};
use base::number::to_usize;
use base::secret::{Entropy, SecretBytes};
use base::storage::WriteAt;

/// A header that is being changed; its sequence id is one above the highest that was read.
pub struct Update {
    binary: BinaryHeader,
    document: Document,
    order: [Position; 2],
}

impl Header {
    /// Begins an update of this header.
    ///
    /// Fails where this program may not change it ([`Metadata::check_writable`]).
    pub fn update(&self) -> Result<Update, Error> {
        self.update_under(None)
    }

    /// Begins an update of a header with a requirement that the caller knows.
    pub fn update_knowing(&self, requirement: &str) -> Result<Update, Error> {
        self.update_under(Some(requirement))
    }

    fn update_under(&self, known: Option<&str>) -> Result<Update, Error> {
        self.metadata().check_writable_under(known)?;
        let next = self.highest_sequence_id().checked_add(1);
        let mut binary = self.current().binary.clone();
        binary.set_sequence_id(next.ok_or(Error::SequenceId)?);
        Ok(Update {
            binary,
            document: self.current().document()?,
            order: {
                let current = self.current().position();
                [current.other(), current]
            },
        })
    }
}

impl Update {
    /// The metadata as they will be.
    pub fn metadata(&self) -> &Metadata {
        self.document.metadata()
    }

    /// Adds a keyslot that opens with `passphrase`: `number`, or the lowest free one. Its area is the first
    /// gap in the keyslots area.
    ///
    /// Fails with [`Error::VolumeKey`] for another container's key, [`Error::Taken`], [`Error::AllTaken`],
    /// [`Error::Number`], [`Error::NoRoom`].
    pub fn add_keyslot(
        &mut self,
        number: Option<u32>,
        volume_key: &VolumeKey,
        passphrase: &SecretBytes,
        entropy: &mut dyn Entropy,
    ) -> Result<KeyslotMaterial, Error> {
        self.add_keyslot_with(Hash::Sha256, number, volume_key, passphrase, entropy)
    }

    /// The same, with another hash function than SHA-256 in key derivation and split.
    pub fn add_keyslot_with(
        &mut self,
        hash: Hash,
        number: Option<u32>,
        volume_key: &VolumeKey,
        passphrase: &SecretBytes,
        entropy: &mut dyn Entropy,
    ) -> Result<KeyslotMaterial, Error> {
        self.document
            .add_keyslot(number, volume_key, passphrase, hash, entropy)
    }

    /// Removes a keyslot, also from the digests and tokens that name it. The area that it returns must be
    /// overwritten, but not before both header copies are written.
    pub fn remove_keyslot(&mut self, number: u32) -> Result<Area, Error> {
        self.document.remove_keyslot(number)
    }

    /// Gives a keyslot another number, also in the digests and tokens that name it. Its material stays where it is.
    pub fn renumber_keyslot(&mut self, from: u32, to: u32) -> Result<(), Error> {
        self.document.renumber_keyslot(from, to)
    }

    /// Adds a token (an object with `type` and `keyslots`): `number`, or the lowest free one, which is
    /// returned.
    pub fn add_token(&mut self, number: Option<u32>, json: &str) -> Result<u32, Error> {
        self.document.add_token(number, json)
    }

    /// Removes a token.
    pub fn remove_token(&mut self, number: u32) -> Result<(), Error> {
        self.document.remove_token(number)
    }

    /// Gives a token that is there another text: an object with `type` and `keyslots`.
    pub fn set_token(&mut self, number: u32, json: &str) -> Result<(), Error> {
        self.document.set_token(number, json)
    }

    /// Takes a requirement out.
    pub fn remove_requirement(&mut self, name: &str) -> Result<(), Error> {
        self.document.remove_requirement(name)
    }

    /// Begins the next update on top of this one, of which the first copy in the [`order`](Update::order) is durable:
    /// that copy is now the one that a reader takes.
    pub fn advance(&mut self) -> Result<(), Error> {
        let next = self.binary.sequence_id().checked_add(1);
        self.binary.set_sequence_id(next.ok_or(Error::SequenceId)?);
        self.order.reverse();
        Ok(())
    }

    /// Length of the part of a copy that is not all zeros, in whole blocks of 4096 bytes.
    pub fn used_bytes(&self) -> usize {
        let text = self.document.text().len().saturating_add(1);
        let used = BINARY_HEADER_BYTES.saturating_add(text);
        used.checked_next_multiple_of(4096).unwrap_or(usize::MAX)
    }

    /// Sets the label: at most 47 bytes, no NUL.
    pub fn set_label(&mut self, label: &str) -> Result<(), Error> {
        self.binary.set_label(label)
    }

    /// The order in which to write the copies: first the one that a reader would not take.
    pub fn order(&self) -> [Position; 2] {
        self.order
    }

    /// The copy as it will lie on disk, with a fresh salt.
    pub fn copy_bytes(
        &self,
        position: Position,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, Error> {
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt)?;
        self.binary.encode(position, &salt, self.document.text())
    }

    /// Where a copy lies in the container.
    pub fn offset_bytes(&self, position: Position) -> u64 {
        match position {
            Position::Primary => 0,
            Position::Secondary => self.binary.size_bytes(),
        }
    }

    /// Writes one copy whole, with a fresh salt; the caller flushes.
    pub fn write_copy(
        &self,
        position: Position,
        container: &dyn WriteAt,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Error> {
        let bytes = self.copy_bytes(position, entropy)?;
        let offset_bytes = self.offset_bytes(position);
        Ok(container.write_all_at(&bytes, offset_bytes)?)
    }
}

impl Area {
    /// Overwrites the area with random bytes; the caller flushes.
    pub fn overwrite(
        &self,
        container: &dyn WriteAt,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Error> {
        let mut buffer = [0; 4096];
        let mut offset_bytes = self.offset_bytes;
        let mut left_bytes = self.size_bytes;
        while left_bytes > 0 {
            let len_bytes = to_usize(left_bytes).min(buffer.len());
            let (piece, _) = buffer.split_at_mut(len_bytes);
            entropy.fill(piece)?;
            container.write_all_at(piece, offset_bytes)?;
            let len_bytes = piece.len() as u64;
            offset_bytes = offset_bytes.saturating_add(len_bytes);
            left_bytes = left_bytes.saturating_sub(len_bytes);
        }
        Ok(())
    }
}
