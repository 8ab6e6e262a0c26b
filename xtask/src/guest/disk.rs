//! The guest's disk: partitions as on Ubuntu's cloud images, root first by number and last by place.
//!
//! | partition | sectors of 512 bytes | content |
//! | --- | --- | --- |
//! | 14 | 2048-10239 | BIOS boot, empty |
//! | 15 | 10240-227327 (106 MiB) | EFI system partition, FAT32, labelled `UEFI` |
//! | 1 | 227328-4194270 | root, ext4, labelled `cloudimg-rootfs` |
//!
//! Root ends on the last usable sector of a disk of 2 GiB, as it does on Ubuntu's: 7 mod 8 sectors, so
//! that its last seven sectors lie behind the filesystem's last block.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::process;

/// This file, which is part of what a cached guest depends on.
pub const SOURCE: &str = include_str!("disk.rs");

const SECTOR_BYTES: u64 = 512;
const MIB_SECTORS: u64 = (1 << 20) / SECTOR_BYTES;
const DISK_SECTORS: u64 = 2048 * MIB_SECTORS;
const BIOS_BOOT_LBA: u64 = 2048;
const ESP_LBA: u64 = 10240;
const ROOT_LBA: u64 = 227_328;
/// Behind it lie the backup's 32 sectors of entries and its header.
const LAST_USABLE_LBA: u64 = DISK_SECTORS - 34;

/// The length of the root filesystem in blocks of 4096 bytes.
pub fn root_blocks() -> u64 {
    (LAST_USABLE_LBA + 1 - ROOT_LBA) * SECTOR_BYTES / 4096
}

/// The unique GUID of a partition. It is known before the disk is made, and `encrypt` keeps it.
pub fn unique_guid(number: u32) -> String {
    format!("b007ed00-0000-4000-8000-{number:012}")
}

/// What a disk is made of.
pub struct Parts<'a> {
    /// Image of the root filesystem, [`root_blocks`] long.
    pub root: &'a Path,
    pub root_type: RootType,
    /// Folder with the files of the EFI system partition.
    pub esp: &'a Path,
}

/// The type of the root's partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootType {
    /// Linux filesystem data, which Ubuntu's images have.
    LinuxData,
    /// Root of an x86-64 machine, by which systemd finds it.
    SystemdRoot,
}

impl RootType {
    pub fn guid(self) -> &'static str {
        match self {
            Self::LinuxData => "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
            Self::SystemdRoot => "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
        }
    }
}

/// Makes the disk image `disk`.
pub fn assemble(parts: &Parts, disk: &Path) -> Result<()> {
    make_sparse(disk, DISK_SECTORS)?;
    let mut sgdisk = process::program("sgdisk");
    sgdisk.arg("--set-alignment=1"); // start where the numbers say
    let partitions = [
        (14, BIOS_BOOT_LBA, ESP_LBA - 1, "ef02"),
        (15, ESP_LBA, ROOT_LBA - 1, "ef00"),
        (1, ROOT_LBA, LAST_USABLE_LBA, parts.root_type.guid()),
    ];
    for (number, first, last, kind) in partitions {
        sgdisk.arg(format!("--new={number}:{first}:{last}"));
        sgdisk.arg(format!("--typecode={number}:{kind}"));
        sgdisk.arg(format!("--partition-guid={number}:{}", unique_guid(number)));
    }
    process::quiet_output(sgdisk.arg(disk))?;

    let esp = disk.with_extension("esp");
    make_sparse(&esp, ROOT_LBA - ESP_LBA)?;
    let mut mkfs = process::program("mkfs.vfat");
    process::quiet_output(mkfs.args(["-F", "32", "-n", "UEFI"]).arg(&esp))?;
    let mut mcopy = process::program("mcopy");
    let files = parts.esp.join("EFI");
    process::quiet_output(mcopy.arg("-i").arg(&esp).arg("-s").arg(files).arg("::"))?;

    copy_into(disk, &esp, ESP_LBA)?;
    copy_into(disk, parts.root, ROOT_LBA)?;
    fs::remove_file(&esp)?;
    Ok(())
}

fn make_sparse(file: &Path, sectors: u64) -> Result<()> {
    let made = File::create(file).and_then(|made| made.set_len(sectors * SECTOR_BYTES));
    made.with_context(|| format!("cannot make {}", file.display()))
}

/// Copies a partition's content to its place, leaving holes where it has zeros.
fn copy_into(disk: &Path, partition: &Path, lba: u64) -> Result<()> {
    let mut dd = process::program("dd");
    dd.arg(format!("if={}", partition.display()))
        .arg(format!("of={}", disk.display()));
    dd.args(["bs=1M", "conv=notrunc,sparse", "status=none"]);
    process::quiet_output(dd.arg(format!("seek={}", lba / MIB_SECTORS)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_ubuntu_and_starts_at_whole_mebibytes() {
        assert_eq!(ESP_LBA % MIB_SECTORS + ROOT_LBA % MIB_SECTORS, 0);
        assert_eq!(LAST_USABLE_LBA, 4_194_270);
        assert_eq!((LAST_USABLE_LBA + 1 - ROOT_LBA) % 8, 7);
        assert_eq!(root_blocks(), 495_867);
    }
}
