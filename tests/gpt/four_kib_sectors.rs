//! Disks of 4096-byte sectors, made and judged by fdisk.

use gpt::Warning;

use crate::{Disk, MIB, support};

fn by_fdisk() -> Disk {
    let mut disk = Disk::empty(16 * MIB);
    disk.fdisk_4096("g\nn\n15\n\n+2M\nn\n1\n\n\nw\n");
    disk
}

#[track_caller]
fn is_clean(disk: &mut Disk) {
    let verdict = disk.fdisk_4096("v\nq\n");
    assert!(verdict.contains("No errors detected."), "{verdict}");
    assert!(
        !verdict.contains("corrupt") && !verdict.contains("mismatch"),
        "{verdict}"
    );
}

#[test]
fn a_table_of_fdisk_is_written_back_bit_for_bit() {
    if !support::programs(&["fdisk"]) {
        return;
    }
    let mut disk = by_fdisk();
    let before = disk.bytes.clone();
    let table = disk.table();
    assert_eq!((table.sector_bytes(), table.disk_sectors()), (4096, 4096));
    assert_eq!(table.partition(15).unwrap().sectors(), 512);
    disk.write(&table);
    assert!(disk.bytes == before);
}

#[test]
fn a_grown_disk_has_its_backup_in_the_last_five_sectors() {
    if !support::programs(&["fdisk"]) {
        return;
    }
    let mut disk = by_fdisk();
    let mut table = disk.table();
    assert_eq!(table.last_usable_lba_for(16384).unwrap(), 16378);
    disk.bytes.resize(64 * MIB, 0);
    table.resize_disk(16384).unwrap();
    table.set_last_lba(1, 16378).unwrap();
    disk.write(&table);
    assert_eq!(disk.u64_at(64 * MIB - 4096 + 72), 16379);
    is_clean(&mut disk);
    let list = disk.fdisk_4096("p\nq\n");
    assert!(list.contains("disk.img1    768 16378   15611"), "{list}");
}

#[test]
fn a_damaged_copy_is_replaced() {
    if !support::programs(&["fdisk"]) {
        return;
    }
    let whole = by_fdisk();
    for header in [4096, 16 * MIB - 4096] {
        let mut disk = Disk::empty(0);
        disk.bytes.clone_from(&whole.bytes);
        disk.put(header, b"nothing ");
        let (table, warnings) = disk.read();
        assert!(matches!(warnings[..], [Warning::DamagedCopy { .. }]));
        disk.write(&table);
        assert!(disk.bytes == whole.bytes);
        is_clean(&mut disk);
    }
}

#[test]
fn a_rest_of_less_than_a_sector_is_named_and_left_alone() {
    if !support::programs(&["fdisk"]) {
        return;
    }
    let mut disk = by_fdisk();
    disk.bytes.extend_from_slice(&[7; 512]);
    let before = disk.bytes.clone();
    let (table, warnings) = disk.read();
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["the last 512 bytes of the disk are less than a sector of 4096 bytes"]
    );
    disk.write(&table);
    assert!(disk.bytes == before);
}

#[test]
fn the_old_table_for_512_bytes_that_lies_beneath_is_passed_over() {
    if !support::programs(&["fdisk", "sgdisk"]) {
        return;
    }
    // A disk that was partitioned for 512-byte sectors before: the old header at 512 stays, its entries do not.
    let old = Disk::by_sgdisk();
    let mut disk = by_fdisk();
    disk.put(512, &old.bytes[512..4096]);
    assert_eq!(disk.table().sector_bytes(), 4096);
}
