//! What a partition is: the one answer that `encrypt`, `encrypt --in-place`, `--resume`, `deploy`, `provision` and
//! `inspect` have. Nobody reads the LUKS2 header of a partition but through it.
//!
//! | what is found, the first that fits | what the partition is |
//! | --- | --- |
//! | the signature of a filesystem or of LVM, and no primary LUKS magic number | plain, whatever lies in blocks that it does not use |
//! | a header with the mark of `encrypt --in-place`, its primary copy whole, or the mark that of the record | half converted |
//! | a record, and no header whose primary copy is whole | half converted: what the record says counts |
//! | a primary LUKS magic number and the signature of something else | ambiguous |
//! | a LUKS2 header: a valid copy, and where the primary is damaged, its remains | a container |
//! | a secondary copy without a trace of a primary | a container that lost its header, or the leftover of one |
//! | anything else | unknown |
//!
//! cryptsetup 2.6.1 takes a valid secondary wherever libblkid finds no other signature, and writes the primary again.
//! This is stricter: without the primary's magic number nothing is written.

use crate::common::half_converted::{Mark, Record, is_half_converted};
use crate::common::partitions::{byte_range, window};
use crate::{Error, RootContent};
use base::storage::ReadAt;
use gpt::{Partition, Table};
use luks2::{self, Header};
use probe::{Content, OnlyLuks2};

/// Label of the container under the profile `ubuntu`: the guest's initramfs finds the volume by it.
pub const LABEL: &str = "cloudimg-rootfs-enc";

/// What a partition is.
pub enum PartitionContent {
    /// Not encrypted: what its signature says.
    Plain(Plain),
    /// A LUKS2 container.
    Container(Box<Header>),
    /// `encrypt --in-place` did not come to its end.
    HalfConverted(HalfConverted),
    /// It begins as a LUKS2 container does, and has no header that is taken.
    Damaged(luks2::Error),
    /// A container that is not worked on, or what may be one: LUKS1, several signatures, a secondary header alone.
    Refused(Content),
    /// Nothing that is recognised.
    Unknown,
}

/// A partition that is not encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// What it holds.
    pub content: Content,
    /// Where copies of the LUKS2 header of an earlier container lie in it, in bytes from its start.
    pub old_copies: Vec<u64>,
}

/// How far a conversion in place is known to be.
pub enum HalfConverted {
    /// A header says it: the mark in it, or nothing where it cannot be read.
    Marked(Box<Header>, Option<Mark>),
    /// The header is not whole: what the record says counts.
    Recorded(Box<Record>),
}

impl PartitionContent {
    /// Looks at the partition that `partition` is.
    pub fn of(partition: &dyn ReadAt) -> Result<Self, Error> {
        let content = probe::probe(partition).map_err(Error::Source)?;
        if !content.is_encrypted() && content != Content::Unknown {
            let old_copies = probe::old_copies(partition).map_err(Error::Source)?;
            return Ok(Self::Plain(Plain {
                content,
                old_copies,
            }));
        }
        let record = Record::read(partition)?;
        let only_luks2 = OnlyLuks2::check(partition).map_err(Error::Source)?;
        let header = match only_luks2.map(Header::read) {
            Some(Err(luks2::Error::Storage(error))) => return Err(Error::Source(error)),
            header => header,
        };
        Ok(match (header, record) {
            (Some(Ok(header)), record) => Self::of_header(header, record),
            // What another program put over a conversion that was never resumed is what is there now.
            (_, Some(record)) if !matches!(content, Content::Luks1 | Content::LuksOther) => {
                Self::HalfConverted(HalfConverted::Recorded(Box::new(record)))
            }
            (Some(Err(error)), _) => Self::Damaged(error),
            (None, _) if content == Content::Unknown => Self::Unknown,
            (None, _) => Self::Refused(content),
        })
    }

    fn of_header(header: Header, record: Option<Record>) -> Self {
        let is_marked = is_half_converted(header.metadata());
        let mark = Mark::of(header.metadata()).map(|(_, mark)| mark);
        // A secondary alone may be of another conversion, or of an earlier container.
        let is_of =
            |record: &Record| is_marked && mark.is_some_and(|mark| mark.facts == record.facts);
        match record.filter(|record| header.is_primary_torn() && !is_of(record)) {
            Some(record) => Self::HalfConverted(HalfConverted::Recorded(Box::new(record))),
            None if is_marked => Self::HalfConverted(HalfConverted::Marked(Box::new(header), mark)),
            None => Self::Container(Box::new(header)),
        }
    }

    /// The plain ext4 filesystem that partition `number` holds, or why it is not encrypted.
    pub fn plain_ext4(self, number: u32) -> Result<Plain, Error> {
        match self {
            Self::Plain(plain) if plain.content == Content::Ext => Ok(plain),
            Self::HalfConverted(_) => Err(Error::HalfConverted { partition: number }),
            Self::Refused(Content::Ambiguous(found))
            | Self::Plain(Plain {
                content: Content::Ambiguous(found),
                ..
            }) => Err(Error::Ambiguous {
                partition: number,
                found,
            }),
            Self::Container(header) if matches!(header.metadata().clear_key(), Ok(Some(_))) => {
                Err(Error::NotPlainExt4(RootContent::NotDeployed))
            }
            other => {
                let content = other.content();
                Err(Error::NotPlainExt4(if content.is_encrypted() {
                    RootContent::Encrypted(content)
                } else {
                    RootContent::Other(content)
                }))
            }
        }
    }

    /// What its signatures say.
    pub fn content(&self) -> Content {
        match self {
            Self::Plain(plain) => plain.content,
            Self::Container(_) | Self::HalfConverted(_) | Self::Damaged(_) => Content::Luks2,
            Self::Refused(content) => *content,
            Self::Unknown => Content::Unknown,
        }
    }
}

/// What is said of containers of `encrypt` in partitions that are not the root, which a guest may take for it.
pub fn other_containers<S: ReadAt>(
    disk: &S,
    table: &Table,
    root: &Partition,
) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for partition in table.partitions() {
        let number = partition.number;
        if number == root.number {
            continue;
        }
        let range = byte_range(&partition, table.sector_bytes());
        let is_of_encrypt = match PartitionContent::of(&window(disk, &range)?)? {
            PartitionContent::Container(header) => {
                header.current().label() == LABEL
                    || matches!(header.metadata().clear_key(), Ok(Some(_)))
            }
            PartitionContent::HalfConverted(_) => true,
            _ => false,
        };
        if is_of_encrypt {
            warnings.push(format!(
                "partition {number} holds a container of encrypt as well, which may be left over from what the disk was before: a guest may take it for its root"
            ));
        }
    }
    Ok(warnings)
}

/// Where copies of a header lie, in words; `None` where there is none.
pub fn places(old_copies: &[u64]) -> Option<String> {
    let places: Vec<String> = old_copies.iter().map(|at| format!("{at:#x}")).collect();
    let (last, others) = places.split_last()?;
    Some(if others.is_empty() {
        format!("a copy of a LUKS2 header at {last} bytes from its start")
    } else {
        let others = others.join(", ");
        format!("copies of a LUKS2 header at {others} and {last} bytes from its start")
    })
}
