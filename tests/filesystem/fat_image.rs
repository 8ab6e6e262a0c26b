//! FAT images made by mkfs.vfat and filled by mtools, and what these programs say of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use base::storage::{FileStorage, Overlay, ReadAt};
use filesystem::Result;
use filesystem::fat::Fat;

use crate::support::{command, exits, programs, run, scratch};

/// The time of every edit: 2024-01-02 03:04:05 UTC.
pub const NOW: i64 = 1_704_164_645;

pub struct Image {
    folder: tempfile::TempDir,
    pub path: PathBuf,
}

pub fn ready() -> bool {
    programs(&["mkfs.vfat", "fsck.vfat", "mcopy", "mmd", "mdir"])
}

/// The three widths, in the sizes and with the options of real ones.
pub const KINDS: [(&[&str], u64); 4] = [
    (&["-F", "12"], 2 << 20),
    (&["-F", "16"], 16 << 20),
    (&["-F", "32", "-s", "1"], 40 << 20),
    (&["-F", "12", "-S", "4096"], 8 << 20),
];

/// An ESP as an image of Ubuntu has it: shim, boot loader and a file with a long name.
pub fn image(arguments: &[&str], len_bytes: u64) -> Image {
    let folder = scratch();
    let path = folder.path().join("esp");
    File::create(&path).unwrap().set_len(len_bytes).unwrap();
    run(command("mkfs.vfat")
        .args(["-n", "UEFI", "-i", "01234567"])
        .args(arguments)
        .arg(&path));
    let image = Image { folder, path };
    image.mtools("mmd", &["::/EFI", "::/EFI/ubuntu", "::/EFI/BOOT"]);
    image.add("EFI/BOOT/BOOTX64.EFI", &pattern(30_000, 3));
    image.add("EFI/ubuntu/shimx64.efi", &pattern(40_000, 5));
    image.add("EFI/ubuntu/GrubX64.efi", &pattern(100_000, 7));
    image.add("EFI/ubuntu/a file with a long name.cfg", b"configfile\n");
    image
}

pub fn pattern(len: usize, factor: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from(i * factor % 251).unwrap())
        .collect()
}

impl Image {
    fn mtools_command(&self, program: &str) -> Command {
        let mut mtools = command(program);
        mtools
            .env("MTOOLS_SKIP_CHECK", "1")
            .arg("-i")
            .arg(&self.path);
        mtools
    }

    #[track_caller]
    pub fn mtools(&self, program: &str, arguments: &[&str]) -> String {
        run(self.mtools_command(program).args(arguments))
    }

    #[track_caller]
    pub fn add(&self, path: &str, bytes: &[u8]) {
        let file = self.folder.path().join("file");
        fs::write(&file, bytes).unwrap();
        run(self
            .mtools_command("mcopy")
            .arg(&file)
            .arg(format!("::/{path}")));
    }

    /// What edits make of the image, in a file beside it.
    pub fn edited(&self, edit: impl FnOnce(&Fat<'_>) -> Result<()>) -> Image {
        let overlay = Overlay::new(self.storage());
        edit(&Fat::open(&overlay, NOW).unwrap()).unwrap();
        let folder = scratch();
        let path = folder.path().join("edited");
        fs::copy(&self.path, &path).unwrap();
        Image { folder, path }.patched(&overlay)
    }

    pub fn storage(&self) -> FileStorage {
        FileStorage::new(File::open(&self.path).unwrap()).unwrap()
    }

    pub fn patch(&self, offset: u64, bytes: &[u8]) -> &Self {
        let file = File::options().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, offset).unwrap();
        self
    }

    /// The image with what an overlay above it has changed.
    pub fn patched(self, overlay: &Overlay<FileStorage>) -> Image {
        for range in overlay.changed_ranges() {
            let length = usize::try_from(range.end - range.start).unwrap();
            let bytes = overlay.read_vec(range.start, length).unwrap();
            self.patch(range.start, &bytes);
        }
        self
    }

    /// The first cluster of a file or directory, as `mshowfat` tells it.
    pub fn first_cluster_of(&self, path: &str) -> u64 {
        let text = self.mtools("mshowfat", &[&format!("::/{path}")]);
        let clusters = text.rsplit('<').next().unwrap();
        let digits = clusters.split(|byte: char| !byte.is_ascii_digit()).next();
        digits.unwrap().parse().unwrap()
    }

    #[track_caller]
    pub fn assert_clean(&self) -> &Self {
        exits(command("fsck.vfat").arg("-n").arg(&self.path), 0);
        self
    }

    /// The bytes of a file, read by mtools.
    #[track_caller]
    pub fn cat(&self, path: &str) -> Vec<u8> {
        exits(
            self.mtools_command("mcopy")
                .arg(format!("::/{path}"))
                .arg("-"),
            0,
        )
        .stdout
    }

    /// The bytes of every file, read by mtools, by its path.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.mtools("mdir", &["-/", "-b", "::"])
            .lines()
            .filter(|path| !path.ends_with('/') && !path.is_empty())
            .map(|path| path.trim_start_matches("::/").to_owned())
            .map(|path| (path.clone(), self.cat(&path)))
            .collect()
    }
}
