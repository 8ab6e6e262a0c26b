//! Which partition is to be deployed, and how far it is.
//!
//! The answer is read off both header copies (LUKS2 On-Disk Format, section 3.1): the one that counts decides who opens
//! the volume, but the *losing* one may still hold the clear key, which no dump shows. That is an interrupted deploy.

use super::{Error, Step};
use crate::filesystem::Content;
use crate::gpt::{Partition, Table};
use crate::keyobject::reseal_token;
use crate::keyobject::systemd_tpm2::TOKEN_TYPE;
use crate::luks2::{self, ClearKeyToken, Header};
use crate::provision;
use crate::provision::content::PartitionContent;
use crate::provision::partitions::{self, Named, byte_range, window};
use crate::storage::{Overlay, ReadAt, WriteAt};

/// Label of the containers that `encrypt` makes.
pub use crate::provision::encrypt::LABEL;

/// A LUKS2 container in a partition.
pub struct Container {
    /// Its partition.
    pub partition: Partition,
    /// Where that lies in the disk, in bytes.
    pub range: std::ops::Range<u64>,
    /// Its header.
    pub header: Header,
    /// How far it is.
    pub state: State,
}

/// How far a container is.
pub enum State {
    /// The header that counts holds the clear key.
    NotDeployed {
        /// The key.
        clear_key: ClearKeyToken,
    },
    /// The header that counts holds no clear key, the other copy may.
    Interrupted,
    /// No copy holds a clear key, and both are the same.
    Deployed,
}

impl Container {
    /// Finds the container of a disk: in the partition that is named, else the only one that is worth deploying.
    pub fn find<S: ReadAt>(disk: &S, table: &Table, named: Option<Named>) -> Result<Self, Error> {
        if let Some(named) = named {
            let partition = partitions::by_guid(table, named.root)?;
            return Self::read(disk, table, partition)?.ok_or_else(|| none(table));
        }
        let mut found = Vec::new();
        let mut failed = None;
        for partition in table.partitions() {
            match Self::read(disk, table, partition) {
                Ok(container) => found.extend(container),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        // A container that is not deployed outranks the others, whatever their label.
        if found.iter().any(Self::is_not_deployed) {
            found.retain(Self::is_not_deployed);
        } else {
            found.retain(|container| container.is_labelled() || container.has_tpm2_token());
        }
        let several = Error::SeveralContainers {
            partitions: found.iter().map(|other| other.partition.number).collect(),
        };
        match (found.pop(), found.is_empty()) {
            (Some(container), true) => Ok(container),
            (Some(_), false) => Err(several),
            (None, _) => Err(failed.unwrap_or_else(|| none(table))),
        }
    }

    /// The container in a partition; `None` where there is none.
    fn read<S: ReadAt>(
        disk: &S,
        table: &Table,
        partition: Partition,
    ) -> Result<Option<Self>, Error> {
        let range = byte_range(&partition, table.sector_bytes());
        let storage = window(disk, &range)?;
        let number = partition.number;
        let header = match PartitionContent::of(&storage)? {
            PartitionContent::Container(header) => *header,
            PartitionContent::HalfConverted(_) => {
                return Err(provision::Error::HalfConverted { partition: number }.into());
            }
            PartitionContent::Damaged(error) => return Err(Error::container(number, error)),
            PartitionContent::Refused(Content::Ambiguous(found)) => {
                return Err(provision::Error::Ambiguous {
                    partition: number,
                    found,
                }
                .into());
            }
            PartitionContent::Refused(Content::Luks2SecondaryOnly) => {
                return Err(Error::LostPrimary { partition: number });
            }
            PartitionContent::Plain(_)
            | PartitionContent::Refused(_)
            | PartitionContent::Unknown => return Ok(None),
        };
        let state =
            State::of(&header).map_err(|error| Error::container(partition.number, error))?;
        Ok(Some(Self {
            partition,
            range,
            header,
            state,
        }))
    }

    fn is_not_deployed(&self) -> bool {
        matches!(self.state, State::NotDeployed { .. })
    }

    /// True where Ubuntu's initramfs finds it.
    pub fn is_labelled(&self) -> bool {
        self.header.current().label() == LABEL
    }

    /// True where systemd's reader finds a token of its own.
    pub fn has_tpm2_token(&self) -> bool {
        let mut tokens = self.header.metadata().tokens.iter();
        tokens.any(|token| token.kind == TOKEN_TYPE)
    }

    /// The keyslots of which the sealed key opens one, where it was being replaced and nobody knows how far that went.
    pub fn half_replaced(&self) -> Vec<u32> {
        reseal_token::keyslots(&self.header.metadata().tokens)
    }

    /// The container on `storage` with steps written.
    pub fn with<S: ReadAt>(&self, steps: &[Step], storage: S) -> Result<Overlay<S>, Error> {
        let built = Overlay::new(storage);
        for write in steps.iter().flat_map(|step| &step.writes) {
            if self.range.contains(&write.offset_bytes) {
                let offset_bytes = write.offset_bytes - self.range.start;
                let written = built.write_all_at(&write.bytes, offset_bytes);
                written.map_err(crate::provision::Error::Source)?;
            }
        }
        Ok(built)
    }

    /// The container as a storage of its own.
    pub fn window<S: ReadAt>(&self, disk: S) -> Result<crate::storage::Slice<S>, Error> {
        Ok(window(disk, &self.range)?)
    }
}

impl State {
    fn of(header: &Header) -> Result<Self, luks2::Error> {
        if let Some((_, clear_key)) = header.metadata().clear_key()? {
            return Ok(Self::NotDeployed { clear_key });
        }
        // Both copies are the same, or the other one is damaged or older: a damaged one may be a torn write.
        Ok(if header.warnings().is_empty() {
            Self::Deployed
        } else {
            Self::Interrupted
        })
    }
}

fn none(table: &Table) -> Error {
    Error::NoContainer {
        found: partitions::list(table.partitions()),
    }
}
