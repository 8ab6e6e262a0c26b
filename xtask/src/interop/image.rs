//! A small image whose EFI system partition has a shim and kernels that the tests' firmware starts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::disk::make_sparse;
use crate::process::{self, program};

/// Where the boot files come from: they are signed, by keys that the configuration holds.
const DATA: &str = "tests/data/vectors";

const SECTOR_BYTES: u64 = 512;
const MIB: u64 = 1 << 20;
const ESP_MIB: (u64, u64) = (1, 34);
const ROOT_MIB: (u64, u64) = (36, 8);
const DISK_MIB: u64 = 45;

/// The UEFI configuration of a guest that starts them.
pub fn configuration() -> PathBuf {
    crate::project_folder().join(DATA).join("uefi/std.json")
}

/// Makes an image with this many kernels.
pub fn make(image: &Path, kernels: usize) -> Result<()> {
    make_sparse(image, DISK_MIB * MIB)?;
    let mut sgdisk = program("sgdisk");
    for (number, (start, len), code) in [(15, ESP_MIB, "ef00"), (1, ROOT_MIB, "8300")] {
        sgdisk.arg(format!("--new={number}:{start}M:+{len}M"));
        sgdisk.arg(format!("--typecode={number}:{code}"));
    }
    process::quiet_output(sgdisk.arg(image))?;

    let (start, len) = ROOT_MIB;
    // A root has at least this.
    let root = image.with_extension("root");
    fs::create_dir_all(root.join("etc"))
        .with_context(|| format!("cannot make {}", root.display()))?;
    let mut mke2fs = program("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "1024", "-d"]);
    mke2fs.arg(&root).arg("-E");
    mke2fs.arg(format!("offset={}", start * MIB)).arg(image);
    process::quiet_output(mke2fs.arg(format!("{len}M")))?;
    make_esp(image, kernels)
}

fn make_esp(image: &Path, kernels: usize) -> Result<()> {
    let (start, len) = ESP_MIB;
    let mut mkfs = program("mkfs.vfat");
    mkfs.args(["-F", "32", "-s", "1", "-n", "UEFI"])
        .arg(format!("--offset={}", start * MIB / SECTOR_BYTES))
        .arg(image)
        .arg((len * 1024).to_string()); // in KiB
    process::quiet_output(&mut mkfs)?;

    let mtools = |name: &str| {
        let mut mtools = program(name);
        mtools.env("MTOOLS_SKIP_CHECK", "1").arg("-i").arg(format!(
            "{}@@{}",
            image.display(),
            start * MIB
        ));
        mtools
    };
    process::quiet_output(mtools("mmd").args(["::/EFI", "::/EFI/ubuntu"]))?;
    let boot_files = crate::project_folder().join(DATA).join("pe");
    let mut files = vec![("shim-std.efi".to_owned(), "shimx64.efi".to_owned())];
    files.extend((1..=kernels).map(|number| {
        let name = format!("kernel.efi-6.8.0-{number}-test");
        (format!("kernel-ten-{number}.efi"), name)
    }));
    for (from, to) in files {
        let from = boot_files.join(from);
        fs::metadata(&from).with_context(|| format!("no {}", from.display()))?;
        let mut mcopy = mtools("mcopy");
        process::quiet_output(mcopy.arg(from).arg(format!("::/EFI/ubuntu/{to}")))?;
    }
    Ok(())
}
