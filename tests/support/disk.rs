//! A second, small reader of GUID partition tables: the facts that a conversion must not change.
//!
//! Whether the table is *valid* is for `sgdisk` and `fdisk` to judge ([`check`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{command, files, run};

/// A partition table as its primary copy tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Logical sector size in bytes.
    pub sector_bytes: u64,
    /// Length of the raw view: without a VHD's footer.
    pub len_bytes: u64,
    /// The disk's GUID.
    pub guid: [u8; 16],
    /// Last LBA that a partition may use.
    pub last_usable_lba: u64,
    /// The partitions by their numbers.
    pub partitions: BTreeMap<u32, Partition>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// All of its bytes but the last LBA, which are zero here.
    pub identity: [u8; 128],
    /// First LBA.
    pub first_lba: u64,
    /// Last LBA, inclusive.
    pub last_lba: u64,
}

impl Partition {
    /// The unique GUID as text.
    pub fn unique_guid(&self) -> String {
        uuid::Uuid::from_bytes_le(self.identity[16..32].try_into().unwrap()).to_string()
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// True where a file ends in the footer of a fixed VHD.
pub fn is_vhd(path: &Path) -> bool {
    let (file, len_bytes) = files::open(path);
    let mut cookie = [0; 8];
    len_bytes > 512
        && file.read_exact_at(&mut cookie, len_bytes - 512).is_ok()
        && &cookie == b"conectix"
}

/// Reads the table of an image, raw or fixed VHD.
#[track_caller]
pub fn read(path: &Path) -> Disk {
    let (file, file_bytes) = files::open(path);
    let len_bytes = if is_vhd(path) {
        file_bytes - 512
    } else {
        file_bytes
    };
    let sector = |sector_bytes: u64| {
        let mut header = vec![0; 512];
        file.read_exact_at(&mut header, sector_bytes).unwrap();
        header
            .starts_with(b"EFI PART")
            .then_some((sector_bytes, header))
    };
    let found = sector(512).or_else(|| sector(4096));
    let (sector_bytes, header) = found.unwrap_or_else(|| panic!("{}: no GPT", path.display()));
    let count = u32_at(&header, 80);
    assert_eq!(u32_at(&header, 84), 128, "entry size");
    let mut entries = vec![0; count as usize * 128];
    file.read_exact_at(&mut entries, u64_at(&header, 72) * sector_bytes)
        .unwrap();
    let partitions = entries
        .chunks(128)
        .zip(1..)
        .filter(|(entry, _)| !files::is_zero(&entry[..16]))
        .map(|(entry, number)| {
            let mut identity: [u8; 128] = entry.try_into().unwrap();
            identity[40..48].fill(0);
            let partition = Partition {
                identity,
                first_lba: u64_at(entry, 32),
                last_lba: u64_at(entry, 40),
            };
            (number, partition)
        })
        .collect();
    Disk {
        sector_bytes,
        len_bytes,
        guid: header[56..72].try_into().unwrap(),
        last_usable_lba: u64_at(&header, 48),
        partitions,
    }
}

impl Disk {
    /// Where a partition lies, in bytes.
    pub fn byte_range(&self, number: u32) -> Range<u64> {
        let partition = &self.partitions[&number];
        partition.first_lba * self.sector_bytes..(partition.last_lba + 1) * self.sector_bytes
    }
}

/// What the programs find wrong with the partition table of a raw image; empty where it is fine.
pub fn problems(raw: &Path, sector_bytes: u64) -> String {
    if sector_bytes == 512 {
        let output = command("sgdisk").arg("-v").arg(raw).output().unwrap();
        let texts = [output.stdout, output.stderr];
        let text = texts
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .concat();
        // A damaged copy is mended in memory, and then there are no problems any more.
        let complaints = ["corrupt", "invalid", "ERROR", "Warning!"];
        return if text.contains("No problems found")
            && !complaints.iter().any(|word| text.contains(word))
        {
            String::new()
        } else {
            text
        };
    }
    // sgdisk takes every file for a disk of 512-byte sectors.
    let mut fdisk = command("fdisk");
    fdisk.args(["-b", &sector_bytes.to_string(), "-l"]).arg(raw);
    let output = fdisk.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success()
        && String::from_utf8_lossy(&output.stdout).contains("Disklabel type: gpt")
    {
        text
    } else {
        format!("no table: {text}")
    }
}

/// Writes a partition table, described in sfdisk's words, onto a raw disk in a file.
pub fn write_table(raw: &Path, sector_bytes: u64, script: &str) {
    let folder = super::scratch();
    let file = folder.path().join("table");
    std::fs::write(&file, script).unwrap();
    if sector_bytes == 512 {
        let mut sfdisk = command("sfdisk");
        sfdisk
            .args(["--quiet", "--no-reread", "--no-tell-kernel"])
            .arg(raw);
        run(sfdisk.stdin(File::open(&file).unwrap()));
        return;
    }
    // This sfdisk knows no sector size for files; fdisk does, and loads the same script.
    let mut fdisk = command("fdisk");
    fdisk.args(["-b", &sector_bytes.to_string()]).arg(raw);
    super::succeeds_fed(&mut fdisk, format!("I\n{}\nw\n", file.display()));
}
