//! What cannot be helped is refused, in words that say what and where.

use crate::{Disk, MIB, support};

#[track_caller]
fn refuses(damage: impl FnOnce(&mut Disk), message: &str) {
    if !support::programs(&["sgdisk"]) {
        return;
    }
    let mut disk = Disk::by_sgdisk();
    damage(&mut disk);
    assert_eq!(disk.refusal(), message);
}

const NO_TABLE: &str = "there is no GUID partition table, with sectors of 512 or of 4096 bytes";

#[test]
fn a_disk_without_a_table() {
    for len_bytes in [0, 1, 511, 512, 1024, 4096, MIB] {
        assert_eq!(Disk::empty(len_bytes).refusal(), NO_TABLE);
    }
    let mut noise = Disk::empty(64 * 1024);
    for (index, byte) in noise.bytes.iter_mut().enumerate() {
        *byte = u8::try_from(index * index % 251).unwrap();
    }
    assert_eq!(noise.refusal(), NO_TABLE);
}

#[test]
fn a_disk_with_an_mbr_table_alone() {
    if !support::programs(&["sfdisk"]) {
        return;
    }
    let disk = Disk::by_sfdisk(4 * MIB, "label: dos\nstart=2048, type=83\n");
    assert_eq!(
        disk.refusal(),
        "the disk has an MBR partition table, and no GUID partition table"
    );
}

#[test]
fn both_copies_damaged() {
    refuses(
        |disk| {
            let backup = disk.backup();
            disk.put(512 + 12, &[91]);
            disk.put(backup, &[0]);
        },
        "both partition tables are damaged; the primary: header size 91 is not between 92 and 512; \
         the backup: no header at LBA 32767",
    );
}

#[test]
fn a_truncated_disk() {
    refuses(
        |disk| disk.bytes.truncate(15 * MIB),
        "the disk is truncated: its partition table describes 32768 sectors of 512 bytes, 30720 are there",
    );
    refuses(
        |disk| disk.bytes.truncate(16 * MIB - 1),
        "the disk is truncated: its partition table describes 32768 sectors of 512 bytes, 32767 are there",
    );
}

#[test]
fn partitions_that_overlap() {
    refuses(
        |disk| disk.put_in_entry(15, 40, &14336_u64.to_le_bytes()),
        "partition 15 (4096-14336) overlaps partition 1 (14336-32734)",
    );
    refuses(
        |disk| disk.put_in_entry(14, 40, &4096_u64.to_le_bytes()),
        "partition 14 (2048-4096) overlaps partition 15 (4096-12287)",
    );
}

#[test]
fn a_partition_that_ends_before_it_starts() {
    refuses(
        |disk| disk.put_in_entry(15, 40, &4095_u64.to_le_bytes()),
        "partition 15 ends at LBA 4095, before its start at LBA 4096",
    );
}

#[test]
fn a_partition_that_leaves_the_usable_range() {
    refuses(
        |disk| disk.put_in_entry(1, 40, &32735_u64.to_le_bytes()),
        "partition 1 (14336-32735) leaves the usable range 34-32734",
    );
    refuses(
        |disk| disk.put_in_entry(14, 32, &33_u64.to_le_bytes()),
        "partition 14 (33-4095) leaves the usable range 34-32734",
    );
    refuses(
        |disk| disk.put_in_entry(1, 40, &[0xff; 8]),
        "partition 1 (14336-18446744073709551615) leaves the usable range 34-32734",
    );
}

#[test]
fn no_protective_mbr() {
    let message = "LBA 0 holds no protective MBR (an entry of type 0xEE that starts at LBA 1)";
    refuses(|disk| disk.put(450, &[0x83]), message);
    refuses(|disk| disk.put(454, &[2]), message);
    refuses(|disk| disk.put(510, &[0]), message);
    refuses(|disk| disk.put(0, &[0; 512]), message);
}

#[test]
fn tables_for_both_sector_sizes() {
    if !support::programs(&["sfdisk", "fdisk"]) {
        return;
    }
    // Eight entries end at 2048, before a header for 4096-byte sectors: both tables can be whole.
    let script = "label: gpt\ntable-length: 8\nstart=2048, size=2048\n";
    let mut small = Disk::by_sfdisk(16 * MIB, script);
    let mut large = Disk::empty(16 * MIB);
    large.fdisk_4096("g\nn\n1\n\n\nw\n");
    small.put(4096, &large.bytes[4096..8192]);
    let entries = usize::try_from(large.u64_at(4096 + 72)).unwrap() * 4096;
    small.put(entries, &large.bytes[entries..entries + 16384]);
    assert_eq!(
        small.refusal(),
        "there are two partition tables, one for sectors of 512 bytes and one for 4096 bytes"
    );
}

#[test]
fn a_copy_for_which_there_is_no_room() {
    refuses(
        |disk| {
            // The backup is gone, and the primary lets partitions use the sectors where it would be.
            disk.put_in_entry(1, 40, &20000_u64.to_le_bytes());
            disk.put(512 + 48, &32750_u64.to_le_bytes());
            disk.put(512 + 40, &40_u64.to_le_bytes());
            disk.seal(512, 512);
            let backup = disk.backup();
            disk.put(backup, &[0; 512]);
        },
        "there is no room for the backup partition table outside of the usable range",
    );
    refuses(
        |disk| {
            let backup = disk.backup();
            disk.put(backup + 40, &20_u64.to_le_bytes());
            disk.seal(backup, 512);
            disk.put(512, &[0; 512]);
        },
        "there is no room for the primary partition table outside of the usable range",
    );
}

#[test]
fn a_disk_that_cannot_be_read() {
    use base::storage::{Fault, MemoryStorage, Recorder};
    use gpt::Table;
    let fault = Fault {
        read: Some(0),
        ..Fault::default()
    };
    let storage = Recorder::with_fault(MemoryStorage::new(vec![0; MIB]), fault);
    assert_eq!(
        Table::read(&storage).unwrap_err().to_string(),
        "cannot read at offset 512"
    );
}
