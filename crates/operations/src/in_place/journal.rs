//! The journal: how the boundary becomes durable.
//!
//! Each entry is a [mark](crate::common::half_converted::mark) in the header copy that a reader would not take, with a higher sequence id. Torn,
//! the other copy counts, whose boundary stays right until the next chunk is written, which is after the flush.

use crate::Error;
use crate::common::content::{HalfConverted, PartitionContent};
use crate::common::half_converted::error::Error as InPlaceError;
use crate::common::half_converted::mark::{Mark, REQUIREMENT};
use base::secret::Entropy;
use base::storage::WriteAt;
use luks2::{Position, Update};

/// The header of a half-converted container.
pub struct Journal<'a> {
    partition: &'a dyn WriteAt,
    update: Update,
    token: u32,
    /// Of either copy (the primary first) how much may not be zeros; `None` where it is damaged.
    used_bytes: [Option<usize>; 2],
}

impl<'a> Journal<'a> {
    /// Reads the header of a container that holds a mark.
    pub fn open(partition: &'a dyn WriteAt) -> Result<(Self, Mark), Error> {
        let content = PartitionContent::of(&partition)?;
        let PartitionContent::HalfConverted(HalfConverted::Marked(header, _)) = content else {
            return Err(InPlaceError::NothingToResume.into());
        };
        let (token, mark) = Mark::of(header.metadata()).ok_or(InPlaceError::Mark)?;
        let update = header.update_knowing(REQUIREMENT)?;
        let mut used_bytes = [None; 2];
        for copy in header.valid_copies() {
            // Binary header, text, and the NUL behind it.
            used_bytes[index(copy.position())] = Some(4096 + copy.text().len() + 1);
        }
        let journal = Self {
            partition,
            update,
            token,
            used_bytes,
        };
        Ok((journal, mark))
    }

    /// Makes a mark durable.
    pub fn record(&mut self, mark: &Mark, entropy: &mut dyn Entropy) -> Result<(), Error> {
        self.update.set_token(self.token, &mark.to_json())?;
        let [position, _] = self.update.order();
        let bytes = self.update.copy_bytes(position, entropy)?;
        let used = &mut self.used_bytes[index(position)];
        let new_bytes = self.update.used_bytes();
        let len = used.map_or(bytes.len(), |old_bytes| {
            old_bytes.next_multiple_of(4096).max(new_bytes)
        });
        *used = Some(new_bytes);
        let offset_bytes = self.update.offset_bytes(position);
        self.partition
            .write_all_at(&bytes[..len.min(bytes.len())], offset_bytes)
            .and_then(|()| self.partition.flush())
            .map_err(Error::Output)?;
        Ok(self.update.advance()?)
    }

    /// Takes mark and requirement out of both copies: the container is like any other.
    pub fn finish(mut self, entropy: &mut dyn Entropy) -> Result<(), Error> {
        self.update.remove_token(self.token)?;
        self.update.remove_requirement(REQUIREMENT)?;
        for position in self.update.order() {
            let bytes = self.update.copy_bytes(position, entropy)?;
            self.partition
                .write_all_at(&bytes, self.update.offset_bytes(position))
                .and_then(|()| self.partition.flush())
                .map_err(Error::Output)?;
        }
        Ok(())
    }
}

fn index(position: Position) -> usize {
    match position {
        Position::Primary => 0,
        Position::Secondary => 1,
    }
}
