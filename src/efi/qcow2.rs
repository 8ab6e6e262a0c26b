//! A small reader of qcow2 images, for variable stores that libvirt and distributions keep in this form.
//! QEMU's `docs/interop/qcow2.txt`, versions 2 and 3; all integers are big-endian.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 4 | `QFI\xfb` |
//! | 4 | 4 | version, 2 or 3 |
//! | 8 | 8 | offset of the backing file's name, 0 for none |
//! | 20 | 4 | cluster bits |
//! | 24 | 8 | size of the disk in bytes |
//! | 32 | 4 | encryption, 0 for none |
//! | 36 | 4 | entries of the L1 table |
//! | 40 | 8 | offset of the L1 table |
//! | 72 | 8 | incompatible features (version 3) |
//!
//! Clusters that are not allocated, or flagged as zeros, read as zeros. Compressed clusters, backing files,
//! encryption, data files, extended L2 entries, images that are dirty or corrupt and disks of more than
//! 256 MiB are refused. [`Qcow2::open`] reads all of the mapping, so that later reads can only fail as the
//! file itself does.

#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::storage::{self, ReadAt, check_range};

const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Largest disk that is read. Bounds the mapping: 4 MiB at clusters of 512 bytes.
pub const MAX_DISK_BYTES: u64 = 256 << 20;

/// Cluster bits that the format allows.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;

/// Bits 9 to 55 of an L1 or L2 entry: an offset in the file.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// Bit 62 of an L2 entry.
const COMPRESSED: u64 = 1 << 62;
/// Bit 0 of an L2 entry in version 3.
const ZERO: u64 = 1;

/// Incompatible features by their bit.
const FEATURES: [&str; 5] = [
    "a dirty mark",
    "a corrupt mark",
    "a data file beside it",
    "a compression type",
    "extended L2 entries",
];

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
}

/// Bytes of the header's fields in version 2.
const VERSION_2_BYTES: usize = 72;

/// Why a qcow2 image is not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A table reaches behind the end of the file, or the file cannot be read.
    #[error("the qcow2 image is damaged: {0}")]
    Storage(#[from] storage::Error),
    /// Another version.
    #[error("the qcow2 image has version {0}; 2 and 3 are known")]
    Version(u32),
    /// Something that the image has and this reader cannot follow.
    #[error("the qcow2 image has {0}, which is not read here")]
    Unsupported(&'static str),
    /// An incompatible feature without a name here.
    #[error("the qcow2 image has the incompatible features {0:#x}, which are not known")]
    UnknownFeatures(u64),
    /// Cluster size out of the format's bounds.
    #[error("the qcow2 image has 2^{0} bytes in a cluster; 2^9 to 2^21 are possible")]
    ClusterBits(u32),
    /// A disk larger than [`MAX_DISK_BYTES`].
    #[error("the qcow2 image holds a disk of {0} bytes; a variable store has 256 MiB at most")]
    DiskTooLong(u64),
    /// The L1 table does not cover the disk.
    #[error("the qcow2 image has {entries} entries in its L1 table, its disk needs {needed}")]
    TableTooShort {
        /// Entries that there are.
        entries: u32,
        /// Entries that the size of the disk demands.
        needed: u64,
    },
    /// A cluster does not begin where clusters do.
    #[error(
        "the qcow2 image has the cluster at {disk_offset_bytes:#x} of its disk at offset {offset_bytes:#x} of the file, where no cluster begins"
    )]
    Unaligned {
        /// Where the cluster, or the first of its L2 table, lies in the disk.
        disk_offset_bytes: u64,
        /// Where it is said to lie in the file.
        offset_bytes: u64,
    },
}

/// The disk in a qcow2 image.
#[derive(Debug)]
pub struct Qcow2<S> {
    file: S,
    disk_bytes: u64,
    cluster_bytes: u64,
    /// Where each cluster of the disk lies in the file; `None` for zeros.
    clusters: Vec<Option<u64>>,
}

/// True where a file begins as a qcow2 image does.
pub fn is_qcow2(file: &dyn ReadAt) -> bool {
    file.read_vec(0, MAGIC.len())
        .is_ok_and(|start| start == MAGIC)
}

impl<S: ReadAt> Qcow2<S> {
    /// Checks the header and reads the mapping.
    pub fn open(file: S) -> Result<Self, Error> {
        let header = read_header(&file)?;
        let cluster_bytes = 1_u64
            .checked_shl(header.cluster_bits.get())
            .unwrap_or(u64::MAX);
        let clusters = read_mapping(&file, &header, cluster_bytes)?;
        Ok(Self {
            file,
            disk_bytes: header.disk_bytes.get(),
            cluster_bytes,
            clusters,
        })
    }
}

/// The checked header; what version 2 does not have is 0.
fn read_header(file: &dyn ReadAt) -> Result<Header, Error> {
    let mut bytes = [0; size_of::<Header>()];
    let (version_2, version_3) = bytes.split_at_mut(VERSION_2_BYTES);
    file.read_exact_at(version_2, 0)?;
    let version = version_2.get(4..).and_then(|rest| rest.first_chunk());
    match version.map_or(0, |version| u32::from_be_bytes(*version)) {
        2 => {}
        3 => file.read_exact_at(version_3, VERSION_2_BYTES as u64)?,
        other => return Err(Error::Version(other)),
    }
    let Ok(header) = Header::read_from_bytes(&bytes[..]) else {
        return Err(Error::Version(0)); // never: the lengths are equal
    };
    if header.backing_file_offset.get() != 0 {
        return Err(Error::Unsupported("a backing file"));
    }
    if header.encryption.get() != 0 {
        return Err(Error::Unsupported("encryption"));
    }
    let features = header.incompatible_features.get();
    if features != 0 {
        let named = FEATURES.get(usize::try_from(features.trailing_zeros()).unwrap_or(usize::MAX));
        return Err(named.map_or(Error::UnknownFeatures(features), |name| {
            Error::Unsupported(name)
        }));
    }
    if !CLUSTER_BITS.contains(&header.cluster_bits.get()) {
        return Err(Error::ClusterBits(header.cluster_bits.get()));
    }
    if header.disk_bytes.get() > MAX_DISK_BYTES {
        return Err(Error::DiskTooLong(header.disk_bytes.get()));
    }
    Ok(header)
}

/// Where each cluster of the disk lies in the file.
fn read_mapping(
    file: &dyn ReadAt,
    header: &Header,
    cluster_bytes: u64,
) -> Result<Vec<Option<u64>>, Error> {
    let cluster_count = header.disk_bytes.get().div_ceil(cluster_bytes);
    let l2_entries = (cluster_bytes / 8).max(1);
    let needed = cluster_count.div_ceil(l2_entries);
    if u64::from(header.l1_entries.get()) < needed {
        return Err(Error::TableTooShort {
            entries: header.l1_entries.get(),
            needed,
        });
    }
    // The size of the disk was checked, and so were `needed` and all that follows from it.
    let l1 = read_entries(file, header.l1_offset.get(), needed)?;
    let mut clusters = Vec::new();
    for l1_entry in l1 {
        let start = clusters.len() as u64;
        let wanted = cluster_count.saturating_sub(start).min(l2_entries);
        let table = l1_entry & OFFSET_MASK;
        let entries = match table {
            0 => vec![0; usize::try_from(wanted).unwrap_or_default()],
            _ => read_entries(file, aligned(table, start, cluster_bytes)?, wanted)?,
        };
        for (entry, index) in entries.into_iter().zip(start..) {
            if entry & COMPRESSED != 0 {
                return Err(Error::Unsupported("compressed clusters"));
            }
            let offset = entry & OFFSET_MASK;
            let is_zero = offset == 0 || header.version.get() == 3 && entry & ZERO != 0;
            clusters.push(if is_zero {
                None
            } else {
                Some(aligned(offset, index, cluster_bytes)?)
            });
        }
    }
    Ok(clusters)
}

/// `offset_bytes` of the file, where it is a multiple of the cluster size; `index` is the cluster of the disk
/// that lies there.
fn aligned(offset_bytes: u64, index: u64, cluster_bytes: u64) -> Result<u64, Error> {
    if offset_bytes.is_multiple_of(cluster_bytes) {
        return Ok(offset_bytes);
    }
    Err(Error::Unaligned {
        disk_offset_bytes: index.saturating_mul(cluster_bytes),
        offset_bytes,
    })
}

fn read_entries(file: &dyn ReadAt, offset_bytes: u64, count: u64) -> Result<Vec<u64>, Error> {
    let bytes = file.read_vec(
        offset_bytes,
        usize::try_from(count.saturating_mul(8)).unwrap_or(usize::MAX),
    )?;
    let entries = bytes
        .chunks_exact(8)
        .filter_map(|entry| entry.first_chunk().copied());
    Ok(entries.map(u64::from_be_bytes).collect())
}

impl<S: ReadAt> ReadAt for Qcow2<S> {
    fn len_bytes(&self) -> u64 {
        self.disk_bytes
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> storage::Result<()> {
        check_range(offset_bytes, buffer.len(), self.disk_bytes)?;
        let mut at = offset_bytes;
        let mut rest = buffer;
        while !rest.is_empty() {
            let inside = at.checked_rem(self.cluster_bytes).unwrap_or_default();
            let left = self.cluster_bytes.saturating_sub(inside);
            let count = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
            let (now, later) = rest.split_at_mut(count);
            let index = at.checked_div(self.cluster_bytes).unwrap_or_default();
            let cluster = usize::try_from(index)
                .ok()
                .and_then(|index| self.clusters.get(index));
            match cluster.copied().flatten() {
                // The last cluster of the file may be partial.
                Some(start) => self.read_cluster(now, start.saturating_add(inside))?,
                None => now.fill(0),
            }
            at = at.saturating_add(count as u64);
            rest = later;
        }
        Ok(())
    }
}

impl<S: ReadAt> Qcow2<S> {
    /// Reads a part of a cluster; what lies behind the end of the file is zeros, as QEMU has it.
    fn read_cluster(&self, buffer: &mut [u8], offset_bytes: u64) -> storage::Result<()> {
        let left = self.file.len_bytes().saturating_sub(offset_bytes);
        let count = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let (inside, behind) = buffer.split_at_mut(count);
        behind.fill(0);
        if inside.is_empty() {
            Ok(())
        } else {
            self.file.read_exact_at(inside, offset_bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    const CLUSTER: usize = 512;

    /// Version 3, 512-byte clusters: L1 at 1, L2 at 2, then data of 7 in the disk's cluster 1 of 3.
    fn image() -> Vec<u8> {
        let header = Header {
            magic: MAGIC,
            version: 3.into(),
            backing_file_offset: 0.into(),
            backing_file_bytes: 0.into(),
            cluster_bits: 9.into(),
            disk_bytes: (3 * 512 - 100).into(),
            encryption: 0.into(),
            l1_entries: 1.into(),
            l1_offset: 512.into(),
            refcount_table_offset: 0.into(),
            refcount_table_clusters: 0.into(),
            snapshots: 0.into(),
            snapshots_offset: 0.into(),
            incompatible_features: 0.into(),
        };
        let mut image = header.as_bytes().to_vec();
        image.resize(3 * CLUSTER, 0);
        image[CLUSTER..CLUSTER + 8].copy_from_slice(&((1 << 63) | (2 * 512_u64)).to_be_bytes());
        image[2 * CLUSTER + 8..][..8].copy_from_slice(&((1 << 63) | (3 * 512_u64)).to_be_bytes());
        image.resize(4 * CLUSTER, 7);
        image
    }

    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut image = image();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    }

    fn open(image: Vec<u8>) -> Result<Qcow2<MemoryStorage>, Error> {
        Qcow2::open(MemoryStorage::new(image))
    }

    fn message(at: usize, bytes: &[u8]) -> String {
        open(with(at, bytes)).unwrap_err().to_string()
    }

    #[test]
    fn clusters_are_found_and_missing_ones_are_zeros() {
        let disk = open(image()).unwrap();
        let expected = [vec![0; 512], vec![7; 512], vec![0; 412]].concat();
        assert_eq!(disk.read_vec(0, 1436).unwrap(), expected);
        assert_eq!(disk.read_vec(500, 600).unwrap(), expected[500..1100]);
        assert!(matches!(
            disk.read_vec(1000, 437),
            Err(storage::Error::BeyondEnd { .. })
        ));
        let mut cut = image();
        cut.truncate(3 * CLUSTER + 100);
        assert_eq!(open(cut).unwrap().read_vec(512, 101).unwrap()[99..], [7, 0]);
    }

    #[test]
    fn the_zero_flag_is_one_in_version_3_only() {
        let zero = ((1 << 63) | (3 * 512_u64) | 1).to_be_bytes();
        assert_eq!(
            open(with(2 * CLUSTER + 8, &zero))
                .unwrap()
                .read_vec(512, 1)
                .unwrap(),
            [0]
        );
        let mut version_2 = with(2 * CLUSTER + 8, &zero);
        version_2[7] = 2;
        version_2[72..80].fill(0xff); // header extensions begin here
        assert_eq!(open(version_2).unwrap().read_vec(512, 1).unwrap(), [7]);
    }

    #[test]
    fn what_is_not_followed_is_refused() {
        let unsupported = |what| format!("the qcow2 image has {what}, which is not read here");
        assert_eq!(
            message(7, &[4]),
            "the qcow2 image has version 4; 2 and 3 are known"
        );
        assert_eq!(message(8, &[1]), unsupported("a backing file"));
        assert_eq!(message(35, &[2]), unsupported("encryption"));
        for (bit, name) in FEATURES.iter().enumerate() {
            assert_eq!(message(79, &[1 << bit]), unsupported(name));
        }
        assert_eq!(
            message(79, &[0x20]),
            "the qcow2 image has the incompatible features 0x20, which are not known"
        );
        for bits in [0, 8, 22, 255] {
            assert_eq!(
                message(23, &[bits]),
                format!(
                    "the qcow2 image has 2^{bits} bytes in a cluster; 2^9 to 2^21 are possible"
                )
            );
        }
        assert_eq!(
            message(24, &(MAX_DISK_BYTES + 1).to_be_bytes()),
            "the qcow2 image holds a disk of 268435457 bytes; a variable store has 256 MiB at most"
        );
        assert_eq!(
            message(24, &(65 * 512_u64).to_be_bytes()),
            "the qcow2 image has 1 entries in its L1 table, its disk needs 2"
        );
        assert_eq!(
            message(2 * CLUSTER, &[0x40]),
            unsupported("compressed clusters")
        );
        assert_eq!(
            message(40, &u64::MAX.to_be_bytes()),
            "the qcow2 image is damaged: 8 bytes at offset 18446744073709551615 reach beyond the end at 2048"
        );
    }

    #[test]
    fn clusters_begin_at_multiples_of_their_size() {
        let mut image = image();
        image[23] = 10; // clusters of 1 KiB: the L2 table at 1024 is aligned, the cluster at 1536 is not
        assert_eq!(
            open(image).unwrap_err().to_string(),
            "the qcow2 image has the cluster at 0x400 of its disk at offset 0x600 of the file, where no cluster begins"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_disk_or_an_error(
            changes in proptest::collection::vec((0_usize..4 * CLUSTER, proptest::num::u8::ANY), 1..6),
            len in 0_usize..=4 * CLUSTER,
        ) {
            let mut image = image();
            for (at, byte) in changes {
                image[at] = byte;
            }
            image.truncate(len);
            if let Ok(disk) = open(image) {
                let _ = disk.read_vec(0, usize::try_from(disk.len_bytes().min(1 << 16)).unwrap());
            }
        }
    }
}
