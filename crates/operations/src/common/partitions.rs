//! Which partition is the root, and which the EFI system partition.

use std::ops::Range;

use uuid::Uuid;

use crate::Error;
use base::storage::{ReadAt, Slice};
use gpt::{self, Partition, Table};

/// The two partitions that the use cases work on.
#[derive(Debug, Clone)]
pub struct RootAndEsp {
    /// The root partition.
    pub root: Partition,
    /// The EFI system partition.
    pub esp: Partition,
}

/// The unique GUIDs of the root and of the EFI system partition, where the operator names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// `--root-partition-uuid`.
    pub root: Uuid,
    /// `--efi-partition-uuid`.
    pub esp: Uuid,
}

/// Finds both partitions: those that are named, else the only ones of their types.
pub fn choose(table: &Table, named: Option<Named>) -> Result<RootAndEsp, Error> {
    Ok(RootAndEsp {
        root: choose_root(table, named)?,
        esp: choose_esp(table, named.map(|named| named.esp))?,
    })
}

/// Finds the root partition: the one that is named, else the only one of its types.
pub fn choose_root(table: &Table, named: Option<Named>) -> Result<Partition, Error> {
    match named {
        Some(named) if named.root == named.esp => {
            Err(Error::SamePartitionNamed { guid: named.root })
        }
        Some(named) => by_guid(table, named.root),
        None => only(table, "root", is_root_type),
    }
}

/// Finds the EFI system partition: the one that is named, else the only one of its type.
pub fn choose_esp(table: &Table, named: Option<Uuid>) -> Result<Partition, Error> {
    match named {
        Some(guid) => by_guid(table, guid),
        None => only(table, "EFI system", |kind| kind == gpt::types::EFI_SYSTEM),
    }
}

/// Where a partition lies, in bytes.
pub fn byte_range(partition: &Partition, sector_bytes: u64) -> Range<u64> {
    partition.first_lba * sector_bytes..(partition.last_lba + 1) * sector_bytes
}

/// A partition as a storage of its own.
pub fn window<S: ReadAt>(disk: S, partition: &Range<u64>) -> Result<Slice<S>, Error> {
    Slice::new(disk, partition.start, partition.end - partition.start).map_err(Error::Source)
}

/// The types that a root partition has: Ubuntu's, and those of the Discoverable Partitions Specification.
fn is_root_type(kind: Uuid) -> bool {
    use gpt::types::{LINUX_FILESYSTEM, LINUX_ROOT_ARM64, LINUX_ROOT_X86_64};
    [LINUX_FILESYSTEM, LINUX_ROOT_X86_64, LINUX_ROOT_ARM64].contains(&kind)
}

fn type_name(kind: Uuid) -> String {
    gpt::types::type_name(kind).map_or_else(|| kind.to_string(), str::to_owned)
}

/// The partition with a unique GUID; several with one are a table that tells nobody which is meant.
pub fn by_guid(table: &Table, guid: Uuid) -> Result<Partition, Error> {
    let named = || {
        let partitions = table.partitions();
        partitions.filter(|partition| partition.unique_guid == guid)
    };
    match (named().next(), named().nth(1)) {
        (Some(partition), None) => Ok(partition),
        (Some(_), Some(_)) => Err(Error::SeveralPartitionsNamed {
            guid,
            found: list(named()),
        }),
        (None, _) => Err(Error::NamedPartitionMissing {
            guid,
            found: list(table.partitions()),
        }),
    }
}

fn only(table: &Table, role: &'static str, is: impl Fn(Uuid) -> bool) -> Result<Partition, Error> {
    let mut candidates: Vec<_> = table
        .partitions()
        .filter(|partition| is(partition.type_guid))
        .collect();
    match (candidates.pop(), candidates.is_empty()) {
        (Some(partition), true) => Ok(partition),
        (Some(last), false) => Err(Error::SeveralPartitions {
            role,
            found: list(candidates.into_iter().chain([last])),
        }),
        (None, _) => Err(Error::NoPartition {
            role,
            found: list(table.partitions()),
        }),
    }
}

/// The partitions in one line, each with what identifies it.
pub fn list(partitions: impl Iterator<Item = Partition>) -> String {
    let words: Vec<_> = partitions
        .map(|partition| {
            format!(
                "{} ({}, {})",
                partition.number,
                type_name(partition.type_guid),
                partition.unique_guid
            )
        })
        .collect();
    if words.is_empty() {
        "none at all".to_owned()
    } else {
        words.join(", ")
    }
}
