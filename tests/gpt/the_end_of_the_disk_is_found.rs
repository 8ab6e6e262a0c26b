//! A glance at a file tells where its disk ends, whatever hangs on behind.

use base::storage::MemoryStorage;
use gpt::disk_end_bytes;

use crate::{Disk, MIB, support};

fn end(bytes: &[u8]) -> Option<u64> {
    disk_end_bytes(&MemoryStorage::new(bytes.to_vec())).unwrap()
}

#[test]
fn by_the_primary_and_without_it_by_the_backup() {
    if !support::programs(&["sgdisk", "fdisk"]) {
        return;
    }
    let mut large = Disk::empty(16 * MIB);
    large.fdisk_4096("g\nn\n1\n\n\nw\n");
    let disk_bytes = Some(16 << 20);
    for (mut disk, sector) in [(Disk::by_sgdisk(), 512), (large, 4096)] {
        assert_eq!(end(&disk.bytes), disk_bytes);
        disk.bytes.extend_from_slice(&[0xaa; 512]);
        assert_eq!(end(&disk.bytes), disk_bytes);
        disk.put(sector, &[0; 8]);
        assert_eq!(end(&disk.bytes), disk_bytes);
        disk.bytes.truncate(16 * MIB);
        assert_eq!(end(&disk.bytes), disk_bytes);
        disk.put(16 * MIB - sector, &[0; 8]);
        assert_eq!(end(&disk.bytes), None);
    }
}

#[test]
fn a_header_without_its_checksum_is_still_a_hint() {
    if !support::programs(&["sgdisk"]) {
        return;
    }
    let mut disk = Disk::by_sgdisk();
    disk.put(512 + 16, &[0; 4]);
    assert_eq!(end(&disk.bytes[..MIB]), Some(16 << 20));
    disk.put(512 + 32, &[0xff; 8]);
    assert_eq!(end(&disk.bytes[..MIB]), None);
}

#[test]
fn nothing_is_found_where_there_is_nothing() {
    for len_bytes in [0, 1, 511, 512, 513, 1024, 4096, 8192, 8704] {
        assert_eq!(end(&vec![0; len_bytes]), None);
    }
}
