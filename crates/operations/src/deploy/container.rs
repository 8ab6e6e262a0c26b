//! Which partition is to be deployed, and how far it is.
//!
//! The answer is read off both header copies (LUKS2 On-Disk Format, section 3.1): the one that counts decides who opens
//! the volume, but the *losing* one may still hold the clear key, which no dump shows. That is an interrupted deploy.

use super::error::Error;
use super::step::Step;
use crate::common::content::PartitionContent;
use crate::common::partitions::{self, Named, byte_range, window};
use base::storage::{Overlay, ReadAt, WriteAt};
use gpt::{Partition, Table};
use keyobject::reseal_token;
use keyobject::systemd_tpm2::TOKEN_TYPE;
use luks2::{self, ClearKeyToken, Header};
use probe::Content;

/// Label of the containers that `encrypt` makes.
pub use crate::common::content::LABEL;

/// A container, and the storage of its partition; of the segment nothing is read.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    /// The container.
    pub container: &'a Container,
    /// Its partition.
    pub storage: &'a dyn ReadAt,
}

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
    /// The number of another partition with a container of an image that was deployed.
    pub deployed_elsewhere: Option<u32>,
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
    /// Finds the container of the root: of the partition that is named, or has the type of one, as for `encrypt`. A
    /// container of `encrypt` that a disk's past has left in another partition is never taken for it; where no
    /// partition has the type, or several, the only such container is.
    pub fn find<S: ReadAt>(disk: &S, table: &Table, named: Option<Named>) -> Result<Self, Error> {
        let root = match partitions::choose_root(table, named) {
            Err(crate::Error::NoPartition { .. }) => None,
            Err(error) if named.is_some() => return Err(error.into()),
            root => Some(root),
        };
        let is_root = |number| matches!(&root, Some(Ok(root)) if root.number == number);
        let mut of_root = None;
        let mut others = Vec::new();
        let mut failed = None;
        for partition in table.partitions() {
            let is_root = is_root(partition.number);
            match Self::read(disk, table, partition) {
                Ok(Some(container)) if is_root => of_root = Some(container),
                Ok(Some(container)) if container.is_of_encrypt() => others.push(container),
                Ok(_) => {}
                Err(error) if is_root => return Err(error),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if named.is_some() {
            let container = of_root.ok_or_else(|| none(table))?;
            let deployed_elsewhere = others.iter().find_map(Self::deployed_for_ubuntu);
            return Ok(Self {
                deployed_elsewhere,
                ..container
            });
        }
        others.extend(of_root.filter(Self::is_of_encrypt));
        let mut partitions: Vec<_> = others.iter().map(|other| other.partition.number).collect();
        partitions.sort_unstable();
        match (others.pop(), root) {
            (None, _) => Err(failed.unwrap_or_else(|| none(table))),
            (Some(_), _) if !others.is_empty() => Err(Error::SeveralContainers { partitions }),
            (Some(container), Some(Ok(root))) if container.partition.number != root.number => {
                Err(Error::NotTheRoot {
                    root: root.number,
                    partition: container.partition.number,
                })
            }
            (Some(_), Some(Err(error))) => Err(error.into()),
            (Some(container), _) => Ok(container),
        }
    }

    /// True where `encrypt` may have made it: it is not deployed, or a reader finds it as the root.
    fn is_of_encrypt(&self) -> bool {
        let is_deployed = !matches!(self.state, State::NotDeployed { .. });
        !is_deployed || self.is_labelled() || self.has_tpm2_token()
    }

    /// Its partition's number where a sealed key on the EFI system partition may belong to it.
    fn deployed_for_ubuntu(&self) -> Option<u32> {
        let is_deployed = !matches!(self.state, State::NotDeployed { .. });
        (is_deployed && self.is_labelled()).then_some(self.partition.number)
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
                return Err(crate::Error::HalfConverted { partition: number }.into());
            }
            PartitionContent::Damaged(error) => return Err(Error::container(number, error)),
            PartitionContent::Refused(Content::Ambiguous(found)) => {
                return Err(crate::Error::Ambiguous {
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
            deployed_elsewhere: None,
        }))
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
                written.map_err(crate::Error::Source)?;
            }
        }
        Ok(built)
    }

    /// The container as a storage of its own.
    pub fn window<S: ReadAt>(&self, disk: S) -> Result<base::storage::Slice<S>, Error> {
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
