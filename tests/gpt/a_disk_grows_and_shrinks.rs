//! After a change of size the backup ends the disk, everything follows, and nothing stale is left.

use base::storage::MemoryStorage;
use gpt::{Error, Warning};

use crate::{Disk, MIB, support};

#[test]
fn a_grown_disk_is_what_sgdisk_makes_of_it() {
    if !support::programs(&["sgdisk", "sfdisk"]) {
        return;
    }
    let mut ours = Disk::by_sgdisk();
    let mut table = ours.table();
    ours.bytes.resize(32 * MIB, 0);
    table.resize_disk(65536).unwrap();
    table.set_last_lba(1, table.last_usable_lba()).unwrap();
    assert_eq!(
        (table.alternate_lba(), table.last_usable_lba()),
        (65535, 65502)
    );
    ours.write(&table);
    ours.is_clean_for_sgdisk();
    assert!(ours.sfdisk_dump().contains("last-lba: 65502"));
    assert_eq!(ours.table().partition(1).unwrap().last_lba, 65502);

    // sgdisk's own way: relocate the backup, then delete partition 1 and make it again as it was.
    let mut theirs = Disk::by_sgdisk();
    theirs.bytes.resize(32 * MIB, 0);
    let before = Disk::by_sgdisk().table();
    let (root, esp, bios) = (
        before.partition(1),
        before.partition(15),
        before.partition(14),
    );
    let guids = [(1, root), (15, esp), (14, bios)].map(|(number, partition)| {
        format!(
            "--partition-guid={number}:{}",
            partition.unwrap().unique_guid
        )
    });
    theirs.sgdisk(&[
        "--move-second-header",
        "--delete=1",
        "--new=1:14336:65502",
        "--change-name=1:",
        "--attributes=1:set:59",
        "--attributes=1:set:2",
        &guids[0],
        &guids[1],
        &guids[2],
        &format!("--disk-guid={}", before.disk_guid()),
    ]);
    // sgdisk leaves the old backup where it was.
    let old_backup = 16 * MIB - 33 * 512;
    theirs.bytes[old_backup..16 * MIB].copy_from_slice(&ours.bytes[old_backup..16 * MIB]);
    assert!(ours.bytes == theirs.bytes);
}

#[test]
fn an_old_backup_is_cleared_outside_of_partitions_only() {
    if !support::programs(&["sgdisk"]) {
        return;
    }
    let mut disk = Disk::by_sgdisk();
    let mut table = disk.table();
    disk.bytes.resize(32 * MIB, 0);
    table.resize_disk(65536).unwrap();
    let old = disk.bytes[16 * MIB - 33 * 512..16 * MIB].to_vec();
    assert!(
        old.ends_with(&disk.bytes[16 * MIB - 512..16 * MIB])
            && old[..].iter().any(|byte| *byte != 0)
    );

    // Partition 1 ends in the middle of the old entries: what lies in it is its own.
    table.set_last_lba(1, 32740).unwrap();
    disk.write(&table);
    let border = 32741 * 512;
    let old_start = 16 * MIB - 33 * 512;
    assert!(disk.bytes[old_start..border] == old[..border - old_start]);
    assert!(disk.bytes[border..16 * MIB].iter().all(|byte| *byte == 0));
    disk.is_clean_for_sgdisk();
}

#[test]
fn an_image_that_truncate_has_enlarged_is_read_with_a_warning_and_mended_by_a_resize() {
    if !support::programs(&["sgdisk"]) {
        return;
    }
    let mut disk = Disk::by_sgdisk();
    disk.bytes.resize(20 * MIB, 0);
    let (mut table, warnings) = disk.read();
    assert_eq!(
        warnings,
        [Warning::BackupNotAtEnd {
            backup_lba: 32767,
            last_lba: 40959
        }]
    );
    assert_eq!(
        warnings[0].to_string(),
        "the backup partition table is at LBA 32767, not at the disk's last LBA 40959"
    );
    assert!(disk.verdict().contains("secondary header's self-pointer"));
    let before = disk.bytes.clone();
    disk.write(&table);
    assert!(disk.bytes == before);
    table.resize_disk(table.disk_sectors()).unwrap();
    disk.write(&table);
    disk.is_clean_for_sgdisk();
    assert_eq!(disk.table(), disk.table());
    assert!(!disk.bytes[512 * 32767..512 * 32768].starts_with(b"EFI PART"));
}

#[test]
fn a_disk_shrinks_as_far_as_its_partitions_allow() {
    if !support::programs(&["sgdisk", "sfdisk"]) {
        return;
    }
    let mut disk = Disk::by_sfdisk(
        16 * MIB,
        "label: gpt\nfirst-lba: 34\nstart=2048, size=2048\n",
    );
    let mut table = disk.table();
    assert_eq!(
        table.resize_disk(4096 + 32).unwrap_err().to_string(),
        "partition 1 (2048-4095) leaves the usable range 34-4094"
    );
    assert_eq!(
        table.resize_disk(67).unwrap_err().to_string(),
        "a disk of 67 sectors is too small for its partition table"
    );
    assert!(matches!(
        table.resize_disk(0),
        Err(Error::DiskTooSmall { sectors: 0 })
    ));
    assert_eq!(table, disk.table());
    table.resize_disk(4096 + 33).unwrap();
    disk.bytes.truncate((4096 + 33) * 512);
    disk.write(&table);
    disk.is_clean_for_sgdisk();
}

#[test]
fn a_partition_grows_up_to_its_neighbour_and_no_further() {
    if !support::programs(&["sgdisk"]) {
        return;
    }
    let mut disk = Disk::by_sgdisk();
    let mut table = disk.table();
    table.set_last_lba(15, 14335).unwrap();
    assert_eq!(
        table.set_last_lba(15, 14336).unwrap_err().to_string(),
        "partition 15 (4096-14336) overlaps partition 1 (14336-32734)"
    );
    assert_eq!(
        table.set_last_lba(15, 4095).unwrap_err().to_string(),
        "partition 15 ends at LBA 4095, before its start at LBA 4096"
    );
    assert_eq!(
        table.set_last_lba(3, 9).unwrap_err().to_string(),
        "there is no partition 3"
    );
    assert!(matches!(
        table.set_last_lba(1, 32735),
        Err(Error::OutsideUsable { .. })
    ));
    disk.write(&table);
    disk.is_clean_for_sgdisk();
    assert_eq!(disk.table().partition(15).unwrap().last_lba, 14335);
}

#[test]
fn the_stock_ubuntu_disk_keeps_its_habit_of_seven_mod_eight() {
    if !support::programs(&["sgdisk", "sfdisk"]) {
        return;
    }
    let folder = support::scratch();
    let path = folder.path().join("disk.img");
    std::fs::File::create_new(&path)
        .unwrap()
        .set_len(4_612_096 * 512)
        .unwrap();
    support::run(
        support::command("sgdisk")
            .args(["--new=1:227328:0"])
            .arg(&path),
    );
    let read_write = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let storage = base::storage::FileStorage::with_len(read_write, 4_644_864 * 512).unwrap();
    let (mut table, _) = gpt::Table::read(&storage).unwrap();
    assert_eq!(table.partition(1).unwrap().last_lba, 4_612_062);
    assert_eq!(table.last_usable_lba_for(4_644_864).unwrap(), 4_644_830);
    table.resize_disk(4_644_864).unwrap();
    table.set_last_lba(1, 4_644_830).unwrap();
    assert_eq!(table.partition(1).unwrap().sectors(), 4_417_503);
    table.write(&storage).unwrap();
    let verdict = support::run(support::command("sgdisk").arg("-v").arg(&path));
    assert!(verdict.contains("No problems found"), "{verdict}");
}

#[test]
fn a_small_table_keeps_the_distance_of_its_backup() {
    if !support::programs(&["sfdisk"]) {
        return;
    }
    let script = "label: gpt\ntable-length: 4\nstart=2048, size=2048\n";
    let mut disk = Disk::by_sfdisk(16 * MIB, script);
    let header = disk.backup();
    let distance = disk.u64_at(header + 24) - disk.u64_at(header + 72);
    let mut table = disk.table();
    table.resize_disk(40960).unwrap();
    disk.bytes.resize(20 * MIB, 0);
    disk.write(&table);
    let header = disk.backup();
    assert_eq!(
        disk.u64_at(header + 24) - disk.u64_at(header + 72),
        distance
    );
    disk.is_clean_for_sfdisk();
}

#[test]
fn a_table_is_not_written_to_a_disk_of_another_length() {
    if !support::programs(&["sfdisk"]) {
        return;
    }
    let disk = Disk::by_sgdisk();
    let other = MemoryStorage::new(vec![0; 15 * MIB]);
    assert_eq!(
        disk.table().write(&other).unwrap_err().to_string(),
        "the partition table is for 16777216 bytes, the disk has 15728640"
    );
}
