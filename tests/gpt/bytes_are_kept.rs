//! What we do not change on purpose, we write back bit for bit.

use gpt::types;

use crate::{Disk, MIB, support};

/// Writes the table back as read; nothing at all may change.
#[track_caller]
fn keeps_every_byte(mut disk: Disk) {
    let before = disk.bytes.clone();
    let table = disk.table();
    disk.write(&table);
    assert!(disk.bytes == before);
}

#[test]
fn a_table_of_sgdisk_is_written_back_bit_for_bit() {
    if !support::programs(&["sgdisk"]) {
        return;
    }
    keeps_every_byte(Disk::by_sgdisk());
}

#[test]
fn partitions_are_read_as_sfdisk_reads_them() {
    if !support::programs(&["sgdisk", "sfdisk"]) {
        return;
    }
    let disk = Disk::by_sgdisk();
    let table = disk.table();
    let lines: Vec<_> = table
        .partitions()
        .map(|partition| {
            format!(
                "disk.img{} : start={:>12}, size={:>12}, type={}, uuid={}",
                partition.number,
                partition.first_lba,
                partition.sectors(),
                partition.type_guid.to_string().to_uppercase(),
                partition.unique_guid.to_string().to_uppercase(),
            )
        })
        .collect();
    let dump = disk.sfdisk_dump();
    for line in &lines {
        assert!(dump.contains(line.as_str()), "{line}\n{dump}");
    }
    assert_eq!(dump.matches("start=").count(), lines.len());
    assert!(dump.contains(&format!(
        "label-id: {}",
        table.disk_guid().to_string().to_uppercase()
    )));
    assert!(dump.contains("first-lba: 34") && table.first_usable_lba() == 34);
    assert!(dump.contains("last-lba: 32734") && table.last_usable_lba() == 32734);

    let esp = table.partition(15).unwrap();
    assert_eq!(
        (esp.type_guid, esp.name.as_str()),
        (types::EFI_SYSTEM, "EFI väldigt")
    );
    assert_eq!(table.partition(1).unwrap().attributes, 1 << 59 | 1 << 2);
    assert_eq!(types::type_name(esp.type_guid), Some("EFI system"));
    assert_eq!((table.partition(0), table.partition(2)), (None, None));
}

#[test]
fn entries_of_256_bytes_longer_headers_and_odd_names_stay() {
    if !support::programs(&["sgdisk"]) {
        return;
    }
    let mut disk = Disk::by_sgdisk();
    // 64 entries of 256 bytes take the same room: partition 1 alone, with bytes behind its 128.
    let entry = disk.bytes[1024..1152].to_vec();
    for (header, entries) in [(512, 1024), (disk.backup(), disk.bytes.len() - 33 * 512)] {
        disk.put(entries, &[0; 16384]);
        disk.put(entries, &entry);
        disk.put(entries + 56, &[0x41, 0, 0, 0xd8, 0x42, 0, 0, 0, 0x43, 0]); // A, lone surrogate, B, 0, C
        disk.put(entries + 128, &[0xa5; 128]);
        disk.put(entries + 63 * 256 + 200, b"behind an unused entry");
        disk.put(header + 80, &64_u32.to_le_bytes());
        disk.put(header + 84, &256_u32.to_le_bytes());
        disk.put(header + 12, &96_u32.to_le_bytes());
        disk.put(header + 92, &[1, 2, 3, 4]); // within the header
        disk.put(header + 500, b"behind"); // in its sector, behind the header
        disk.seal(header, 512);
    }
    disk.put(0, &[0xeb; 440]);
    disk.put(440, &[9, 8, 7, 6]);
    assert_eq!(disk.table().partition(1).unwrap().name, "A\u{fffd}B");
    keeps_every_byte(disk);
}

#[test]
fn fewer_and_more_entries_than_usual_are_kept() {
    if !support::programs(&["sfdisk"]) {
        return;
    }
    for count in [4, 130, 1024] {
        let script = format!("label: gpt\ntable-length: {count}\n2: start=2048\n");
        let disk = Disk::by_sfdisk(4 * MIB, &script);
        assert_eq!(disk.u32_at(512 + 80), count);
        keeps_every_byte(disk);
    }
}

#[test]
fn entries_that_do_not_follow_the_header_are_found() {
    if !support::programs(&["sgdisk"]) {
        return;
    }
    let mut disk = Disk::by_sgdisk();
    let entries = disk.bytes[1024..1024 + 16384].to_vec();
    disk.put(1024, &vec![0x5a; 16384]);
    disk.put(100 * 512, &entries);
    disk.put(512 + 72, &100_u64.to_le_bytes());
    disk.put_in_both(40, &132_u64.to_le_bytes());
    assert!(disk.verdict().contains("No problems found"));
    keeps_every_byte(disk);
}

#[test]
fn a_hybrid_mbr_is_kept_and_stops_every_change() {
    if !support::programs(&["sgdisk"]) {
        return;
    }
    let mut disk = Disk::by_sgdisk();
    disk.sgdisk(&["--hybrid=15"]);
    let mut table = disk.table();
    assert!(table.has_hybrid_mbr());
    assert_eq!(
        table.set_last_lba(1, 20000).unwrap_err().to_string(),
        "the disk has a hybrid MBR: its partitions cannot be moved or resized"
    );
    assert!(table.resize_disk(65536).is_err());
    table.set_last_lba(1, 32734).unwrap(); // where it is
    table.resize_disk(32768).unwrap();
    keeps_every_byte(disk);
}
