//! Cloud images as an ordinary user builds them: no mounts, no loop devices.
//!
//! They are built once and kept in cargo's folder for tests, under a name that changes with this code.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::disk::{self, Disk};
use super::ext4::{self, Tree};
use super::root::Root;
use super::{command, data, files, run, scratch};

/// Number of the root partition, placed last as in Ubuntu's images.
pub const ROOT: u32 = 1;
/// Number of the EFI system partition.
pub const ESP: u32 = 15;
/// Number of the partition behind the root, where there is one.
pub const BEHIND: u32 = 16;

/// Unique GUID of the root partition.
pub const ROOT_GUID: &str = "a1b2c3d4-0001-4000-8000-000000000001";
/// Unique GUID of the EFI system partition.
pub const ESP_GUID: &str = "a1b2c3d4-0015-4000-8000-000000000015";

/// The type of a Linux filesystem.
pub const TYPE_LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
/// The type of an x86-64 root filesystem.
pub const TYPE_ROOT: &str = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";
/// The type of an EFI system partition.
pub const TYPE_ESP: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
/// The type of a home filesystem.
pub const TYPE_HOME: &str = "933AC7E1-2EB4-4F13-B844-0E14E2AEF915";

const MIB: u64 = 1 << 20;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What an image looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Ubuntu's cloud image, smaller: the root ends at the last usable LBA, 7 modulo 8 sectors long.
    Stock,
    /// A confidential-VM image: root by type, with a name and an attribute; a unified kernel on the ESP.
    Demo,
    /// 1 KiB blocks.
    SmallBlocks,
    /// Free space behind the root, as in Azure's images.
    Azure,
    /// Too little free space behind the root, but room within it; a partition follows.
    TightGap,
    /// A partition directly behind the root.
    Followed,
    /// The filesystem leaves room for the header.
    Roomy,
    /// A disk of 4096-byte sectors.
    LargeSectors,
    /// Such a disk, and 1 KiB blocks.
    LargeSectorsSmallBlocks,
    /// No cloud-init.
    Bare,
    /// As little as possible, for tests that look at every byte of a trace.
    Tiny,
    /// As little, and nothing where copies of a LUKS2 header of any size may lie: from 16 KiB to 8 MiB.
    Bored,
}

/// All shapes but the last, whose filesystem no program would make.
pub const SHAPES: [Shape; 11] = [
    Shape::Stock,
    Shape::Demo,
    Shape::SmallBlocks,
    Shape::Azure,
    Shape::TightGap,
    Shape::Followed,
    Shape::Roomy,
    Shape::LargeSectors,
    Shape::LargeSectorsSmallBlocks,
    Shape::Bare,
    Shape::Tiny,
];

/// The numbers behind a shape, in the disk's sectors and the filesystem's blocks.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    /// Sector size of the disk in bytes.
    pub sector_bytes: u64,
    /// Length of the disk.
    pub disk_sectors: u64,
    /// First LBA of the root.
    pub root_first_lba: u64,
    /// Last LBA of the root.
    pub root_last_lba: u64,
    /// First LBA of the partition behind the root.
    pub next_first_lba: Option<u64>,
    /// Block size of the root filesystem in bytes.
    pub block_bytes: u64,
    /// Length of the root filesystem in blocks.
    pub blocks: u64,
}

impl Geometry {
    /// Last usable LBA of a disk of so many sectors.
    pub fn last_usable_lba(&self, disk_sectors: u64) -> u64 {
        disk_sectors - 2 - 128 * 128 / self.sector_bytes
    }

    /// F.
    pub fn filesystem_bytes(&self) -> u64 {
        self.blocks * self.block_bytes
    }

    /// P.
    pub fn partition_bytes(&self) -> u64 {
        (self.root_last_lba + 1 - self.root_first_lba) * self.sector_bytes
    }
}

impl Shape {
    /// Where everything is.
    pub fn geometry(self) -> Geometry {
        let sector_bytes = match self {
            Self::LargeSectors | Self::LargeSectorsSmallBlocks => 4096,
            _ => 512,
        };
        let block_bytes = match self {
            Self::SmallBlocks | Self::LargeSectorsSmallBlocks | Self::Tiny | Self::Bored => 1024,
            _ => 4096,
        };
        let sectors = |mib: u64| mib * MIB / sector_bytes;
        // 111 MiB of BIOS boot and ESP, then the root.
        let root_first_lba = if self.is_small() {
            sectors(3)
        } else {
            sectors(111)
        };
        let (mut disk_sectors, behind) = match self {
            Self::Tiny => (sectors(8), None),
            Self::Bored => (sectors(20), None),
            Self::Azure => (sectors(151) + sectors(64), None),
            Self::TightGap => (sectors(171), Some(sectors(164))),
            Self::Followed => (sectors(160), Some(sectors(151))),
            Self::Roomy => (sectors(171), None),
            _ => (sectors(151), None),
        };
        if matches!(self, Self::Stock | Self::Bare) {
            // Not a whole number of MiB, which a VHD must be.
            disk_sectors += 8;
        }
        let mut geometry = Geometry {
            sector_bytes,
            disk_sectors,
            root_first_lba,
            root_last_lba: 0,
            next_first_lba: behind,
            block_bytes,
            blocks: 0,
        };
        geometry.root_last_lba = match self {
            // Built as the last usable LBA of a smaller disk.
            Self::Azure => geometry.last_usable_lba(sectors(151)),
            Self::TightGap | Self::Followed => sectors(151) - 1,
            _ => geometry.last_usable_lba(disk_sectors),
        };
        let room_bytes = match self {
            Self::TightGap => 5 * MIB,
            Self::Roomy => 20 * MIB,
            _ => 0,
        };
        geometry.blocks = (geometry.partition_bytes() - room_bytes) / block_bytes;
        geometry
    }

    fn is_small(self) -> bool {
        matches!(self, Self::Tiny | Self::Bored)
    }

    /// The type of the root partition.
    pub fn root_type(self) -> &'static str {
        if self == Self::Demo {
            TYPE_ROOT
        } else {
            TYPE_LINUX
        }
    }

    fn root(self) -> Root {
        let geometry = self.geometry();
        Root {
            block_bytes: geometry.block_bytes,
            blocks: geometry.blocks,
            cloud_init: self != Self::Bare,
            full: !self.is_small(),
            bored: self == Self::Bored,
        }
    }

    fn script(self) -> String {
        let geometry = self.geometry();
        let sectors = |mib: u64| mib * MIB / geometry.sector_bytes;
        let (bios, esp, esp_sectors) = match self {
            Self::Tiny | Self::Bored => (sectors(1), sectors(2), sectors(1)),
            _ => (sectors(1), sectors(5), sectors(106)),
        };
        let mut script = format!(
            "label: gpt\nlabel-id: a1b2c3d4-0000-4000-8000-000000000000\nfirst-lba: {}\n\
             14 : start={bios}, size={}, type=21686148-6449-6E6F-744E-656564454649, uuid=a1b2c3d4-0014-4000-8000-000000000014\n\
             {ESP} : start={esp}, size={esp_sectors}, type={TYPE_ESP}, uuid={ESP_GUID}\n\
             {ROOT} : start={}, size={}, type={}, uuid={ROOT_GUID}{}\n",
            2 + 128 * 128 / geometry.sector_bytes,
            esp - bios,
            geometry.root_first_lba,
            geometry.root_last_lba + 1 - geometry.root_first_lba,
            self.root_type(),
            if self == Self::Demo {
                ", name=\"the root \u{e9}\", attrs=\"GUID:59\""
            } else {
                ""
            },
        );
        if let Some(start) = geometry.next_first_lba {
            script.push_str(&format!(
                "{BEHIND} : start={start}, size={}, type={TYPE_HOME}, uuid=a1b2c3d4-0016-4000-8000-000000000016\n",
                sectors(2)
            ));
        }
        script
    }

    /// Builds the image in a new file.
    fn build(self, file: &Path) {
        let geometry = self.geometry();
        let folder = scratch();
        let root = folder.path().join("root");
        self.root().make(&root);
        let image = File::create_new(file).unwrap();
        image
            .set_len(geometry.disk_sectors * geometry.sector_bytes)
            .unwrap();
        disk::write_table(file, geometry.sector_bytes, &self.script());
        let table = disk::read(file);
        if !self.is_small() {
            Self::make_esp(&folder.path().join("esp"), &table, &image);
        }
        let (root, len_bytes) = files::open(&root);
        files::copy(&root, 0..len_bytes, &image, table.byte_range(ROOT).start);
        let mut marks = vec![(14, "a boot loader"), (BEHIND, "another filesystem")];
        marks.retain(|(number, _)| table.partitions.contains_key(number));
        for (number, mark) in marks {
            files::write(file, table.byte_range(number).start + 4096, mark.as_bytes());
        }
        // Boot code in front of the protective MBR's entries.
        files::write(file, 0, b"\xeb\x63boot code");
        assert_eq!(disk::problems(file, geometry.sector_bytes), "", "{self:?}");
    }

    fn make_esp(esp: &Path, table: &Disk, image: &File) {
        let range = table.byte_range(ESP);
        let made = File::create_new(esp).unwrap();
        made.set_len(range.end - range.start).unwrap();
        let sector = table.sector_bytes.to_string();
        let mut mkfs = command("mkfs.vfat");
        mkfs.args([
            "-F",
            "32",
            "-s",
            "1",
            "-n",
            "UEFI",
            "-i",
            "1234abcd",
            "--invariant",
            "-S",
            &sector,
        ]);
        if table.sector_bytes == 4096 {
            // 106 MiB have too few clusters of 4096 bytes for FAT32.
            mkfs = command("mkfs.vfat");
            mkfs.args([
                "-F",
                "16",
                "-s",
                "1",
                "-n",
                "UEFI",
                "--invariant",
                "-S",
                &sector,
            ]);
        }
        run(mkfs.arg(esp));
        let folder = scratch();
        let file = folder.path().join("file");
        for name in ["EFI", "EFI/BOOT", "EFI/ubuntu"] {
            run(command("mmd").arg("-i").arg(esp).arg(format!("::{name}")));
        }
        for name in [
            "EFI/BOOT/BOOTX64.EFI",
            "EFI/ubuntu/shimx64.efi",
            "EFI/ubuntu/grubx64.efi",
        ] {
            let content = match name {
                // What --kernel-efi puts beside it, it must be able to start.
                "EFI/ubuntu/shimx64.efi" => fs::read(data("vectors/pe/shim-std.efi")).unwrap(),
                name => pe(name, 300_000),
            };
            fs::write(&file, content).unwrap();
            run(command("mcopy")
                .arg("-i")
                .arg(esp)
                .arg(&file)
                .arg(format!("::{name}")));
        }
        exits_clean_fat(esp);
        files::copy(&made, 0..range.end - range.start, image, range.start);
    }
}

/// A file that passes for a PE image with a certificate table, with content of its own.
pub fn pe(content: &str, len_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; 0x400];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x86].copy_from_slice(b"PE\0\0\x64\x86");
    bytes[0x94] = 0xf0; // size of the optional header
    bytes[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
    bytes[0x98 + 108] = 16; // data directories
    bytes[0x98 + 60..0x98 + 64].copy_from_slice(&0x200_u32.to_le_bytes()); // size of the headers
    bytes[0x98 + 144..0x98 + 148].copy_from_slice(&0x200_u32.to_le_bytes());
    bytes[0x98 + 148..0x98 + 152].copy_from_slice(&8_u32.to_le_bytes());
    while bytes.len() < len_bytes {
        bytes.extend_from_slice(format!("{content} {:08}\n", bytes.len()).as_bytes());
    }
    bytes.truncate(len_bytes);
    bytes
}

/// Checks a FAT filesystem in a file.
#[track_caller]
pub fn exits_clean_fat(file: &Path) {
    super::exits(command("fsck.vfat").arg("-n").arg(file), 0);
}

/// Changes a partition of an image by way of a file of its own.
pub fn change_partition(image: &Path, table: &Disk, number: u32, change: impl FnOnce(&Path)) {
    let folder = scratch();
    let partition = folder.path().join("partition");
    super::judge::extract(image, table, number, &partition);
    let range = table.byte_range(number);
    change(&partition);
    let (changed, len_bytes) = files::open(&partition);
    assert_eq!(len_bytes, range.end - range.start);
    let image = files::open_to_write(image);
    // Blocks of zeros, too.
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < len_bytes {
        let bytes = &mut buffer[..usize::try_from((len_bytes - at).min(1 << 20)).unwrap()];
        changed.read_exact_at(bytes, at).unwrap();
        image.write_all_at(bytes, range.start + at).unwrap();
        at += bytes.len() as u64;
    }
}

/// An image to convert.
#[derive(Debug)]
pub struct Image {
    /// Where everything is.
    pub geometry: Geometry,
    /// False where no cloud-init is in the root filesystem.
    pub has_cloud_init: bool,
    /// The raw disk.
    pub raw: PathBuf,
    /// The same as a fixed VHD; [`Image::vhd`] makes it.
    vhd: PathBuf,
    /// Its partition table.
    pub table: Disk,
    tree: OnceLock<Tree>,
}

impl Image {
    /// An image that was built elsewhere, with the root and the ESP in the partitions [`ROOT`] and [`ESP`].
    pub fn of(raw: &Path) -> Self {
        let table = disk::read(raw);
        let behind = table
            .partitions
            .values()
            .map(|partition| partition.first_lba);
        let root = &table.partitions[&ROOT];
        let geometry = Geometry {
            sector_bytes: table.sector_bytes,
            disk_sectors: table.len_bytes / table.sector_bytes,
            root_first_lba: root.first_lba,
            root_last_lba: root.last_lba,
            next_first_lba: behind.filter(|lba| *lba > root.last_lba).min(),
            block_bytes: 0,
            blocks: 0,
        };
        let vhd = kept_folder().join("other.vhd");
        let mut image = Self {
            geometry,
            has_cloud_init: false,
            raw: raw.to_owned(),
            vhd,
            table,
            tree: OnceLock::new(),
        };
        let tree = image.tree();
        let has_cloud_init = tree.entries.contains_key("/etc/cloud/cloud.cfg.d");
        let geometry = Geometry {
            block_bytes: tree.block_bytes,
            blocks: tree.blocks,
            ..geometry
        };
        image.geometry = geometry;
        image.has_cloud_init = has_cloud_init;
        image
    }

    /// The image as qemu's fixed VHD.
    pub fn vhd(&self) -> &Path {
        kept(&self.vhd, |file| {
            let mut convert = command("qemu-img");
            convert.args([
                "convert",
                "-f",
                "raw",
                "-O",
                "vpc",
                "-o",
                "subformat=fixed,force_size",
            ]);
            run(convert.arg(&self.raw).arg(file));
        });
        &self.vhd
    }

    /// Copies the root filesystem into a file of its own.
    pub fn extract_root(&self, file: &Path) {
        super::judge::extract(&self.raw, &self.table, ROOT, file);
    }

    /// The tree of the root filesystem, read once.
    pub fn tree(&self) -> &Tree {
        self.tree.get_or_init(|| {
            let folder = scratch();
            let root = folder.path().join("root");
            self.extract_root(&root);
            ext4::read(&root)
        })
    }
}

/// The image of a shape, built at the first call. It must not be changed.
pub fn image(shape: Shape) -> &'static Image {
    const COUNT: usize = Shape::Bored as usize + 1;
    static BUILT: [OnceLock<Image>; COUNT] = [const { OnceLock::new() }; COUNT];
    BUILT[shape as usize].get_or_init(|| {
        let raw = kept_folder().join(format!("{shape:?}.img").to_lowercase());
        kept(&raw, |file| shape.build(file));
        Image {
            geometry: shape.geometry(),
            has_cloud_init: shape != Shape::Bare,
            vhd: raw.with_extension("vhd"),
            table: disk::read(&raw),
            raw,
            tree: OnceLock::new(),
        }
    })
}

/// Makes a file under another name and renames it, so that it is there whole or not at all.
fn kept(file: &Path, make: impl FnOnce(&Path)) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if file.exists() {
        return;
    }
    let unfinished = file.with_extension(format!("unfinished-{}", std::process::id()));
    let _ = fs::remove_file(&unfinished);
    make(&unfinished);
    fs::rename(&unfinished, file).unwrap();
}

/// Cargo's folder for what tests make, and in it one for this version of the code that makes images.
fn kept_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let mut hash = Sha256::new();
        for code in [
            include_str!("image.rs"),
            include_str!("root.rs"),
            include_str!("disk.rs"),
        ] {
            hash.update(code);
        }
        let name = format!("images-{}", &hex::encode(hash.finalize())[..16]);
        let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = all.join(&name);
        fs::create_dir_all(&folder).unwrap();
        // What earlier versions made; a day is longer than any run.
        for entry in fs::read_dir(all).unwrap().flatten() {
            let old = entry.file_name().to_string_lossy().into_owned();
            let modified = entry.metadata().and_then(|folder| folder.modified());
            let is_old = modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > DAY));
            if old.starts_with("images-") && old != name && is_old {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        folder
    })
}
