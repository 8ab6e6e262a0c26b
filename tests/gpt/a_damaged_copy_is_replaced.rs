//! One damaged copy is named, with the reason, and made anew from the other one.

use crate::{Disk, support, texts};

/// Reads the damaged disk with this warning, writes it, and has the disk as it was before the damage.
#[track_caller]
fn mends(damage: impl FnOnce(&mut Disk), warning: &str) {
    if !support::programs(&["sgdisk"]) {
        return;
    }
    let mut disk = Disk::by_sgdisk();
    let whole = disk.bytes.clone();
    damage(&mut disk);
    let (table, warnings) = disk.read();
    assert_eq!(texts(&warnings), [warning]);
    disk.write(&table);
    disk.is_clean_for_sgdisk();
    assert!(disk.bytes == whole);
}

/// What a warning says of the checksum at `stored` of the disk, which is computed over `covered`.
fn checksums(stored: u32, computed: u32) -> String {
    format!("{stored:#010x} should be {computed:#010x}")
}

fn header_damage(backup: bool) {
    if !support::programs(&["sgdisk"]) {
        return;
    }
    let mut disk = Disk::by_sgdisk();
    let whole = disk.bytes.clone();
    let header = if backup { disk.backup() } else { 512 };
    disk.bytes[header + 60] ^= 1; // a byte of the disk GUID
    let mut zeroed = disk.bytes[header..header + 92].to_vec();
    zeroed[16..20].fill(0);
    let checksums = checksums(disk.u32_at(header + 16), crc32fast::hash(&zeroed));
    let name = if backup { "backup" } else { "primary" };
    let (table, warnings) = disk.read();
    assert_eq!(
        texts(&warnings),
        [format!(
            "the {name} partition table is damaged (header checksum {checksums}), the other copy is used"
        )]
    );
    disk.write(&table);
    disk.is_clean_for_sgdisk();
    assert!(disk.bytes == whole);
}

fn entries_damage(backup: bool) {
    if !support::programs(&["sgdisk"]) {
        return;
    }
    let mut disk = Disk::by_sgdisk();
    let whole = disk.bytes.clone();
    let header = if backup { disk.backup() } else { 512 };
    let entries = if backup {
        disk.bytes.len() - 33 * 512
    } else {
        1024
    };
    disk.bytes[entries + 127 * 128 + 5] ^= 0x80; // in the last entry, which is unused
    let computed = crc32fast::hash(&disk.bytes[entries..entries + 16384]);
    let checksums = checksums(disk.u32_at(header + 88), computed);
    let name = if backup { "backup" } else { "primary" };
    let (table, warnings) = disk.read();
    assert_eq!(
        texts(&warnings),
        [format!(
            "the {name} partition table is damaged (checksum of the entries {checksums}), \
             the other copy is used"
        )]
    );
    disk.write(&table);
    disk.is_clean_for_sgdisk();
    assert!(disk.bytes == whole);
}

#[test]
fn a_primary_header_with_a_wrong_checksum() {
    header_damage(false);
}

#[test]
fn a_backup_header_with_a_wrong_checksum() {
    header_damage(true);
}

#[test]
fn primary_entries_with_a_wrong_checksum() {
    entries_damage(false);
}

#[test]
fn backup_entries_with_a_wrong_checksum() {
    entries_damage(true);
}

#[test]
fn a_primary_that_was_wiped() {
    mends(
        |disk| disk.put(512, &vec![0; 33 * 512]),
        "the primary partition table is damaged (no header at LBA 1), the other copy is used",
    );
}

#[test]
fn a_backup_that_was_wiped() {
    mends(
        |disk| {
            let backup = disk.backup();
            disk.put(backup - 32 * 512, &vec![0; 33 * 512]);
        },
        "the backup partition table is damaged (no header at LBA 32767), the other copy is used",
    );
}

#[test]
fn a_header_with_its_checksum_and_wrong_contents() {
    let primary = |offset: usize, bytes: &'static [u8]| {
        move |disk: &mut Disk| {
            disk.put(512 + offset, bytes);
            disk.seal_header(512);
        }
    };
    let warning = |flaw: &str| {
        format!("the primary partition table is damaged ({flaw}), the other copy is used")
    };
    mends(
        primary(10, &[2]),
        &warning("header revision 0x00020000 is not 0x00010000"),
    );
    mends(
        primary(84, &[192, 0]),
        &warning("entry size 192 is not 128, 256, 512 and so on"),
    );
    mends(
        primary(84, &[64, 0]),
        &warning("entry size 64 is not 128, 256, 512 and so on"),
    );
    mends(
        primary(80, &[0]),
        &warning("0 entries of 128 bytes are none, or more than 1 MiB"),
    );
    mends(
        primary(80, &[0xff; 4]),
        &warning("4294967295 entries of 128 bytes are none, or more than 1 MiB"),
    );
    mends(
        primary(80, &[0x01, 0x20]), // one more than 1 MiB holds
        &warning("8193 entries of 128 bytes are none, or more than 1 MiB"),
    );
    mends(
        primary(24, &[9]),
        &warning("the header at LBA 1 says that it lies at LBA 9"),
    );
    mends(
        primary(40, &[0xff; 8]),
        &warning("usable range 18446744073709551615-32734 does not lie on the disk"),
    );
    mends(
        primary(72, &[1]),
        &warning("the entries at LBA 1-32 lie over something else or behind the disk"),
    );
    mends(
        primary(72, &[3]),
        &warning("the entries at LBA 3-34 lie over something else or behind the disk"),
    );
    mends(
        primary(72, &[0xff; 8]),
        &warning(
            "the entries at LBA 18446744073709551615-18446744073709551614 lie over something else or behind the disk",
        ),
    );
    mends(
        |disk| {
            disk.put(512 + 12, &91_u32.to_le_bytes());
        },
        &warning("header size 91 is not between 92 and 512"),
    );
    mends(
        |disk| {
            let backup = disk.backup();
            disk.put(backup + 12, &513_u32.to_le_bytes());
        },
        "the backup partition table is damaged (header size 513 is not between 92 and 512), \
         the other copy is used",
    );
    mends(
        |disk| {
            let backup = disk.backup();
            disk.put(backup + 48, &32767_u64.to_le_bytes());
            disk.seal_header(backup);
        },
        "the backup partition table is damaged (the header at LBA 32767 lies in the usable range \
         34-32767), the other copy is used",
    );
}

#[test]
fn copies_that_differ_are_made_equal_by_the_primary() {
    mends(
        |disk| {
            let backup = disk.backup();
            let entries = backup - 32 * 512;
            disk.put(entries + 14 * 128 + 56, b"X\0");
            disk.seal(backup, 512);
        },
        "the two partition tables differ in partition 15, the primary one is used",
    );
    mends(
        |disk| {
            let backup = disk.backup();
            disk.put(backup + 56, &[0xab; 16]);
            disk.seal(backup, 512);
        },
        "the two partition tables differ in their headers, the primary one is used",
    );
}

#[test]
fn a_backup_that_is_not_at_the_end_helps_a_primary_that_still_names_it() {
    if !support::programs(&["sgdisk"]) {
        return;
    }
    let mut disk = Disk::by_sgdisk();
    let whole = disk.bytes.clone();
    disk.bytes.resize(17 << 20, 0);
    disk.put(512 + 16, &[0; 4]);
    let (table, warnings) = disk.read();
    let texts = texts(&warnings);
    assert!(texts[0].starts_with(
        "the primary partition table is damaged (header checksum 0x00000000 should be"
    ));
    assert_eq!(
        texts[1],
        "the backup partition table is at LBA 32767, not at the disk's last LBA 34815"
    );
    disk.write(&table);
    assert!(disk.bytes[..16 << 20] == whole);
}
