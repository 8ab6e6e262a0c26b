//! ext4 images made by mke2fs and debugfs, and what these programs say of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use base::storage::{FileStorage, Overlay, ReadAt};
use filesystem::Result;
use filesystem::ext4::Filesystem;

use crate::support::{command, exits, run, scratch};

/// The time of every edit: 2024-01-02 03:04:05 UTC.
pub const NOW: i64 = 1_704_164_645;
/// The time of everything that mke2fs makes here: 2001-09-09 01:46:40 UTC.
const BEFORE: &str = "1000000000";

pub struct Image {
    folder: tempfile::TempDir,
    pub path: PathBuf,
}

/// An image with a small tree of a cloud guest in it; `arguments` go to mke2fs.
pub fn image(arguments: &[&str], size: &str) -> Image {
    let folder = scratch();
    let tree = folder.path().join("tree");
    fill(&tree);
    let path = folder.path().join("image");
    let mut mke2fs = command("mke2fs");
    mke2fs
        .env("E2FSPROGS_FAKE_TIME", BEFORE)
        .args(["-q", "-F", "-d"])
        .arg(&tree);
    mke2fs.args([
        "-L",
        "cloudimg-rootfs",
        "-U",
        "01234567-89ab-cdef-0123-456789abcdef",
    ]);
    run(mke2fs.args(arguments).arg(&path).arg(size));
    fs::remove_dir_all(&tree).unwrap();
    Image { folder, path }
}

fn fill(tree: &Path) {
    for folder in [
        "etc/cloud/cloud.cfg.d",
        "etc/systemd/system",
        "usr/bin",
        "home/a",
        "many",
    ] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    let write = |path: &str, bytes: &[u8]| fs::write(tree.join(path), bytes).unwrap();
    write("etc/os-release", b"ID=test\n");
    write("etc/empty", b"");
    write(
        "etc/cloud/cloud.cfg.d/90_dpkg.cfg",
        b"datasource_list: [ NoCloud, None ]\n",
    );
    let long: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    write("usr/bin/program", &long);
    fs::hard_link(tree.join("etc/os-release"), tree.join("usr/os-release")).unwrap();
    let sparse = File::create(tree.join("home/a/sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 500_000).unwrap();
    symlink("usr/bin", tree.join("bin")).unwrap();
    symlink("x".repeat(100), tree.join("home/a/long-link")).unwrap();
}

impl Image {
    /// What edits make of the image, in a file beside it.
    pub fn edited(&self, edit: impl FnOnce(&Filesystem<'_>) -> Result<()>) -> Image {
        self.try_edited(edit).unwrap()
    }

    pub fn try_edited(&self, edit: impl FnOnce(&Filesystem<'_>) -> Result<()>) -> Result<Image> {
        let before = fs::metadata(&self.path).unwrap().modified().unwrap();
        let overlay = Overlay::new(self.storage());
        let filesystem = Filesystem::open(&overlay, NOW)?;
        edit(&filesystem)?;
        filesystem.close()?;
        let folder = scratch();
        let path = folder.path().join("edited");
        fs::copy(&self.path, &path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        for range in overlay.changed_ranges() {
            let length = usize::try_from(range.end - range.start).unwrap();
            let bytes = overlay.read_vec(range.start, length).unwrap();
            file.write_all_at(&bytes, range.start).unwrap();
        }
        assert_eq!(
            fs::metadata(&self.path).unwrap().modified().unwrap(),
            before
        );
        Ok(Image { folder, path })
    }

    pub fn storage(&self) -> FileStorage {
        FileStorage::new(File::open(&self.path).unwrap()).unwrap()
    }

    /// The image with bytes changed by hand.
    pub fn patch(&self, offset: u64, bytes: &[u8]) -> &Self {
        let file = File::options().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, offset).unwrap();
        self
    }

    /// Commands of debugfs that change the image.
    #[track_caller]
    pub fn debugfs(&self, commands: &[&str]) -> &Self {
        let script = self.folder.path().join("commands");
        fs::write(&script, commands.join("\n") + "\n").unwrap();
        run(command("debugfs")
            .arg("-w")
            .arg("-f")
            .arg(&script)
            .arg(&self.path));
        self
    }

    /// The answer of debugfs to one command.
    pub fn ask(&self, question: &str) -> String {
        run(command("debugfs").arg("-R").arg(question).arg(&self.path))
    }

    /// Everything that debugfs says of the inode, its extended attributes too.
    pub fn stat(&self, path: &str) -> String {
        self.ask(&format!("stat \"{path}\""))
    }

    #[track_caller]
    pub fn tune2fs(&self, arguments: &[&str]) -> &Self {
        run(command("tune2fs").args(arguments).arg(&self.path));
        self
    }

    #[track_caller]
    pub fn assert_clean(&self) -> &Self {
        exits(command("e2fsck").arg("-fn").arg(&self.path), 0);
        self
    }

    /// The bytes of a file, read by debugfs.
    pub fn cat(&self, path: &str) -> Vec<u8> {
        exits(
            command("debugfs")
                .arg("-R")
                .arg(format!("cat {path}"))
                .arg(&self.path),
            0,
        )
        .stdout
    }

    /// What debugfs says of every inode in the tree, by its path; content as the program extracts it.
    pub fn tree(&self) -> BTreeMap<String, (String, Vec<u8>)> {
        let out = self.folder.path().join("rdump");
        let _ = fs::remove_dir_all(&out);
        fs::create_dir(&out).unwrap();
        run(command("debugfs")
            .arg("-R")
            .arg(format!("rdump / {}", out.display()))
            .arg(&self.path));
        let mut files = BTreeMap::new();
        walk(&out, &out, &mut files);
        let script = self.folder.path().join("stats");
        let questions: Vec<String> = files
            .keys()
            .map(|path| format!("stat \"{path}\""))
            .collect();
        fs::write(&script, questions.join("\n") + "\n").unwrap();
        let answers = run(command("debugfs").arg("-f").arg(&script).arg(&self.path));
        let answers: Vec<&str> = answers.split("debugfs: stat ").skip(1).collect();
        assert_eq!(answers.len(), files.len());
        for ((_, content), answer) in files.iter_mut().zip(answers) {
            answer.clone_into(&mut content.0);
        }
        files
    }
}

fn walk(root: &Path, folder: &Path, files: &mut BTreeMap<String, (String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes()
        } else if kind.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let name = format!("/{}", path.strip_prefix(root).unwrap().display());
        files.insert(name, (String::new(), content));
        if kind.is_dir() {
            walk(root, &path, files);
        }
    }
}

/// Every program that the tests of ext4 need.
pub fn ready() -> bool {
    crate::support::programs(&["mke2fs", "debugfs", "e2fsck", "tune2fs", "dumpe2fs"])
}

/// The superblock's checksum made right again after a change by hand.
pub fn fix_superblock_checksum(image: &Image) {
    let mut bytes = image.storage().read_vec(1024, 1024).unwrap();
    let checksum = crc32c(&bytes[..1020]);
    bytes[1020..].copy_from_slice(&checksum.to_le_bytes());
    image.patch(1024, &bytes);
}

/// CRC-32C without the last inversion, by long division.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    crc
}
