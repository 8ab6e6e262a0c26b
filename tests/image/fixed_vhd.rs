//! Fixed VHDs: those of qemu are read, ours are read by qemu, damaged ones are refused.

use std::fs;
use std::path::{Path, PathBuf};

use base::storage::FileStorage;
use gpt::disk_end_bytes;
use image::{DiskFormat, Footer, Warning, detect, vhd_time};
use uuid::Uuid;

use crate::{MIB, detected, raw_disk, support};

/// A VHD that qemu-img makes of a raw disk, with its size kept.
fn by_qemu(raw: &Path) -> PathBuf {
    let vhd = raw.with_extension("vhd");
    let mut convert = support::command("qemu-img");
    convert.args([
        "convert",
        "-q",
        "-f",
        "raw",
        "-O",
        "vpc",
        "-o",
        "subformat=fixed,force_size",
    ]);
    support::run(convert.args([raw, &vhd]));
    vhd
}

/// Puts the checksum of a changed footer right.
fn seal(bytes: &mut [u8]) {
    let footer = bytes.len() - 512;
    let checksum = footer + 64..footer + 68;
    bytes[checksum.clone()].fill(0);
    let sum: u32 = bytes[footer..].iter().map(|byte| u32::from(*byte)).sum();
    bytes[checksum].copy_from_slice(&(!sum).to_be_bytes());
}

/// Changes the footer of a VHD by qemu; `change` sees its 512 bytes.
fn changed(folder: &Path, change: impl FnOnce(&mut [u8])) -> PathBuf {
    let path = by_qemu(&raw_disk(folder));
    let mut bytes = fs::read(&path).unwrap();
    let footer = bytes.len() - 512;
    change(&mut bytes[footer..]);
    seal(&mut bytes);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_vhd_of_qemu_is_told_from_the_raw_disk_in_it() {
    if !support::programs(&["sfdisk", "qemu-img"]) {
        return;
    }
    let folder = support::scratch();
    let raw = raw_disk(folder.path());
    let vhd = by_qemu(&raw);
    let found = detected(&vhd).unwrap();
    assert_eq!(
        (found.format, found.disk_bytes),
        (DiskFormat::FixedVhd, 4 << 20)
    );
    assert_eq!(found.warnings, []);
    let found = detected(&raw).unwrap();
    assert_eq!((found.format, found.disk_bytes), (DiskFormat::Raw, 4 << 20));
}

#[test]
fn a_footer_of_ours_is_accepted_by_qemu_and_leaves_the_disk_as_it_is() {
    if !support::programs(&["sfdisk", "qemu-img"]) {
        return;
    }
    let folder = support::scratch();
    let raw = raw_disk(folder.path());
    let vhd = raw.with_extension("vhd");
    let mut bytes = fs::read(&raw).unwrap();
    let footer = Footer::new(
        4 << 20,
        Uuid::from_bytes([0x5a; 16]),
        vhd_time(1_700_000_000),
    );
    bytes.extend_from_slice(&footer.to_bytes());
    fs::write(&vhd, bytes).unwrap();

    let mut info = support::command("qemu-img");
    let info = support::run(info.args(["info", "-f", "vpc", "--output=json"]).arg(&vhd));
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(
        (&info["virtual-size"], &info["format"]),
        (&(4 << 20).into(), &"vpc".into())
    );
    let mut compare = support::command("qemu-img");
    support::run(
        compare
            .args(["compare", "-q", "-f", "vpc", "-F", "raw"])
            .args([&vhd, &raw]),
    );
    assert_eq!(detected(&vhd).unwrap().warnings, []);
}

#[test]
fn qemu_takes_large_disks_of_ours_at_their_exact_size() {
    if !support::programs(&["qemu-img"]) {
        return;
    }
    let folder = support::scratch();
    let path = folder.path().join("disk.vhd");
    // A size whose geometry falls short of it, and the largest that Azure takes.
    for disk_bytes in [30 << 30, (30 << 30) + (1 << 20), 200 << 30] {
        let file = fs::File::create(&path).unwrap();
        file.set_len(disk_bytes + 512).unwrap();
        let footer = Footer::new(disk_bytes, Uuid::nil(), 0).to_bytes();
        std::os::unix::fs::FileExt::write_all_at(&file, &footer, disk_bytes).unwrap();
        let mut info = support::command("qemu-img");
        let info = support::run(info.args(["info", "-f", "vpc", "--output=json"]).arg(&path));
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["virtual-size"], disk_bytes);
    }
}

#[test]
fn a_wrong_checksum_is_refused() {
    if !support::programs(&["sfdisk", "qemu-img"]) {
        return;
    }
    let folder = support::scratch();
    let path = by_qemu(&raw_disk(folder.path()));
    let mut bytes = fs::read(&path).unwrap();
    let field = bytes.len() - 512 + 64;
    let right = u32::from_be_bytes(bytes[field..field + 4].try_into().unwrap());
    bytes[field..field + 4].copy_from_slice(&[0, 0, 0, 1]);
    fs::write(&path, bytes).unwrap();
    assert_eq!(
        detected(&path).unwrap_err().to_string(),
        format!("the VHD footer's checksum 0x00000001 should be {right:#010x}")
    );
}

#[test]
fn a_size_that_is_not_the_files_is_refused() {
    if !support::programs(&["sfdisk", "qemu-img"]) {
        return;
    }
    let folder = support::scratch();
    let path = changed(folder.path(), |footer| {
        footer[48..56].copy_from_slice(&(8_u64 << 20).to_be_bytes());
    });
    assert_eq!(
        detected(&path).unwrap_err().to_string(),
        "the VHD footer says 8388608 bytes of disk, before it lie 4194304"
    );
}

#[test]
fn types_other_than_fixed_are_refused() {
    if !support::programs(&["sfdisk", "qemu-img"]) {
        return;
    }
    let folder = support::scratch();
    for (kind, message) in [
        (
            4,
            "the file is a differencing VHD, which is not read directly",
        ),
        (3, "the file is a dynamic VHD, which is not read directly"),
        (0, "the VHD footer's disk type 0 is not 2 (fixed)"),
    ] {
        let path = changed(folder.path(), |footer| footer[63] = kind);
        assert_eq!(detected(&path).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_footer_of_511_bytes_is_named() {
    if !support::programs(&["sfdisk", "qemu-img"]) {
        return;
    }
    let folder = support::scratch();
    let path = by_qemu(&raw_disk(folder.path()));
    let mut bytes = fs::read(&path).unwrap();
    bytes.pop();
    fs::write(&path, bytes).unwrap();
    assert_eq!(
        detected(&path).unwrap_err().to_string(),
        "the file is a VHD with a footer of 511 bytes (old Virtual PC), which is not read directly"
    );
}

#[test]
fn what_others_will_object_to_is_said() {
    if !support::programs(&["sfdisk", "qemu-img"]) {
        return;
    }
    let folder = support::scratch();
    // Creator `qemu` with the geometry of this size: 120 x 4 x 17 sectors, which is less.
    let path = changed(folder.path(), |footer| {
        footer[28..32].copy_from_slice(b"qemu");
        footer[56..60].copy_from_slice(&[0, 120, 4, 17]);
    });
    let warnings = detected(&path).unwrap().warnings;
    assert_eq!(
        warnings[0].to_string(),
        "qemu reads the VHD as 4177920 bytes of its 4194304, because of its creator and geometry"
    );
    let mut info = support::command("qemu-img");
    let info = support::run(info.args(["info", "-f", "vpc"]).arg(&path));
    assert!(info.contains("(4177920 bytes)"), "{info}");

    let odd = folder.path().join("odd.vhd");
    let mut bytes = vec![0; MIB + 512];
    bytes.extend_from_slice(&Footer::new(bytes.len() as u64, Uuid::nil(), 0).to_bytes());
    fs::write(&odd, bytes).unwrap();
    let warnings = detected(&odd).unwrap().warnings;
    assert_eq!(
        warnings,
        [Warning::NotWholeMebibytes {
            disk_bytes: (1 << 20) + 512
        }]
    );
    assert_eq!(
        warnings[0].to_string(),
        "the VHD's disk of 1049088 bytes is no multiple of 1 MiB, which Azure refuses"
    );
}

#[test]
fn a_disk_that_fills_the_file_is_raw_and_one_before_the_footer_is_not() {
    if !support::programs(&["sfdisk", "qemu-img"]) {
        return;
    }
    let folder = support::scratch();
    let vhd = by_qemu(&raw_disk(folder.path()));
    let file = FileStorage::new(fs::File::open(vhd).unwrap()).unwrap();
    let end_bytes = disk_end_bytes(&file).unwrap().unwrap();
    assert_eq!(
        detect(&file, Some(end_bytes)).unwrap().format,
        DiskFormat::FixedVhd
    );
    assert_eq!(detect(&file, None).unwrap().format, DiskFormat::FixedVhd);
    // A table whose backup header is the file's last sector, which only looks like a footer.
    assert_eq!(
        detect(&file, Some(end_bytes + 512)).unwrap().format,
        DiskFormat::Raw
    );
}
