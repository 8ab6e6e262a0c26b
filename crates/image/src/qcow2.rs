//! The disk in a qcow2 image: clusters that lie where two levels of tables say, compressed or not.
//! QEMU's `docs/interop/qcow2.txt`, versions 2 and 3; big-endian.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 4 | `QFI\xfb` |
//! | 4 | 4 | version, 2 or 3 |
//! | 8 | 8 | offset of the backing file's name, 0 for none |
//! | 16 | 4 | length of that name |
//! | 20 | 4 | cluster bits |
//! | 24 | 8 | size of the disk in bytes |
//! | 32 | 4 | encryption, 0 for none |
//! | 36 | 4 | entries of the L1 table |
//! | 40 | 8 | offset of the L1 table |
//! | 72 | 8 | incompatible features (version 3) |
//! | 100 | 4 | length of the header (version 3) |
//! | 104 | 1 | compression: 0 deflate, 1 zstd (by feature bit 3) |
//!
//! Behind the header are extensions ([`backing`] reads one of them).
//!
//! An entry of the L1 table is the offset of an L2 table, an entry of that the offset of a cluster (with bit 0, zeros)
//! or, with bit 62, offset and sectors of a compressed one. The L1 table is read at once and bounded; L2 tables are
//! read when they are needed. Internal snapshots are not looked at. Refused: encryption, a data file, extended L2
//! entries, dirty and corrupt images, and a backing file that nobody named.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::sync::Arc;

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::format::{BackingFile, BackingFormat, OpenDisk, SourceFormat, refuse};
use super::mapped::{Cache, Map, Mapped, Method, Place, Unit, damaged};
use super::{Error, Result};
use base::number::to_usize;
use base::storage::{self, ReadAt, check_range};

mod backing;

use self::backing::Backing;

pub(super) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Cluster bits that the format allows.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;

/// Entries of an L1 table at most: 32 MiB, as much as QEMU takes.
const MAX_L1_ENTRIES: u64 = 4 << 20;

/// Bytes of L2 tables that are kept.
const KEPT_TABLE_BYTES: usize = 16 << 20;

/// Bits 9 to 55 of an L1 or L2 entry: an offset in the file.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// Bit 62 of an L2 entry.
const COMPRESSED: u64 = 1 << 62;
/// Bit 0 of an L2 entry in version 3.
const ZERO: u64 = 1;

/// Incompatible features by their bit; the compression type is none that stops us.
const FEATURES: [&str; 5] = [
    "a dirty mark",
    "a corrupt mark",
    "a data file beside it",
    COMPRESSION_TYPE,
    "extended L2 entries",
];
const COMPRESSION_TYPE: &str = "a compression type";
const COMPRESSION_FEATURE: u64 = 1 << 3;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 4],
    version: U32,
    backing_file_offset: U64,
    backing_file_bytes: U32,
    cluster_bits: U32,
    disk_bytes: U64,
    encryption: U32,
    l1_entries: U32,
    l1_offset: U64,
    refcount_table_offset: U64,
    refcount_table_clusters: U32,
    snapshots: U32,
    snapshots_offset: U64,
    // From here on in version 3 only.
    incompatible_features: U64,
    compatible_features: U64,
    autoclear_features: U64,
    refcount_order: U32,
    length: U32,
    compression: u8,
}

/// Bytes of the header's fields in version 2.
const VERSION_2_BYTES: usize = 72;

/// Why a qcow2 image is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Qcow2Defect {
    /// Another version.
    #[error("it has version {0}; 2 and 3 are known")]
    Version(u32),
    /// Something that the image has and this reader cannot follow.
    #[error("it has {0}, which is not read")]
    Unsupported(&'static str),
    /// An incompatible feature without a name here.
    #[error("it has the incompatible features {0:#x}, which are not known")]
    UnknownFeatures(u64),
    /// Neither deflate nor zstd.
    #[error("its clusters are compressed by method {0}; 0 (deflate) and 1 (zstd) are known")]
    Compression(u8),
    /// The disk is a difference to another file's.
    #[error("it holds the changes to a backing file, \"{name}\"")]
    BackingFile {
        /// The name in the header, without control characters.
        name: String,
    },
    /// The file below the image is of a format that is not read there.
    #[error("its backing file is said to be of the format \"{format}\", which is not read")]
    BackingFormat {
        /// The name in the header, without control characters.
        format: String,
    },
    /// An extension of the header is longer than the room for them.
    #[error("an extension of its header at offset {offset_bytes} is longer than the header")]
    Extension {
        /// Where the extension begins.
        offset_bytes: u64,
    },
    /// Cluster size out of the format's bounds.
    #[error("it has 2^{0} bytes in a cluster; 2^9 to 2^21 are possible")]
    ClusterBits(u32),
    /// The disk is empty, or needs a longer L1 table than we take.
    #[error("it has a disk of {disk_bytes} bytes in clusters of {cluster_bytes}")]
    Size {
        /// As stored.
        disk_bytes: u64,
        /// Length of a cluster.
        cluster_bytes: u64,
    },
    /// The L1 table does not cover the disk.
    #[error("its L1 table has {entries} entries, its disk needs {needed}")]
    TableTooShort {
        /// Entries that there are.
        entries: u32,
        /// Entries that the size of the disk demands.
        needed: u64,
    },
    /// A structure does not lie in the file.
    #[error("its {what} at offset {offset_bytes} reaches beyond the end: it was cut off")]
    BeyondEnd {
        /// Which one.
        what: &'static str,
        /// Where it should be.
        offset_bytes: u64,
    },
    /// A cluster or table does not begin where clusters do.
    #[error("the cluster at {disk_offset_bytes} of the disk is said to lie where none can begin")]
    Unaligned {
        /// Where the cluster, or the first of its L2 table, lies in the disk.
        disk_offset_bytes: u64,
    },
}

impl From<Qcow2Defect> for Error {
    fn from(defect: Qcow2Defect) -> Self {
        Self::Qcow2 { defect }
    }
}

/// Opens the disk in a backing file, of the format that is stated, above those below it.
pub(super) type OpenBelow<'a> =
    &'a dyn Fn(&BackingFile, Option<BackingFormat>, &[BackingFile]) -> Result<OpenDisk>;

/// Opens the disk in a qcow2 image; the first of `below` is its backing file, which must be given where it has one.
pub(super) fn open(
    file: impl ReadAt + 'static,
    below: &[BackingFile],
    open_below: OpenBelow<'_>,
) -> Result<OpenDisk> {
    let header = read_header(&file)?;
    let backing = match (Backing::read(&file, &header)?, below) {
        (None, _) => {
            refuse(below)?;
            None
        }
        (Some(Backing { name, .. }), []) => return Err(Qcow2Defect::BackingFile { name }.into()),
        (Some(backing), [first, rest @ ..]) => Some(open_below(first, backing.format()?, rest)?),
    };
    let map = Tables::read(&file, &header)?;
    let (mut formats, mut warnings, mut disk) = (Vec::new(), Vec::new(), None);
    if let Some(opened) = backing {
        formats.push(opened.format);
        formats.extend(opened.below);
        warnings = opened.warnings;
        disk = Some(opened.disk);
    }
    Ok(OpenDisk {
        format: SourceFormat::Qcow2,
        disk: Box::new(Mapped::new(file, map, disk)),
        below: formats,
        warnings,
    })
}

/// The checked header; what version 2 does not have is 0.
fn read_header(file: &dyn ReadAt) -> Result<Header> {
    let mut bytes = [0; size_of::<Header>()];
    let (version_2, version_3) = bytes.split_at_mut(VERSION_2_BYTES);
    let cut = Qcow2Defect::BeyondEnd {
        what: "header",
        offset_bytes: 0,
    };
    if check_range(0, VERSION_2_BYTES, file.len_bytes()).is_err() {
        return Err(cut.into());
    }
    file.read_exact_at(version_2, 0)?;
    let version = version_2.get(4..).and_then(|rest| rest.first_chunk());
    match version.map_or(0, |version| u32::from_be_bytes(*version)) {
        2 => {}
        3 if check_range(0, size_of::<Header>(), file.len_bytes()).is_err() => {
            return Err(cut.into());
        }
        3 => file.read_exact_at(version_3, VERSION_2_BYTES as u64)?,
        other => return Err(Qcow2Defect::Version(other).into()),
    }
    let header: Header = zerocopy::transmute!(bytes);
    if header.magic != MAGIC {
        return Err(Qcow2Defect::Version(0).into());
    }
    if header.encryption.get() != 0 {
        return Err(Qcow2Defect::Unsupported("encryption").into());
    }
    let features = header.incompatible_features.get() & !COMPRESSION_FEATURE;
    if features != 0 {
        let named = FEATURES.get(to_usize(features.trailing_zeros().into()));
        let unknown = Qcow2Defect::UnknownFeatures(features);
        return Err(named
            .map_or(unknown, |name| Qcow2Defect::Unsupported(name))
            .into());
    }
    if !CLUSTER_BITS.contains(&header.cluster_bits.get()) {
        return Err(Qcow2Defect::ClusterBits(header.cluster_bits.get()).into());
    }
    Ok(header)
}

/// The method of compressed clusters.
fn method(header: &Header) -> Result<Method> {
    let has_it = header.incompatible_features.get() & COMPRESSION_FEATURE != 0;
    match header.compression {
        1 if has_it => Ok(Method::Zstd),
        other if has_it && other != 0 => Err(Qcow2Defect::Compression(other).into()),
        _ => Ok(Method::Deflate),
    }
}

/// The two levels of tables.
struct Tables {
    disk_bytes: u64,
    cluster_bits: u32,
    has_zero_flag: bool,
    method: Method,
    l1: Vec<u64>,
    l2: Cache<Vec<u64>>,
}

impl Tables {
    fn read(file: &dyn ReadAt, header: &Header) -> Result<Self> {
        let cluster_bits = header.cluster_bits.get();
        let cluster_bytes = power_of_two(cluster_bits);
        let disk_bytes = header.disk_bytes.get();
        let needed = disk_bytes.div_ceil(covered_bytes(cluster_bits));
        if disk_bytes == 0 || needed > MAX_L1_ENTRIES {
            let defect = Qcow2Defect::Size {
                disk_bytes,
                cluster_bytes,
            };
            return Err(defect.into());
        }
        let entries = header.l1_entries.get();
        if u64::from(entries) < needed {
            return Err(Qcow2Defect::TableTooShort { entries, needed }.into());
        }
        let offset_bytes = header.l1_offset.get();
        let length = to_usize(needed.saturating_mul(8));
        if check_range(offset_bytes, length, file.len_bytes()).is_err() {
            let what = "L1 table";
            return Err(Qcow2Defect::BeyondEnd { what, offset_bytes }.into());
        }
        let cluster = to_usize(cluster_bytes);
        Ok(Self {
            disk_bytes,
            cluster_bits,
            has_zero_flag: header.version.get() >= 3,
            method: method(header)?,
            l1: read_entries(file, offset_bytes, length)?,
            l2: Cache::new(KEPT_TABLE_BYTES.checked_div(cluster).unwrap_or(1)),
        })
    }

    fn cluster_bytes(&self) -> u64 {
        power_of_two(self.cluster_bits)
    }

    /// The L2 table of an L1 entry that is not 0.
    fn table(
        &self,
        file: &dyn ReadAt,
        entry: u64,
        disk_offset_bytes: u64,
    ) -> storage::Result<Arc<Vec<u64>>> {
        let offset_bytes = entry & OFFSET_MASK;
        if !offset_bytes.is_multiple_of(self.cluster_bytes()) {
            let defect = Qcow2Defect::Unaligned { disk_offset_bytes };
            return Err(damaged(offset_bytes, defect));
        }
        let length = to_usize(self.cluster_bytes());
        self.l2.get(offset_bytes, || {
            // Cut off or not, no length of the file's own is allocated: a cluster has 2 MiB at most.
            read_entries(file, offset_bytes, length)
        })
    }

    /// Where the cluster of an L2 entry lies.
    fn place(&self, entry: u64, disk_offset_bytes: u64) -> storage::Result<Place> {
        if entry & COMPRESSED != 0 {
            return Ok(Place::Packed {
                unit: self.compressed(entry),
                within_bytes: 0,
            });
        }
        if self.has_zero_flag && entry & ZERO != 0 {
            return Ok(Place::Hole);
        }
        match entry & OFFSET_MASK {
            0 => Ok(Place::Below),
            offset if offset.is_multiple_of(self.cluster_bytes()) => Ok(Place::At(offset)),
            offset => {
                let defect = Qcow2Defect::Unaligned { disk_offset_bytes };
                Err(damaged(offset, defect))
            }
        }
    }

    /// A compressed cluster: 62 - (cluster bits - 8) bits of offset, then how many sectors there are beyond the one
    /// that it begins in.
    fn compressed(&self, entry: u64) -> Unit {
        let offset_bits = 62_u32.saturating_sub(self.cluster_bits.saturating_sub(8));
        let bits = entry & COMPRESSED.saturating_sub(1);
        let offset_bytes = bits & power_of_two(offset_bits).saturating_sub(1);
        let sectors = bits.checked_shr(offset_bits).unwrap_or(0);
        // 2^13 sectors of 512 bytes at most.
        let packed_bytes = sectors
            .saturating_add(1)
            .saturating_mul(512)
            .saturating_sub(offset_bytes % 512);
        Unit {
            offset_bytes,
            packed_bytes: to_usize(packed_bytes),
            plain_bytes: to_usize(self.cluster_bytes()),
            method: self.method,
        }
    }
}

impl Map for Tables {
    fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    fn unit_bytes(&self) -> u64 {
        self.cluster_bytes()
    }

    fn locate(&self, file: &dyn ReadAt, offset_bytes: u64) -> storage::Result<(Place, u64)> {
        let covered = covered_bytes(self.cluster_bits);
        let within_table = offset_bytes & covered.saturating_sub(1);
        let table_start = offset_bytes.saturating_sub(within_table);
        let table_end = table_start.saturating_add(covered).min(self.disk_bytes);
        let index = offset_bytes.checked_div(covered).unwrap_or(0);
        let l1 = usize::try_from(index).ok();
        let entry = l1.and_then(|index| self.l1.get(index)).copied();
        let entry = entry.unwrap_or(0);
        if entry & OFFSET_MASK == 0 {
            return Ok((Place::Below, table_end));
        }
        let table = self.table(file, entry, table_start)?;
        let cluster_bytes = self.cluster_bytes();
        let within = offset_bytes & cluster_bytes.saturating_sub(1);
        let mut at = offset_bytes.saturating_sub(within);
        let first = within_table.checked_div(cluster_bytes).unwrap_or(0);
        let first = to_usize(first);
        let mut entries = table.iter().skip(first);
        let Some(entry) = entries.next() else {
            return Ok((Place::Below, table_end)); // never: tables are read in full
        };
        let place = self.place(*entry, at)?;
        // Clusters that follow in the same way are one piece; compressed ones stand alone.
        at = at.saturating_add(cluster_bytes);
        let mut run = cluster_bytes;
        for entry in entries {
            let next = match place {
                Place::Packed { .. } => break,
                Place::At(start) => Place::At(start.saturating_add(run)),
                zeros => zeros,
            };
            if at >= table_end || self.place(*entry, at).ok() != Some(next) {
                break;
            }
            at = at.saturating_add(cluster_bytes);
            run = run.saturating_add(cluster_bytes);
        }
        Ok((moved(place, within), at.min(self.disk_bytes)))
    }
}

/// The place of a byte that lies `within` bytes behind the beginning of a piece.
fn moved(place: Place, within: u64) -> Place {
    match place {
        Place::At(start) => Place::At(start.saturating_add(within)),
        Place::Packed { unit, within_bytes } => Place::Packed {
            unit,
            within_bytes: within_bytes.saturating_add(within),
        },
        zeros => zeros,
    }
}

fn power_of_two(bits: u32) -> u64 {
    1_u64.checked_shl(bits).unwrap_or(u64::MAX)
}

/// Bytes of the disk that an L2 table tells about: clusters times entries of 8 bytes in a cluster.
fn covered_bytes(cluster_bits: u32) -> u64 {
    power_of_two(cluster_bits.saturating_mul(2).saturating_sub(3))
}

fn read_entries(file: &dyn ReadAt, offset_bytes: u64, length: usize) -> storage::Result<Vec<u64>> {
    let bytes = file.read_vec(offset_bytes, length)?;
    let (entries, _) = bytes.as_chunks::<8>();
    Ok(entries
        .iter()
        .map(|&entry| u64::from_be_bytes(entry))
        .collect())
}

#[cfg(test)]
mod tests;
