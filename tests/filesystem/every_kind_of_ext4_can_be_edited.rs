//! Images with every feature that mke2fs sets for somebody, edited by us, judged by e2fsck and debugfs.

use std::collections::BTreeSet;

use filesystem::ext4::Filesystem;

use crate::ext4_image::{Image, NOW, image, ready};

const SERVICE: &str = "/etc/systemd/system/secureboot-db.service";
const CONFIG: &str = "/etc/cloud/cloud.cfg.d/99_test.cfg";

/// Two blocks and a bit, whatever the block size.
fn long() -> Vec<u8> {
    (0..140_000_u32).map(|i| (i % 241) as u8).collect()
}

fn all_edits(filesystem: &Filesystem<'_>) -> filesystem::Result<()> {
    filesystem.write_file(
        "/cc_growpart_keydata",
        b"{\"key\":\"test only\",\"slot\":10}",
        0o600,
    )?;
    filesystem.write_file(CONFIG, &long(), 0o644)?;
    filesystem.symlink(SERVICE, "/dev/null")?;
    filesystem.mkdir("/etc/new")?;
    filesystem.write_file("/etc/new/empty", b"", 0o644)?;
    filesystem.write_file("/etc/os-release", b"ID=other\n", 0o644)?;
    filesystem.symlink("/usr/bin/program", "x".repeat(200))
}

/// Edits, and compares all that debugfs says of every other inode, and every other file's bytes.
#[track_caller]
fn check(image: &Image) {
    let before = image.tree();
    let edited = image.edited(all_edits);
    edited.assert_clean();
    let after = edited.tree();
    let written = [
        (
            "/cc_growpart_keydata",
            b"{\"key\":\"test only\",\"slot\":10}".to_vec(),
            "0600",
            1,
        ),
        (CONFIG, long(), "0644", 1),
        (SERVICE, b"/dev/null".to_vec(), "0777", 1),
        ("/etc/new", Vec::new(), "0755", 2),
        ("/etc/new/empty", Vec::new(), "0644", 1),
        ("/etc/os-release", b"ID=other\n".to_vec(), "0644", 1),
        ("/usr/bin/program", b"x".repeat(200), "0777", 1),
    ];
    for (path, content, mode, links) in &written {
        let (stat, found) = &after[*path];
        assert_eq!(found, content, "{path}");
        assert!(stat.contains(&format!("Mode:  {mode}")), "{path}: {stat}");
        assert!(
            stat.contains("User:     0   Group:     0"),
            "{path}: {stat}"
        );
        assert!(stat.contains(&format!("Links: {links} ")), "{path}: {stat}");
        for time in ["ctime", "atime", "mtime"] {
            let expected = format!("{time}: {NOW:#010x}");
            assert!(stat.contains(&expected), "{path}: {time} in {stat}");
        }
    }
    let directories = [
        "/etc",
        "/etc/systemd/system",
        "/etc/cloud/cloud.cfg.d",
        "/usr/bin",
    ];
    let mut others: BTreeSet<&str> = before
        .keys()
        .chain(after.keys())
        .map(String::as_str)
        .collect();
    for (path, ..) in &written {
        others.remove(path);
    }
    for path in others {
        let ((stat_before, bytes_before), (stat, bytes)) = (&before[path], &after[path]);
        assert!(bytes_before == bytes, "{path} changed");
        if directories.contains(&path) {
            assert!(
                stat.contains(&format!("mtime: {NOW:#010x}")),
                "{path}: {stat}"
            );
        } else if path == "/usr/os-release" {
            // It lost its second name.
            assert!(stat_before.contains("Links: 2 ") && stat.contains("Links: 1 "));
        } else {
            assert_eq!(stat_before, stat, "{path}");
        }
    }
}

macro_rules! kinds {
    ($($name:ident: $arguments:expr, $size:expr;)+) => {
        $(#[test]
        fn $name() {
            if ready() {
                check(&image(&$arguments, $size));
            }
        })+
    };
}

kinds! {
    as_mke2fs_makes_it: ["-t", "ext4"], "64M";
    blocks_of_1_kib: ["-t", "ext4", "-b", "1024"], "24M";
    blocks_of_64_kib: ["-t", "ext4", "-b", "65536"], "128M";
    an_orphan_file: ["-t", "ext4", "-O", "orphan_file"], "64M";
    a_checksum_seed: ["-t", "ext4", "-O", "metadata_csum_seed"], "64M";
    uninitialised_groups_without_checksums: ["-t", "ext4", "-O", "^metadata_csum,uninit_bg"], "256M";
    uninitialised_groups: ["-t", "ext4", "-E", "lazy_itable_init=1"], "512M";
    inline_data: ["-t", "ext4", "-O", "inline_data", "-I", "256"], "64M";
    bigalloc: ["-t", "ext4", "-O", "bigalloc", "-C", "65536"], "256M";
    bigalloc_with_blocks_of_1_kib: ["-t", "ext4", "-b", "1024", "-O", "bigalloc", "-C", "16384"], "64M";
    casefold: ["-t", "ext4", "-O", "casefold", "-E", "encoding=utf8"], "64M";
    verity_encrypt_project: ["-t", "ext4", "-O", "verity,encrypt,project"], "64M";
    large_extended_attributes: ["-t", "ext4", "-O", "ea_inode"], "64M";
    meta_block_groups: ["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"], "64M";
    narrow_descriptors: ["-t", "ext4", "-O", "^64bit"], "64M";
    sparse_super_2: ["-t", "ext4", "-b", "1024", "-O", "sparse_super2"], "64M";
    without_a_journal: ["-t", "ext4", "-O", "^has_journal"], "64M";
    small_inodes: ["-t", "ext4", "-I", "128"], "64M";
    ext3: ["-t", "ext3"], "64M";
    ext2: ["-t", "ext2"], "64M";
    ext2_of_revision_0: ["-t", "ext2", "-r", "0", "-O", "none"], "16M";
}
