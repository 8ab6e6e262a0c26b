//! Inputs that cannot be converted: each is refused with its whole message, before anything is written.

use std::path::Path;

use crate::support::files;
use crate::support::image::{
    ESP, ESP_GUID, ROOT, ROOT_GUID, Shape, TYPE_LINUX, change_partition, image,
};
use crate::support::root::debugfs;
use crate::support::workshop::{Workshop, refused, state, stderr};
use crate::support::{command, disk, exits, programs, run};

/// A Tiny image, changed, must be refused with this message.
#[track_caller]
fn refuses(options: &[&str], change: impl FnOnce(&Path), message: &str) {
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    change(&source);
    let before = state(&source);
    let arguments = [options, &["-o", "output.img", "source.img"]].concat();
    assert_eq!(refused(workshop.encrypt().args(&arguments)), message);
    // A plan is refused for the same reasons.
    assert_eq!(
        refused(workshop.encrypt().arg("--dry-run").args(&arguments)),
        message
    );
    assert_eq!(state(&source), before);
    assert_eq!(workshop.names(), ["source.img"]);
}

/// The same for a change of the root partition.
#[track_caller]
fn refuses_root(change: impl FnOnce(&Path), message: &str) {
    let table = &image(Shape::Tiny).table;
    refuses(
        &[],
        |source| change_partition(source, table, ROOT, change),
        message,
    );
}

/// The same for commands of debugfs.
#[track_caller]
fn refuses_edited(script: &str, message: &str) {
    refuses_root(|root| drop(debugfs(root, script)), message);
}

fn mend() -> String {
    let partition = &image(Shape::Tiny).table.partitions[&ROOT];
    let (start, count) = (
        partition.first_lba,
        partition.last_lba + 1 - partition.first_lba,
    );
    format!(
        "hint: mend a copy of the partition and put it back (e2fsck may exit with 0 or 1), or boot the image \
         once and shut it down:\n\
         hint: dd if=source.img of=root.ext4 bs=512 skip={start} count={count}\n\
         hint: e2fsck -fp root.ext4\n\
         hint: dd if=root.ext4 of=source.img bs=512 seek={start} conv=notrunc\n"
    )
}

fn sgdisk(file: &Path, arguments: &[&str]) {
    exits(command("sgdisk").args(arguments).arg(file), 0);
}

#[test]
fn a_file_that_is_no_image() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let source = |content: &[u8]| workshop.write("source.img", content);
    source(b"");
    let encrypt = |name: &str| refused(workshop.encrypt().args(["-o", "output.img", name]));
    assert_eq!(
        encrypt("source.img"),
        "error: source.img: the file is empty\n"
    );
    source(&b"some text that is no disk\n".repeat(4000));
    assert_eq!(
        encrypt("source.img"),
        "error: source.img: the file is not a disk image: no partition table and no known format in 104000 bytes\n"
    );
    source(&vec![0; 1 << 20]);
    assert_eq!(
        encrypt("source.img"),
        "error: source.img: the file is not a disk image: no partition table and no known format in 1048576 bytes\n"
    );
    assert_eq!(
        encrypt("missing.img"),
        "error: missing.img: cannot open the file\n  because: No such file or directory (os error 2)\n"
    );
    assert_eq!(
        encrypt("."),
        "error: .: it is a directory; only image files are read so far\n"
    );
    assert_eq!(
        encrypt("/dev/null"),
        "error: /dev/null: it is a character device; only image files are read so far\n"
    );
}

#[test]
fn other_formats_with_the_line_that_converts_them() {
    if !crate::can_judge() || !programs(&["qemu-img"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    for (name, format, options, what) in [
        ("a.img", "qcow2", "", "a qcow2 image"),
        ("b.vhd", "vpc", "subformat=dynamic", "a dynamic VHD"),
        ("c.vhdx", "vhdx", "", "a VHDX image"),
        ("d.vmdk", "vmdk", "", "a VMDK image"),
    ] {
        let mut convert = workshop.command("qemu-img");
        convert.args(["convert", "-O", format, "source.img", name]);
        if !options.is_empty() {
            convert.args(["-o", options]);
        }
        run(&mut convert);
        assert_eq!(
            refused(workshop.encrypt().arg(name)),
            format!(
                "error: {name}: the file is {what}, which is not read directly\n\
                 hint: qemu-img convert -f {format} -O raw {name} {name}.raw\n"
            )
        );
        // The line of the hint is one that works.
        let hint = format!("qemu-img convert -f {format} -O raw {name} {name}.raw");
        run(workshop.command("sh").args(["-c", &hint]));
        exits(
            workshop
                .encrypt()
                .args(["--dry-run", &format!("{name}.raw")]),
            0,
        );
    }
    workshop.write("e.zip", b"PK\x03\x04 and what follows");
    assert_eq!(
        refused(workshop.encrypt().arg("e.zip")),
        "error: e.zip: the file is a ZIP archive, which is not read directly\nhint: unzip e.zip\n"
    );
}

#[test]
fn a_truncated_image() {
    if !crate::can_judge() {
        return;
    }
    let geometry = Shape::Tiny.geometry();
    let cut = |bytes: u64| {
        move |source: &Path| {
            let file = files::open_to_write(source);
            file.set_len(geometry.disk_sectors * 512 - bytes).unwrap();
        }
    };
    for (bytes, sectors) in [(1 << 20, 14336), (512, 16383)] {
        refuses(
            &[],
            cut(bytes),
            &format!(
                "error: source.img: the disk is truncated: its partition table describes 16384 sectors of \
                 512 bytes, {sectors} are there\n"
            ),
        );
    }
}

#[test]
fn a_vhd_with_a_wrong_footer() {
    if !crate::can_judge() {
        return;
    }
    let footer_at = files::open(image(Shape::Tiny).vhd()).1 - 512;
    let with = |change: &dyn Fn(&mut [u8])| {
        let workshop = Workshop::new();
        let source = workshop.put(image(Shape::Tiny).vhd(), "source.vhd");
        let mut footer = files::read(&source, footer_at, 512);
        change(&mut footer);
        files::write(&source, footer_at, &footer);
        refused(workshop.encrypt().args(["-o", "output.img", "source.vhd"]))
    };
    let sum = |footer: &mut [u8]| {
        footer[64..68].fill(0);
        let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
        footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    };
    let message = with(&|footer| footer[100] ^= 1);
    assert!(
        message.starts_with("error: source.vhd: the VHD footer's checksum 0x"),
        "{message}"
    );
    assert!(message.contains(" should be 0x"), "{message}");
    let message = with(&|footer| {
        footer[48..56].copy_from_slice(&(footer_at + 512).to_be_bytes());
        sum(footer);
    });
    assert_eq!(
        message,
        format!(
            "error: source.vhd: the VHD footer says {} bytes of disk, before it lie {footer_at}\n",
            footer_at + 512
        )
    );
}

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
fn an_image_with_something_behind_its_end_is_taken_with_a_warning() {
    if !crate::can_judge() {
        return;
    }
    for (more, warning, disk_bytes) in [
        (
            1 << 20,
            "warning: the backup partition table is at LBA 16383, not at the disk's last LBA 18431\n",
            25 << 20,
        ),
        (
            5,
            "warning: the last 5 bytes of the disk are less than a sector of 512 bytes\n",
            24 << 20,
        ),
    ] {
        let workshop = Workshop::new();
        let source = workshop.source(image(Shape::Tiny));
        let len_bytes = files::open(&source).1;
        files::open_to_write(&source)
            .set_len(len_bytes + more)
            .unwrap();
        let mut encrypt = workshop.encrypt();
        let output = exits(encrypt.args(["-o", "output.img", "source.img"]), 0);
        assert!(stderr(&output).contains(warning), "{}", stderr(&output));
        let made = workshop.path("output.img");
        assert_eq!(files::open(&made).1 >> 20, disk_bytes >> 20);
        files::open_to_write(&made).set_len(disk_bytes).unwrap();
        assert_eq!(disk::problems(&made, 512), "");
    }
}

#[test]
fn a_time_that_is_no_number() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    let mut encrypt = workshop.encrypt();
    encrypt
        .env("SOURCE_DATE_EPOCH", "yesterday")
        .args(["--dry-run", "source.img"]);
    assert_eq!(
        refused(&mut encrypt),
        "error: SOURCE_DATE_EPOCH is no number of seconds: yesterday\n"
    );
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

/// Changes the entries of both copies, with their checksums.
fn rewrite_table(source: &Path, change: impl Fn(&mut [u8])) {
    let sectors = files::open(source).1 / 512;
    for (header_lba, entries_lba) in [(1, 2), (sectors - 1, sectors - 33)] {
        let mut entries = files::read(source, entries_lba * 512, 128 * 128);
        entries.chunks_mut(128).for_each(&change);
        files::write(source, entries_lba * 512, &entries);
        let mut header = files::read(source, header_lba * 512, 92);
        header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        header[16..20].fill(0);
        let checksum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        files::write(source, header_lba * 512, &header);
    }
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

#[test]
fn a_root_that_is_not_ext4() {
    if !crate::can_judge() {
        return;
    }
    for (offset, magic, what) in [
        (0, &b"XFSB"[..], "an XFS filesystem"),
        (0x10040, b"_BHRfS_M", "a btrfs filesystem"),
        (0, b"hsqs", "a squashfs filesystem"),
        (1024, b"\xe2\xe1\xf5\xe0", "an EROFS filesystem"),
        (536, b"LVM2 001", "an LVM physical volume"),
        (0, b"", "nothing that is recognised"),
    ] {
        refuses_root(
            |root| {
                files::write(root, 0, &[0; 8192]);
                files::write(root, offset, magic);
            },
            &format!(
                "error: source.img: the root partition holds {what}; only ext4 (also ext3 and ext2) can be encrypted\n"
            ),
        );
    }
}

#[test]
fn a_root_that_is_encrypted_already() {
    if !crate::can_judge() {
        return;
    }
    let luks = |kind: &'static str| {
        move |root: &Path| {
            let key = root.with_extension("key");
            std::fs::write(&key, b"test only").unwrap();
            let mut format = command("cryptsetup");
            format.args([
                "-q",
                "luksFormat",
                "--type",
                kind,
                "--pbkdf",
                "pbkdf2",
                "--pbkdf-force-iterations",
                "1000",
            ]);
            format.args(["--align-payload", "4096"]);
            if kind == "luks2" {
                format.args([
                    "--luks2-metadata-size",
                    "16k",
                    "--luks2-keyslots-size",
                    "512k",
                ]);
            }
            exits(format.arg("--key-file").arg(&key).arg(root), 0);
        }
    };
    refuses_root(
        luks("luks1"),
        "error: source.img: the root partition is already encrypted: it holds a LUKS1 container\n",
    );
    refuses_root(
        luks("luks2"),
        "error: source.img: the root partition is already encrypted: it holds a LUKS2 container\n",
    );
    refuses_root(
        |root| {
            luks("luks2")(root);
            files::write(root, 0, &[0; 4096]);
        },
        "error: source.img: the root partition is already encrypted: it holds a LUKS2 container whose primary header is lost\n",
    );
}

#[test]
fn a_filesystem_larger_than_its_partition() {
    if !crate::can_judge() {
        return;
    }
    let last = Shape::Tiny.geometry().root_last_lba - 8;
    refuses(
        &[],
        |source| {
            let first = image(Shape::Tiny).table.partitions[&ROOT].first_lba;
            rewrite_table(source, |entry| {
                if u64::from_le_bytes(entry[32..40].try_into().unwrap()) == first {
                    entry[40..48].copy_from_slice(&last.to_le_bytes());
                }
            });
        },
        "error: source.img: the root filesystem: the ext4 filesystem has 5225472 bytes and is larger than its partition of 5221888 bytes\n",
    );
}

#[test]
fn states_that_e2fsck_mends() {
    if !crate::can_judge() {
        return;
    }
    for (script, message) in [
        (
            "feature needs_recovery\n",
            "the ext4 journal needs recovery: the filesystem was not unmounted, and its journal would be replayed over every change",
        ),
        (
            "set_super_value state 0\n",
            "the ext4 filesystem was not unmounted cleanly (state 0x0)",
        ),
        (
            "set_super_value state 3\n",
            "the ext4 filesystem has errors (state 0x3, 0 counted)",
        ),
        (
            "set_super_value last_orphan 13\n",
            "the ext4 filesystem has orphaned files to free, the first is inode 13",
        ),
    ] {
        refuses_edited(
            script,
            &format!(
                "error: source.img: the root filesystem: {message}\n{}",
                mend()
            ),
        );
    }
    // The lines of the hint mend it.
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    change_partition(&source, &image(Shape::Tiny).table, ROOT, |root| {
        debugfs(root, "feature needs_recovery\nset_super_value state 0\n");
    });
    for line in mend().lines().skip(1) {
        let line = line.strip_prefix("hint: ").unwrap();
        let script = format!("PATH=$PATH:/usr/sbin:/sbin; {line} || test $? = 1");
        exits(workshop.command("sh").args(["-c", &script]), 0);
    }
    exits(
        workshop.encrypt().args(["-o", "output.img", "source.img"]),
        0,
    );
}

#[test]
fn a_name_with_blanks_is_quoted_in_the_lines_that_mend() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.put(&image(Shape::Tiny).raw, "an image.img");
    change_partition(&source, &image(Shape::Tiny).table, ROOT, |root| {
        debugfs(root, "set_super_value state 0\n");
    });
    let message = refused(workshop.encrypt().arg("an image.img"));
    assert!(
        message.contains("hint: dd if='an image.img' of=root.ext4"),
        "{message}"
    );
    assert!(
        message.contains("hint: dd if=root.ext4 of='an image.img'"),
        "{message}"
    );
}

#[test]
fn states_and_features_that_must_not_be_edited() {
    if !crate::can_judge() {
        return;
    }
    for (script, message) in [
        (
            "feature quota\n",
            "the ext4 filesystem keeps quotas, which an edit would make wrong (tune2fs -O ^quota takes them away)",
        ),
        (
            "feature mmp\n",
            "the ext4 filesystem has multi-mount protection (tune2fs -O ^mmp takes it away while nobody uses it)",
        ),
        (
            "feature FEATURE_I30\n",
            "the ext4 filesystem has incompat features 0x40000000 that the libext2fs of this program does not know (it was made by a newer mke2fs, or is damaged)",
        ),
        (
            "feature FEATURE_R30\n",
            "the ext4 filesystem has ro_compat features 0x40000000 that the libext2fs of this program does not know (it was made by a newer mke2fs, or is damaged)",
        ),
        (
            "set_super_value journal_dev 0x801\n",
            "the ext4 filesystem's journal lies on another device (0x801), where it cannot be checked",
        ),
        (
            "feature read-only\n",
            "the ext4 filesystem must not be changed: its ro_compat features 0x1000 say read-only or shared blocks",
        ),
        (
            "feature casefold\nset_inode_field /etc/systemd/system flags 0x40080000\n",
            "the directory /etc/systemd/system/ ignores case (casefold), no file can be put there from outside",
        ),
        (
            "feature encrypt\nset_inode_field /etc/systemd/system flags 0x80800\n",
            "/etc/systemd/system/secureboot-db.service is encrypted by the filesystem and cannot be used without its key",
        ),
    ] {
        refuses_edited(
            script,
            &format!("error: source.img: the root filesystem: {message}\n"),
        );
    }
}
