//! Images of a few clusters, made by hand: what qemu-img does not write. Its own are read in `tests/image`.

use super::*;
use crate::open_qcow2;
use base::storage::MemoryStorage;

const CLUSTER: usize = 512;

/// Version 3, 512-byte clusters: L1 at 1, L2 at 2, then data of 7 in the disk's cluster 1 of 3.
fn image() -> Vec<u8> {
    let mut image = vec![0; 3 * CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC);
    put(4, &3_u32.to_be_bytes());
    put(20, &9_u32.to_be_bytes());
    put(24, &(3 * 512 - 100_u64).to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &512_u64.to_be_bytes());
    put(100, &105_u32.to_be_bytes());
    put(CLUSTER, &((1 << 63) | (2 * 512_u64)).to_be_bytes());
    put(2 * CLUSTER + 8, &((1 << 63) | (3 * 512_u64)).to_be_bytes());
    image.resize(4 * CLUSTER, 7);
    image
}

fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = image();
    image[at..at + bytes.len()].copy_from_slice(bytes);
    image
}

fn open(image: Vec<u8>) -> Box<dyn ReadAt> {
    open_qcow2(MemoryStorage::new(image)).unwrap().unwrap()
}

#[test]
fn clusters_are_found_and_missing_ones_are_zeros() {
    let disk = open(image());
    let expected = [vec![0; 512], vec![7; 512], vec![0; 412]].concat();
    assert_eq!(disk.read_vec(0, 1436).unwrap(), expected);
    assert_eq!(disk.read_vec(500, 600).unwrap(), expected[500..1100]);
    assert_eq!(disk.next_data(0).unwrap(), Some(512..1024));
    assert!(matches!(
        disk.read_vec(1000, 437),
        Err(storage::Error::BeyondEnd { .. })
    ));
    let mut cut = image();
    cut.truncate(3 * CLUSTER + 100);
    assert_eq!(open(cut).read_vec(512, 101).unwrap()[99..], [7, 0]);
}

#[test]
fn the_zero_flag_is_one_in_version_3_only() {
    let zero = ((1 << 63) | (3 * 512_u64) | 1).to_be_bytes();
    let mut image = with(2 * CLUSTER + 8, &zero);
    assert_eq!(open(image.clone()).read_vec(512, 1).unwrap(), [0]);
    image[7] = 2;
    image[72..80].fill(0xff); // header extensions begin here
    assert_eq!(open(image).read_vec(512, 1).unwrap(), [7]);
}

#[test]
fn clusters_begin_at_multiples_of_their_size() {
    let mut image = image();
    image[23] = 10; // clusters of 1 KiB: the L2 table at 1024 is aligned, the cluster at 1536 is not
    let error = open(image).read_vec(1024, 1).unwrap_err();
    assert_eq!(
        error.io().unwrap().to_string(),
        "the cluster at 1024 of the disk is said to lie where none can begin"
    );
}

#[test]
fn what_does_not_begin_as_one_is_none() {
    for bytes in [&[][..], b"QFI", b"QFI\xfa\0\0\0\x03", &[0; 4096]] {
        let file = MemoryStorage::new(bytes.to_vec());
        assert!(open_qcow2(file).unwrap().is_none());
    }
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
        if let Ok(Some(disk)) = open_qcow2(MemoryStorage::new(image)) {
            let length = usize::try_from(disk.len_bytes().min(1 << 16)).unwrap();
            let _ = disk.read_vec(0, length);
            let _ = disk.next_data(0);
        }
    }
}
