//! States in which an edit would do damage, made by real programs where one makes them; the whole message each.

use base::storage::{MemoryStorage, Overlay, ReadAt, Slice};
use filesystem::Error;
use filesystem::ext4::{Filesystem, Superblock, Warning};
use probe::{Content, probe};

use crate::ext4_image::{Image, NOW, fix_superblock_checksum, image, ready};
use crate::support::{command, run, scratch};

fn small() -> Image {
    image(&["-t", "ext4", "-b", "1024"], "16M")
}

fn with(features: &str) -> Image {
    image(&["-t", "ext4", "-b", "1024", "-O", features], "16M")
}

/// The error of opening for an edit.
#[track_caller]
fn refusal(image: &Image) -> Error {
    let overlay = Overlay::new(image.storage());
    let error = Filesystem::open(&overlay, NOW).expect_err("this must be refused");
    assert_eq!(overlay.changed_bytes(), 0, "written before it was refused");
    error
}

#[track_caller]
fn assert_refused(image: &Image, message: &str) {
    assert_eq!(refusal(image).to_string(), message);
}

#[track_caller]
fn assert_mendable(image: &Image, message: &str) {
    let error = refusal(image);
    assert_eq!(error.to_string(), message);
    assert!(error.is_mendable_by_e2fsck());
    let status = command("e2fsck")
        .args(["-fp"])
        .arg(&image.path)
        .output()
        .unwrap()
        .status;
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
    Filesystem::open(&Overlay::new(image.storage()), NOW).unwrap();
}

/// Changes the superblock where no program does.
fn patched(image: Image, offset: u64, bytes: &[u8]) -> Image {
    image.patch(1024 + offset, bytes);
    fix_superblock_checksum(&image);
    image
}

#[test]
fn a_journal_to_replay() {
    if !ready() {
        return;
    }
    let image = small();
    image.debugfs(&["feature needs_recovery"]);
    assert_mendable(
        &image,
        "the ext4 journal needs recovery: the filesystem was not unmounted, and its journal would be replayed over every change",
    );
}

#[test]
fn a_filesystem_that_was_not_unmounted() {
    if !ready() {
        return;
    }
    let image = small();
    image.debugfs(&["set_super_value state 0"]);
    assert_mendable(
        &image,
        "the ext4 filesystem was not unmounted cleanly (state 0x0)",
    );
}

#[test]
fn recorded_errors() {
    if !ready() {
        return;
    }
    let image = small();
    image.debugfs(&["set_super_value state 3", "set_super_value error_count 2"]);
    assert_mendable(
        &image,
        "the ext4 filesystem has errors (state 0x3, 2 counted)",
    );
}

#[test]
fn errors_of_the_past_are_a_warning() {
    if !ready() {
        return;
    }
    let image = small();
    image.debugfs(&["set_super_value error_count 2"]);
    let overlay = Overlay::new(image.storage());
    let filesystem = Filesystem::open(&overlay, NOW).unwrap();
    assert_eq!(filesystem.warnings(), [Warning::ErrorsCounted { count: 2 }]);
    assert_eq!(
        filesystem.warnings()[0].to_string(),
        "the ext4 filesystem is clean, but the kernel counted 2 errors in its past"
    );
}

#[test]
fn orphans_in_the_list() {
    if !ready() {
        return;
    }
    let image = small();
    // A deleted file that was still open: no name, no links, first in the list.
    image.debugfs(&[
        "set_inode_field /home/a/sparse links_count 0",
        "set_inode_field /home/a/sparse dtime 0",
        "set_super_value last_orphan 20",
    ]);
    assert_refused(
        &image,
        "the ext4 filesystem has orphaned files to free, the first is inode 20",
    );
    assert!(refusal(&image).is_mendable_by_e2fsck());
}

#[test]
fn orphans_in_the_orphan_file() {
    if !ready() {
        return;
    }
    let image = with("orphan_file");
    image.debugfs(&["feature orphan_present"]);
    assert_mendable(
        &image,
        "the ext4 filesystem has orphaned files to free, noted in its orphan file",
    );
}

#[test]
fn quotas() {
    if !ready() {
        return;
    }
    let message = "the ext4 filesystem keeps quotas, which an edit would make wrong (tune2fs -O ^quota takes them away)";
    let image = with("quota");
    assert_refused(&image, message);
    image.tune2fs(&["-O", "^quota"]);
    Filesystem::open(&Overlay::new(image.storage()), NOW).unwrap();
}

#[test]
fn multi_mount_protection() {
    if !ready() {
        return;
    }
    let image = with("mmp");
    assert_refused(
        &image,
        "the ext4 filesystem has multi-mount protection (tune2fs -O ^mmp takes it away while nobody uses it)",
    );
}

#[test]
fn a_journal_elsewhere_and_the_device_that_holds_it() {
    if !ready() {
        return;
    }
    let image = patched(small(), 0xe4, &0x0801_u32.to_le_bytes());
    assert_refused(
        &image,
        "the ext4 filesystem's journal lies on another device (0x801), where it cannot be checked",
    );
    let folder = scratch();
    let journal = folder.path().join("journal");
    run(command("mke2fs")
        .args(["-q", "-F", "-O", "journal_dev"])
        .arg(&journal)
        .arg("8M"));
    let bytes = std::fs::read(journal).unwrap();
    assert_eq!(
        Superblock::read(&MemoryStorage::new(bytes))
            .unwrap_err()
            .to_string(),
        "the partition holds an external journal of an ext4 filesystem, not a filesystem"
    );
}

#[test]
fn features_that_the_library_does_not_know() {
    if !ready() {
        return;
    }
    let image = small();
    let incompat = image.storage().read_vec(1024 + 0x60, 4).unwrap();
    let incompat = u32::from_le_bytes(incompat.try_into().unwrap()) | 0x4000_0000;
    assert_refused(
        &patched(image, 0x60, &incompat.to_le_bytes()),
        "the ext4 filesystem has incompat features 0x40000000 that the libext2fs of this program does not know (it was made by a newer mke2fs, or is damaged)",
    );
    let image = small();
    let ro_compat = image.storage().read_vec(1024 + 0x64, 4).unwrap();
    let ro_compat = u32::from_le_bytes(ro_compat.try_into().unwrap()) | 0x2000_0000;
    let image = patched(image, 0x64, &ro_compat.to_le_bytes());
    assert_refused(
        &image,
        "the ext4 filesystem has ro_compat features 0x20000000 that the libext2fs of this program does not know (it was made by a newer mke2fs, or is damaged)",
    );
    // Reading is what that word still allows.
    let filesystem = Filesystem::open_read_only(&image.storage()).map(|_| ());
    filesystem.unwrap();
}

#[test]
fn filesystems_that_say_they_are_read_only() {
    if !ready() {
        return;
    }
    let image = small();
    image.tune2fs(&["-O", "read-only"]);
    assert_refused(
        &image,
        "the ext4 filesystem must not be changed: its ro_compat features 0x1000 say read-only or shared blocks",
    );
}

#[test]
fn a_filesystem_larger_than_its_partition() {
    if !ready() {
        return;
    }
    let image = small();
    let storage = image.storage();
    let cut = Slice::new(&storage, 0, (16 << 20) - 512).unwrap();
    assert_eq!(
        Superblock::read(&cut).unwrap_err().to_string(),
        "the ext4 filesystem has 16777216 bytes and is larger than its partition of 16776704 bytes"
    );
    assert_eq!(Superblock::read(&storage).unwrap().len_bytes(), 16 << 20);
}

#[test]
fn what_is_no_ext4_at_all() {
    if !ready() {
        return;
    }
    let zeros = MemoryStorage::new(vec![0; 1 << 16]);
    assert_eq!(
        Superblock::read(&zeros).unwrap_err().to_string(),
        "no ext2, ext3 or ext4 filesystem: offset 0x438 holds 0x0000, not the magic number 0xef53"
    );
    assert_eq!(
        Superblock::read(&MemoryStorage::new(vec![0; 2047]))
            .unwrap_err()
            .to_string(),
        "a partition of 2047 bytes is too short for an ext4 superblock"
    );
    assert_eq!(probe(&small().storage()).unwrap(), Content::Ext);
    assert_eq!(probe(&zeros).unwrap(), Content::Unknown);
}

#[test]
fn a_damaged_superblock() {
    if !ready() {
        return;
    }
    let image = small();
    image.patch(1024 + 0x3fc, &[1, 2, 3, 4]);
    let error = refusal(&image);
    let Error::SuperblockChecksum {
        stored: 0x0403_0201,
        computed,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(
        error.to_string(),
        format!("the ext4 superblock's checksum is 0x04030201, its bytes give {computed:#010x}")
    );
    assert_refused(
        &patched(small(), 0x18, &[7]),
        "the ext4 superblock's block size exponent (offset 0x18) is 7, allowed is 0 to 6",
    );
    // The library would clear that many bytes behind an inode.
    assert_refused(
        &patched(small(), 0x15e, &[0xfc, 0xff]),
        "the ext4 superblock's extra inode size (offset 0x15e) is 65532, allowed is a multiple of 4 that leaves the inode its first 128 bytes",
    );
}

#[test]
fn damaged_group_descriptors() {
    if !ready() {
        return;
    }
    // The descriptor of the first group lies in block 2; its inode table in the third field.
    let image = small();
    image.patch(2048 + 8, &[0xff; 4]);
    assert!(refusal(&image).is_ext4_damage());
    let mend = |how| {
        let e2fsck = command("e2fsck")
            .args(["-f", how])
            .arg(&image.path)
            .output();
        e2fsck.unwrap().status.code()
    };
    assert_refused(
        &image,
        "the ext4 filesystem cannot be used: Group descriptor checksum does not match group descriptor (opening the filesystem)",
    );
    assert_eq!(mend("-p"), Some(4));
    assert_eq!(mend("-y"), Some(1));
    Filesystem::open(&Overlay::new(image.storage()), NOW).unwrap();
    let image = with("^metadata_csum,^uninit_bg");
    image.patch(2048 + 8, &[0xff; 4]);
    assert_refused(
        &image,
        "the ext4 filesystem cannot be used: Corrupt group descriptor: bad block for inode table (opening the filesystem)",
    );
}
