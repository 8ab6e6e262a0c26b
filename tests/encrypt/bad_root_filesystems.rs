//! Root partitions that hold something else than an ext4 filesystem that may be edited.

use std::path::Path;

use crate::refusal::{mend, refuses, refuses_edited, refuses_root, rewrite_table};
use crate::support::image::{ROOT, Shape, change_partition, image};
use crate::support::root::debugfs;
use crate::support::workshop::{Workshop, refused};
use crate::support::{command, exits, files};

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
        "error: source.img: the root partition is already encrypted: it holds a LUKS2 container whose primary header is lost\n\
         hint: if it is the container that the partition shall hold, cryptsetup repair on the partition writes the primary copy \
         again\n",
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

/// The how-to's script, as it stands there, ends before it puts back what e2fsck has not mended.
#[test]
fn what_e2fsck_cannot_mend_is_not_put_back() {
    if !crate::can_judge() {
        return;
    }
    let page = include_str!("../../docs/howto.md");
    let (_, page) = page.split_once("## Mend").unwrap();
    let from = page
        .find("$ encrypt-cloud-image encrypt -o encrypted.img disk.img 2>&1 |")
        .unwrap();
    let to = page.find("$ sh -e mend.sh\n").unwrap();
    let script = page[from..to].trim_start_matches("$ ").to_owned() + "sh -e mend.sh\n";
    let script = script.replace("disk.img", "source.img");
    let program = env!("CARGO_BIN_EXE_encrypt-cloud-image");
    let folder = std::path::Path::new(program).parent().unwrap();
    let path = format!("PATH={}:$PATH:/usr/sbin:/sbin\n", folder.display());
    for (changes, is_mended) in [
        ("feature needs_recovery\nset_super_value state 0\n", true),
        ("feature needs_recovery\nclri <11>\nclri /etc\n", false),
    ] {
        let workshop = Workshop::new();
        let source = workshop.source(image(Shape::Tiny));
        change_partition(&source, &image(Shape::Tiny).table, ROOT, |root| {
            debugfs(root, changes);
        });
        let before = files::digest(&source);
        let mut sh = workshop.command("sh");
        let output = sh
            .args(["-c", &format!("{path}{script}")])
            .output()
            .unwrap();
        assert_eq!(output.status.success(), is_mended, "{output:?}");
        let is_as_before = files::digest(&source) == before;
        assert_eq!(is_as_before, !is_mended, "{output:?}");
        if !is_mended {
            // e2fsck's own status: errors are left.
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains("RUN fsck MANUALLY"), "{output:?}");
        }
    }
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

#[test]
fn damage_that_needs_more_than_e2fsck_p_is_told_with_the_line_that_repairs_it() {
    if !crate::can_judge() {
        return;
    }
    // The free blocks count is covered by the superblock's checksum and by nothing else of ours.
    let repair = mend()
        .replace(
            "mend a copy of the partition and put it back (e2fsck may exit with 0 or 1), or boot the image once \
             and shut it down:",
            "e2fsck may be able to repair a copy of the partition (exit 0 or 1); look at what it changes before \
             you put it back:",
        )
        .replace("e2fsck -fp", "e2fsck -fy");
    let workshop = Workshop::new();
    let tiny = image(Shape::Tiny);
    let source = workshop.source(tiny);
    change_partition(&source, &tiny.table, ROOT, |root| {
        let mut bytes = files::read(root, 1024 + 12, 1);
        bytes[0] ^= 1;
        files::write(root, 1024 + 12, &bytes);
    });
    let message = refused(workshop.encrypt().args(["-o", "output.img", "source.img"]));
    let start = "error: source.img: the root filesystem: the ext4 superblock's checksum is 0x";
    assert!(
        message.starts_with(start) && message.ends_with(&repair),
        "{message}"
    );
}
