//! A small disk that held an encrypted image, and over which a plain one was written.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::container::Container;
use crate::support::disk;
use crate::support::workshop::{Workshop, give_away, refused, state};
use crate::support::{command, exits, files, programs, run, scratch};

/// Number of the EFI system partition.
pub const ESP: u32 = 1;
/// Number of the root partition.
pub const ROOT: u32 = 2;
/// Where the secondary copy of a header that this program makes lies in its partition.
pub const SECONDARY: u64 = 512 << 10;

const MIB: u64 = 1 << 20;
const DISK_BYTES: u64 = 64 * MIB;
const FILESYSTEM_BYTES: u64 = 24 * MIB;
/// Stands in a file of the root filesystem.
pub const MARKER: &str = "plain text of the root filesystem";

/// How a guest is bound where the boot files do not matter.
pub const BINDING: [&str; 5] = [
    "--key-object=systemd-tpm2",
    "--standard-srk-template",
    "--no-pcr-policy",
    "--srk-pub",
    "srk.pub",
];

pub fn ready() -> bool {
    programs(&[
        "mke2fs",
        "e2fsck",
        "debugfs",
        "mkfs.vfat",
        "sgdisk",
        "cryptsetup",
        "blkid",
        "setpriv",
    ])
}

/// The options of the root filesystem.
#[derive(Clone, Copy)]
pub enum Root {
    /// Nothing is where the secondary header copy was.
    Free,
    /// A journal lies there, and it is empty: its blocks are zeros, and holes of the image.
    Journal,
    /// An inode table lies there, and none of these inodes was ever in use.
    InodeTable,
    /// The same, and the filesystem does not keep count of that.
    InodeTableWithoutChecksums,
}

/// A folder with `plain.img`, `disk.img`, which is `plain.img` encrypted, and `srk.pub`.
pub struct Past {
    pub workshop: Workshop,
    pub plain: PathBuf,
    pub disk: PathBuf,
}

impl Past {
    /// Before anything is written over the encrypted image.
    pub fn encrypted(root: Root) -> Self {
        let workshop = Workshop::new();
        let plain = workshop.path("plain.img");
        build(root, &plain);
        let srk = fs::read(crate::support::data("sealed/soft-rsa.pub")).unwrap();
        workshop.write("srk.pub", &srk);
        let this = Self {
            disk: workshop.path("disk.img"),
            plain,
            workshop,
        };
        this.run("encrypt", &["-o", "disk.img", "plain.img"]);
        this
    }

    /// With the plain image written over it in blocks of `block_bytes`, of which those that are zeros were left out.
    pub fn under(root: Root, block_bytes: u64) -> Self {
        let this = Self::encrypted(root);
        this.write_sparsely(block_bytes);
        this
    }

    /// Writes the plain image over the disk as sparse copies do.
    pub fn write_sparsely(&self, block_bytes: u64) {
        run(command("dd")
            .arg(format!("if={}", self.plain.display()))
            .arg(format!("of={}", self.disk.display()))
            .arg(format!("bs={block_bytes}"))
            .args(["conv=sparse,notrunc", "status=none"]));
    }

    /// Where the root partition lies.
    pub fn root(&self) -> Range<u64> {
        disk::read(&self.plain).byte_range(ROOT)
    }

    /// The root partition of a disk, in a file of its own.
    pub fn partition(&self, name: &str) -> PathBuf {
        let partition = self.workshop.path("partition");
        let _ = fs::remove_file(&partition);
        let image = self.workshop.path(name);
        crate::support::judge::extract(&image, &disk::read(&image), ROOT, &partition);
        partition
    }

    /// Puts a changed root partition back.
    pub fn put_back(&self, partition: &Path) {
        let (from, len_bytes) = files::open(partition);
        let to = files::open_to_write(&self.disk);
        files::copy(&from, 0..len_bytes, &to, self.root().start);
    }

    /// A command of the program, with the habits that suit this image.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = self.workshop.command(self.workshop.program());
        command.arg(name);
        if matches!(name, "encrypt" | "provision") && !arguments.contains(&"--resume") {
            command.args(["--profile", "generic"]);
        }
        command.args(arguments);
        command
    }

    /// Runs it, and gives what it says on standard error.
    #[track_caller]
    pub fn run(&self, name: &str, arguments: &[&str]) -> String {
        let output = exits(&mut self.command(name, arguments), 0);
        String::from_utf8(output.stderr).unwrap()
    }

    /// What a command that is refused says; the disk stays as it is.
    #[track_caller]
    pub fn refused(&self, name: &str, arguments: &[&str]) -> String {
        let before = state(&self.disk);
        let said = refused(&mut self.command(name, arguments));
        assert_eq!(state(&self.disk), before);
        said
    }

    /// The filesystem in the root partition of a container, judged by `e2fsck`, in a file of its own.
    #[track_caller]
    pub fn decrypted(&self, name: &str) -> PathBuf {
        let image = self.workshop.path(name);
        let container = Container::open(&image, &disk::read(&image), ROOT);
        let plain = self.workshop.path("decrypted");
        let _ = fs::remove_file(&plain);
        container.decrypt(&plain);
        exits(command("e2fsck").arg("-fn").arg(&plain), 0);
        assert!(files::find(&plain, MARKER.as_bytes()).is_some());
        plain
    }
}

fn build(root: Root, image: &PathBuf) {
    let folder = scratch();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("etc/systemd/system")).unwrap();
    fs::write(tree.join("etc/os-release"), "ID=debian\n").unwrap();
    fs::write(tree.join("etc/large"), format!("{MARKER}\n").repeat(2000)).unwrap();
    let filesystem = folder.path().join("root");
    let features = match root {
        Root::Free => "^resize_inode,^has_journal",
        Root::Journal => "^resize_inode,has_journal",
        Root::InodeTable => "^resize_inode,^has_journal,metadata_csum",
        Root::InodeTableWithoutChecksums => "^resize_inode,^has_journal,^metadata_csum,^uninit_bg",
    };
    let inodes = match root {
        Root::Free | Root::Journal => "64",
        Root::InodeTable | Root::InodeTableWithoutChecksums => "4096",
    };
    let len = format!("{}k", FILESYSTEM_BYTES / 1024);
    run(command("mke2fs")
        .args([
            "-q", "-t", "ext4", "-b", "4096", "-N", inodes, "-O", features, "-d",
        ])
        .args([&tree, &filesystem])
        .arg(len));
    let esp = folder.path().join("esp");
    File::create(&esp).unwrap().set_len(4 * MIB).unwrap();
    run(command("mkfs.vfat").arg(&esp));
    File::create(image).unwrap().set_len(DISK_BYTES).unwrap();
    run(command("sgdisk")
        .args(["-n", "1:1M:+4M", "-t", "1:EF00"])
        .args(["-n", "2:5M:+56M", "-t", "2:8304"])
        .arg(image));
    let to = files::open_to_write(image);
    for (part, start) in [(esp, MIB), (filesystem, 5 * MIB)] {
        let (from, len_bytes) = files::open(&part);
        files::copy(&from, 0..len_bytes, &to, start);
    }
    give_away(image);
}
