//! Partition tables that are damaged, or do not tell which partitions are meant.

use std::path::Path;

use crate::refusal::{refuses, rewrite_table, sgdisk};
use crate::support::image::{ESP, ESP_GUID, ROOT, ROOT_GUID, Shape, TYPE_LINUX, image};
use crate::support::workshop::{Workshop, stderr};
use crate::support::{disk, exits, files};

#[test]
fn one_damaged_copy_of_the_partition_table_is_mended_with_a_warning() {
    if !crate::can_judge() {
        return;
    }
    let geometry = Shape::Tiny.geometry();
    let last = (geometry.disk_sectors - 1) * 512;
    // A field of the header; an entry.
    for (copy, at) in [
        ("primary", 512 + 60),
        ("primary", 1024 + 8),
        ("backup", last + 60),
        ("backup", last - 32 * 512 + 8),
    ] {
        let workshop = Workshop::new();
        let source = workshop.source(image(Shape::Tiny));
        files::flip(&source, at);
        let output = exits(
            workshop.encrypt().args(["-o", "output.img", "source.img"]),
            0,
        );
        let warning = format!("warning: the {copy} partition table is damaged (");
        assert!(
            stderr(&output).contains(&warning),
            "{at}: {}",
            stderr(&output)
        );
        assert_eq!(
            disk::problems(&workshop.path("output.img"), 512),
            "",
            "{at}"
        );
        let table = disk::read(&workshop.path("output.img"));
        assert_eq!(table.guid, image(Shape::Tiny).table.guid);
        for (number, partition) in &image(Shape::Tiny).table.partitions {
            assert_eq!(table.partitions[number].identity, partition.identity);
        }
    }
}

#[test]
fn two_damaged_copies_of_the_partition_table() {
    if !crate::can_judge() {
        return;
    }
    let geometry = Shape::Tiny.geometry();
    let last = (geometry.disk_sectors - 1) * 512;
    refuses(
        &[],
        |source| {
            files::flip(source, 512 + 60);
            files::flip(source, last + 60);
        },
        "error: source.img: both partition tables are damaged; the primary: header checksum 0x70c9e55a should be 0x930dbc4c; the backup: header checksum 0xc4fcf06f should be 0x2738a979\n",
    );
}

#[test]
fn partition_tables_that_cannot_be_followed() {
    if !crate::can_judge() {
        return;
    }
    // An MBR alone.
    refuses(
        &[],
        |source| {
            let len_bytes = files::open(source).1;
            files::write(source, 0, &vec![0; 1 << 20]);
            files::write(source, len_bytes - (1 << 16), &vec![0; 1 << 16]);
            disk::write_table(source, 512, "label: dos\nstart=2048, size=4096, type=83\n");
        },
        "error: source.img: the disk has an MBR partition table, and no GUID partition table\n",
    );
    // Partition 15 reaches into the root.
    refuses(
        &[],
        |source| {
            let first = image(Shape::Tiny).table.partitions[&ESP].first_lba;
            let last = image(Shape::Tiny).table.partitions[&ROOT].first_lba + 7;
            rewrite_table(source, |entry| {
                if u64::from_le_bytes(entry[32..40].try_into().unwrap()) == first {
                    entry[40..48].copy_from_slice(&last.to_le_bytes());
                }
            });
        },
        "error: source.img: partition 15 (4096-6151) overlaps partition 1 (6144-16350)\n",
    );
}

#[test]
fn no_partition_for_a_role_or_several() {
    if !crate::can_judge() {
        return;
    }
    refuses(
        &[],
        |source| sgdisk(source, &["-t", "1:8302"]),
        "error: source.img: no root partition: the table has 1 (Linux /home, a1b2c3d4-0001-4000-8000-000000000001), 14 (BIOS boot, a1b2c3d4-0014-4000-8000-000000000014), 15 (EFI system, a1b2c3d4-0015-4000-8000-000000000015)\nhint: name both partitions: --root-partition-uuid GUID --efi-partition-uuid GUID\n",
    );
    refuses(
        &[],
        |source| sgdisk(source, &["-t", "15:8302"]),
        "error: source.img: no EFI system partition: the table has 1 (Linux filesystem, a1b2c3d4-0001-4000-8000-000000000001), 14 (BIOS boot, a1b2c3d4-0014-4000-8000-000000000014), 15 (Linux /home, a1b2c3d4-0015-4000-8000-000000000015)\nhint: name both partitions: --root-partition-uuid GUID --efi-partition-uuid GUID\n",
    );
    let second_root = |source: &Path| {
        sgdisk(source, &["-t", &format!("14:{TYPE_LINUX}")]);
    };
    refuses(
        &[],
        second_root,
        "error: source.img: several partitions could be the root partition: 1 (Linux filesystem, a1b2c3d4-0001-4000-8000-000000000001), 14 (Linux filesystem, a1b2c3d4-0014-4000-8000-000000000014)\nhint: name both partitions: --root-partition-uuid GUID --efi-partition-uuid GUID\n",
    );
    refuses(
        &[],
        |source| sgdisk(source, &["-t", "14:EF00"]),
        "error: source.img: several partitions could be the EFI system partition: 14 (EFI system, a1b2c3d4-0014-4000-8000-000000000014), 15 (EFI system, a1b2c3d4-0015-4000-8000-000000000015)\nhint: name both partitions: --root-partition-uuid GUID --efi-partition-uuid GUID\n",
    );
    let missing = "11111111-2222-3333-4444-555555555555";
    let named = [
        "--root-partition-uuid",
        missing,
        "--efi-partition-uuid",
        ESP_GUID,
    ];
    refuses(
        &named,
        |_| (),
        "error: source.img: no partition has the unique GUID 11111111-2222-3333-4444-555555555555: the table has 1 (Linux filesystem, a1b2c3d4-0001-4000-8000-000000000001), 14 (BIOS boot, a1b2c3d4-0014-4000-8000-000000000014), 15 (EFI system, a1b2c3d4-0015-4000-8000-000000000015)\n",
    );
    refuses(
        &[
            "--root-partition-uuid",
            ESP_GUID,
            "--efi-partition-uuid",
            ESP_GUID,
        ],
        |_| (),
        &format!(
            "error: source.img: --root-partition-uuid and --efi-partition-uuid both name {ESP_GUID}: they are two partitions\n"
        ),
    );
    refuses(
        &[
            "--root-partition-uuid",
            ROOT_GUID,
            "--efi-partition-uuid",
            ESP_GUID,
        ],
        |source| sgdisk(source, &["-u", &format!("14:{ROOT_GUID}")]),
        &format!(
            "error: source.img: the unique GUID {ROOT_GUID} is that of several partitions, and does not tell which is meant: 1 (Linux filesystem, {ROOT_GUID}), 14 (BIOS boot, {ROOT_GUID})\n"
        ),
    );

    // Where nobody names it, it is said.
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    sgdisk(&source, &["-u", &format!("14:{ROOT_GUID}")]);
    let output = exits(
        workshop.encrypt().args(["-o", "output.img", "source.img"]),
        0,
    );
    let warning = format!(
        "warning: partitions 1 and 14 have the same unique GUID {ROOT_GUID}: who looks for one by it may find the other\n"
    );
    assert!(stderr(&output).contains(&warning), "{}", stderr(&output));

    // Named, the second root does not matter.
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    second_root(&source);
    let upper = ROOT_GUID.to_uppercase();
    for option in ["--efi-partition-uuid", "--esp-partition-uuid"] {
        let mut encrypt = workshop.encrypt();
        encrypt.args(["--root-partition-uuid", &upper, option, ESP_GUID]);
        exits(encrypt.args(["--dry-run", "source.img"]), 0);
    }
}
