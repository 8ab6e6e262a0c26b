//! A root filesystem as in a cloud image, with everything that a conversion could lose.
//!
//! Made without a mount: `mke2fs -d` takes a folder, `debugfs` adds what an ordinary user cannot make
//! (owners, device nodes, extended attributes), `e2fsck -D` builds the directory indexes.

use std::fmt::Write as _;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::{command, exits, run, scratch};

/// Stands in the content of every file of the root filesystem.
pub const PLAIN_MARKER: &str = "plaintext of the root filesystem";

/// Stands in blocks that a deleted file left behind.
pub const DELETED_MARKER: &str = "data of a file that was deleted";

/// What a root filesystem shall be like.
#[derive(Debug, Clone, Copy)]
pub struct Root {
    /// Block size in bytes.
    pub block_bytes: u64,
    /// Length in blocks.
    pub blocks: u64,
    /// False for an image without cloud-init.
    pub cloud_init: bool,
    /// False for as few files as possible.
    pub full: bool,
    /// True where no block from 16 KiB to 8 MiB shall be used.
    pub bored: bool,
}

impl Root {
    /// Makes the filesystem in a new file.
    pub fn make(&self, file: &Path) {
        let folder = scratch();
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).unwrap();
        self.fill(&tree);
        let mut mke2fs = command("mke2fs");
        // Past and fixed, so that a time of now is seen.
        mke2fs.env("E2FSPROGS_FAKE_TIME", "1600000000");
        mke2fs.args(["-q", "-t", "ext4", "-T", "default", "-L", "cloudimg-rootfs"]);
        // Several block groups, so that there are backup superblocks and groups in the middle.
        mke2fs.args(["-b", &self.block_bytes.to_string()]);
        if self.bored {
            // Blocks that are bad to mke2fs, and good afterwards.
            let bad = (16 << 10) / self.block_bytes..(8 << 20) / self.block_bytes;
            let bad: Vec<String> = bad.map(|block| block.to_string()).collect();
            let list = folder.path().join("bad");
            fs::write(&list, bad.join("\n")).unwrap();
            mke2fs.args(["-O", "^resize_inode", "-l"]).arg(list);
        } else {
            mke2fs.args(["-g", "4096"]);
        }
        mke2fs.args([
            "-E",
            "root_owner=0:0,hash_seed=5e3f0a7c-1f29-4e8a-9c1b-7d6a5b4c3d2e",
        ]);
        if !self.full {
            mke2fs.args(["-J", "size=1", "-N", "128", "-b", "1024"]);
        }
        mke2fs.args(["-U", "0d1e2f30-4152-6374-8596-a7b8c9dae0f1", "-d"]);
        run(mke2fs.arg(&tree).arg(file).arg(self.blocks.to_string()));
        if self.bored {
            let none = folder.path().join("none");
            fs::write(&none, "").unwrap();
            let mut e2fsck = command("e2fsck");
            let output = e2fsck.args(["-fyL"]).arg(none).arg(file).output().unwrap();
            assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        }
        debugfs(file, &self.debugfs_script());
        let mut e2fsck = command("e2fsck");
        e2fsck.env("E2FSPROGS_FAKE_TIME", "1600000000");
        let output = e2fsck.args(["-fyD"]).arg(file).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        exits(command("e2fsck").args(["-fn"]).arg(file), 0);
    }

    fn fill(&self, tree: &Path) {
        let mut count = 0;
        let mut put = |path: &str, content: &[u8], mode: u32| {
            let file = tree.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, content).unwrap();
            let opened = File::open(&file).unwrap();
            count += 1;
            let time = UNIX_EPOCH + Duration::from_secs(1_500_000_000 + count * 1000);
            opened
                .set_times(FileTimes::new().set_modified(time).set_accessed(time))
                .unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        };
        let text = |name: &str| format!("{PLAIN_MARKER}: {name}\n").into_bytes();
        put(
            "etc/os-release",
            b"ID=ubuntu\nPRETTY_NAME=\"plaintext of the root filesystem\"\n",
            0o644,
        );
        put("etc/systemd/system/some.service", &text("unit"), 0o644);
        if self.cloud_init {
            put(
                "etc/cloud/cloud.cfg.d/90_dpkg.cfg",
                b"datasource_list: [ NoCloud, None ]\n",
                0o644,
            );
        }
        for program in [
            "usr/sbin/cryptsetup",
            "usr/sbin/dmsetup",
            "usr/bin/growpart",
        ] {
            put(program, b"#!/bin/sh\nexit 0\n", 0o755);
        }
        if !self.full {
            put(
                "var/lib/large",
                text("large").repeat(3000).as_slice(),
                0o644,
            );
            return;
        }
        put("usr/bin/sudo", &text("sudo"), 0o4755);
        put("usr/bin/wall", &text("wall"), 0o2755);
        put("etc/shadow", &text("shadow"), 0o640);
        put(
            "usr/share/a name with blanks and \u{e9}",
            &text("name"),
            0o600,
        );
        put("usr/share/empty", b"", 0o644);
        put("var/lib/large", &lines(5 << 20), 0o644);
        put(
            "var/lib/deleted",
            format!("{DELETED_MARKER}\n").repeat(40_000).as_bytes(),
            0o600,
        );
        for number in 0..120 {
            put(&format!("var/lib/fragments/{number}"), &lines(4096), 0o644);
        }
        for number in 0..300 {
            let name = format!(
                "usr/share/many/{number:03}-{}",
                "a-rather-long-name".repeat(3)
            );
            put(&name, &text(&name), 0o644);
        }
        fs::hard_link(tree.join("usr/bin/sudo"), tree.join("usr/bin/sudoedit")).unwrap();
        fs::hard_link(tree.join("var/lib/large"), tree.join("usr/share/large")).unwrap();
        symlink("usr/bin", tree.join("bin")).unwrap();
        symlink(
            format!("/usr/share/{}", "x".repeat(200)),
            tree.join("usr/share/slow"),
        )
        .unwrap();
        let sparse = File::create_new(tree.join("var/lib/sparse")).unwrap();
        sparse.set_len(3 << 20).unwrap();
        sparse.write_all_at(&text("sparse"), 1 << 20).unwrap();
        fs::create_dir_all(tree.join("dev")).unwrap();
        fs::create_dir_all(tree.join("tmp")).unwrap();
        fs::set_permissions(tree.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    }

    fn debugfs_script(&self) -> String {
        if !self.full {
            return "set_inode_field /etc/os-release uid 1000\n".to_owned();
        }
        let mut script = String::from(
            "cd /dev\n\
             mknod sda b 8 0\n\
             mknod null c 1 3\n\
             mknod initctl p\n\
             cd /\n\
             set_inode_field /dev/sda mode 060660\n\
             set_inode_field /dev/sda gid 6\n\
             set_inode_field /dev/null mode 020666\n\
             set_inode_field /usr/bin/wall gid 5\n\
             set_inode_field /etc/shadow gid 42\n\
             set_inode_field /var/lib/large uid 100000\n\
             set_inode_field /var/lib/large gid 4000000000\n\
             set_inode_field /usr/share/slow mtime 20100203040506\n\
             ea_set /usr/bin/wall security.capability \\001\\000\\000\\002\\000\\040\\000\\000\n\
             ea_set /etc/os-release user.origin cloud\n",
        );
        // Too long for the inode: an extended attribute block of its own.
        let _ = writeln!(
            script,
            "ea_set /etc/shadow trusted.long {}",
            "0123456789".repeat(60)
        );
        script.push_str("rm /var/lib/deleted\n");
        for number in (0..120).step_by(2) {
            let _ = writeln!(script, "rm /var/lib/fragments/{number}");
        }
        script
    }
}

/// So many bytes of numbered lines.
pub fn lines(len_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len_bytes + 64);
    for number in 0.. {
        if bytes.len() >= len_bytes {
            break;
        }
        bytes.extend_from_slice(format!("{PLAIN_MARKER} {number:08}\n").as_bytes());
    }
    bytes.truncate(len_bytes);
    bytes
}

/// Runs debugfs's commands on a filesystem in a file, and checks that none of them complained.
#[track_caller]
pub fn debugfs(file: &Path, script: &str) -> String {
    let folder = scratch();
    let commands = folder.path().join("commands");
    fs::write(&commands, script).unwrap();
    let mut debugfs = command("debugfs");
    debugfs.env("E2FSPROGS_FAKE_TIME", "1600000000");
    let output = exits(debugfs.args(["-w", "-f"]).arg(&commands).arg(file), 0);
    let complaints = String::from_utf8_lossy(&output.stderr);
    // The first line is the program's version.
    assert_eq!(complaints.lines().count(), 1, "{complaints}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
