//! Why a conversion in place cannot begin or go on.

use uuid::Uuid;

use super::MAX_EDITED_BYTES;

/// Why a conversion in place cannot begin or go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The edits do not fit into the tail.
    #[error(
        "in place, at most {MAX_EDITED_BYTES} bytes of the filesystem can be edited; here it would be {changed_bytes}"
    )]
    TooManyEdits {
        /// How much they change.
        changed_bytes: u64,
    },
    /// What may be an old header lies in the filesystem's own blocks.
    #[error(
        "a copy of the LUKS2 header of an earlier container lies at {offset_bytes:#x} bytes from the start of the root partition, in a block that the filesystem uses: after a crash it would be taken for the new one"
    )]
    OldHeaderInUse {
        /// Where it lies in the partition.
        offset_bytes: u64,
    },
    /// `--resume` where there is nothing to resume.
    #[error("no conversion in place is unfinished in the root partition")]
    NothingToResume,
    /// `--resume` where the conversion came to its end.
    #[error("nothing is left to resume: the root partition is encrypted, and not deployed yet")]
    Complete,
    /// The header demands that a conversion be finished, and does not say which.
    #[error("the LUKS2 header's mark of the conversion in place is damaged")]
    Mark,
    /// The volume key is not to be had.
    #[error(
        "the key in the half-converted container's header does not open it: header or keyslot was changed"
    )]
    Key,
    /// A copy of the partition's bytes, in another partition.
    #[error("the conversion was begun in partition {recorded}, and this is {found}")]
    OtherPartition {
        /// Unique GUID of the partition in which it was begun.
        recorded: Uuid,
        /// That of the one that is here.
        found: Uuid,
    },
    /// The partition was resized.
    #[error(
        "the conversion was begun in a partition of {recorded_bytes} bytes, and this one has {found_bytes}"
    )]
    OtherLength {
        /// The length when it was begun.
        recorded_bytes: u64,
        /// The length that it has.
        found_bytes: u64,
    },
    /// The tail is not what its digest says.
    #[error("what the conversion keeps at the end of the partition was changed")]
    TailChanged,
    /// The beginning of the partition is neither the old nor the new one.
    #[error(
        "the partition was changed: the sector at {offset_bytes} bytes from its start is neither what the conversion found nor what it writes"
    )]
    HeadChanged {
        /// The first such sector.
        offset_bytes: u64,
    },
    /// Neither the filesystem's beginning nor the container's is there.
    #[error("the root partition is half converted, and its primary LUKS2 header is lost")]
    LostPrimary,
    /// The filesystem was used between preparation and conversion.
    #[error(
        "the filesystem was changed after its conversion was prepared; nothing of it is converted"
    )]
    NotBegun,
    /// The last chunk is not what its digest says.
    #[error(
        "what was converted last was changed: {len_bytes} bytes at {offset_bytes} bytes from the start of the partition"
    )]
    LastChunkChanged {
        /// Where the chunk lies in the partition.
        offset_bytes: u64,
        /// Its length.
        len_bytes: u64,
    },
    /// The stop flag was raised.
    #[error("interrupted; {converted_bytes} of {total_bytes} bytes are converted")]
    Stopped {
        /// How far it came.
        converted_bytes: u64,
        /// How far it has to come.
        total_bytes: u64,
    },
}

/// The way out of a conversion that ended early.
pub const RESUME: &str =
    "run again with --resume when the cause is gone; until then neither boot nor mount the disk";

impl Error {
    /// The way out.
    pub fn hint(self) -> &'static str {
        match self {
            Self::TooManyEdits { .. } => {
                "the filesystem is too large to be converted in place: write to another file or device with --output"
            }
            Self::OldHeaderInUse { .. } => {
                "nothing was written: write to another file or device with --output"
            }
            Self::Complete => "deploy binds it to a guest",
            Self::NothingToResume | Self::NotBegun => "leave --resume out to begin",
            Self::LostPrimary => {
                "cryptsetup luksDump on the partition writes the primary copy again, from the secondary one; then run again with --resume"
            }
            Self::OtherPartition { .. } => {
                "resume on the disk on which it was begun; a copy of it needs the same partition table"
            }
            Self::OtherLength { .. } => "give the partition its old length again",
            Self::Mark
            | Self::Key
            | Self::TailChanged
            | Self::HeadChanged { .. }
            | Self::LastChunkChanged { .. } => {
                "put back what was there, or restore the disk from a backup: nothing was changed by this run"
            }
            Self::Stopped { .. } => {
                "run again with --resume; until then neither boot nor mount the disk"
            }
        }
    }
}
