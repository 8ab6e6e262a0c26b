//! Files of other formats, made by their own programs: each is named, and the command that we name for it
//! makes the raw disk again.

use std::fs::{self, File};
use std::path::Path;

use crate::{detected, message, raw_disk, support};

/// Runs the named command and compares what it has made with the raw disk.
#[track_caller]
fn is_named_and_converted(file: &Path, format: &str, program: &str, made: &str, raw: &Path) {
    let error = detected(file).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the file is {format}, which is not read directly")
    );
    let hint = error.hint(file).unwrap();
    assert!(hint.starts_with(program), "{hint}");
    let folder = support::scratch();
    support::run(
        support::command("sh")
            .args(["-c", &hint])
            .current_dir(folder.path()),
    );
    let made = [file.parent().unwrap().join(made), folder.path().join(made)];
    let made = made.iter().find(|made| made.is_file()).unwrap();
    assert!(fs::read(made).unwrap() == fs::read(raw).unwrap());
}

#[test]
fn images_that_qemu_makes() {
    if !support::programs(&["sfdisk", "qemu-img"]) {
        return;
    }
    let folder = support::scratch();
    let raw = raw_disk(folder.path());
    for (options, format) in [
        (&["qcow2"][..], "a qcow2 image"),
        (&["vhdx"], "a VHDX image"),
        (&["vmdk"], "a VMDK image"),
        (
            &["vmdk", "-o", "subformat=monolithicFlat"],
            "the description of a VMDK image whose disk lies in other files",
        ),
        (
            &["vpc", "-o", "subformat=dynamic,force_size"],
            "a dynamic VHD",
        ),
        (&["vdi"], "a VDI image"),
        (&["qed"], "a QED image"),
        (&["parallels"], "a Parallels image"),
    ] {
        let file = folder.path().join("a disk"); // quoted in the command
        let mut convert = support::command("qemu-img");
        convert
            .args(["convert", "-q", "-f", "raw", "-O"])
            .args(options)
            .args([&raw, &file]);
        support::run(&mut convert);
        let program = format!("qemu-img convert -f {} -O raw '/", options[0]);
        is_named_and_converted(&file, format, &program, "a disk.raw", &raw);
    }
}

#[test]
fn compressed_disks() {
    if !support::programs(&["sfdisk", "gzip", "xz", "zstd"]) {
        return;
    }
    let folder = support::scratch();
    let raw = raw_disk(folder.path());
    for (program, suffix) in [
        ("gzip", "gz"),
        ("xz", "xz"),
        ("zstd", "zst"),
        ("bzip2", "bz2"),
        ("lz4", "lz4"),
    ] {
        if support::find_program(program).is_none() {
            continue; // bzip2 and lz4 are not on every machine
        }
        let file = folder.path().join(format!("packed.vhd.{suffix}"));
        let stdin = File::open(&raw).unwrap();
        let packed = File::create(&file).unwrap();
        support::run(
            support::command(program)
                .arg("-c")
                .stdin(stdin)
                .stdout(packed),
        );
        let format = format!("compressed by {program}");
        is_named_and_converted(&file, &format, program, "packed.vhd", &raw);
        fs::remove_file(folder.path().join("packed.vhd")).unwrap();
    }
}

#[test]
fn archives() {
    if !support::programs(&["sfdisk", "python3", "unzip", "tar"]) {
        return;
    }
    let folder = support::scratch();
    let raw = raw_disk(folder.path());
    let file = folder.path().join("disk.zip");
    let make =
        "import sys, zipfile; zipfile.ZipFile(sys.argv[1], 'w').write(sys.argv[2], 'member.img')";
    support::run(
        support::command("python3")
            .args(["-c", make])
            .args([&file, &raw]),
    );
    is_named_and_converted(&file, "a ZIP archive", "unzip", "member.img", &raw);

    let file = folder.path().join("disk.ova");
    let mut tar = support::command("tar");
    support::run(
        tar.arg("-cf")
            .arg(&file)
            .arg("-C")
            .arg(folder.path())
            .arg("disk.img"),
    );
    is_named_and_converted(&file, "a tar archive", "tar", "disk.img", &raw);
}

#[test]
fn seven_zip_is_named_by_its_first_bytes() {
    let folder = support::scratch();
    let file = folder.path().join("disk.7z");
    fs::write(&file, b"7z\xbc\xaf\x27\x1c\0\x04").unwrap();
    let error = detected(&file).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the file is a 7z archive, which is not read directly"
    );
    assert_eq!(error.hint(Path::new("d.7z")).unwrap(), "7z x d.7z");
}

#[test]
fn the_way_out_of_a_differencing_vhd_is_in_hyper_v() {
    use image::OtherFormat;
    assert_eq!(
        OtherFormat::DifferencingVhd.conversion(Path::new("a.vhd")),
        "in Hyper-V: Convert-VHD -Path a.vhd -DestinationPath a.vhd.fixed.vhd -VHDType Fixed"
    );
}

#[test]
fn file_systems_and_volumes_without_partitions() {
    if !support::programs(&["mke2fs"]) {
        return;
    }
    let folder = support::scratch();
    let file = folder.path().join("file");
    fs::write(&file, vec![0; 1 << 20]).unwrap();
    support::run(
        support::command("mke2fs")
            .args(["-q", "-t", "ext4"])
            .arg(&file),
    );
    assert_eq!(
        detected(&file).unwrap_err().to_string(),
        "the file holds an ext2, ext3 or ext4 file system alone, not a disk with partitions"
    );
    for (offset, magic, content) in [
        (0, &b"XFSB"[..], "an XFS file system"),
        (65600, b"_BHRfS_M", "a btrfs file system"),
        (0, b"LUKS\xba\xbe", "a LUKS volume"),
        (0, b"hsqs", "a squashfs file system"),
        (32769, b"CD001", "an ISO 9660 file system"),
    ] {
        let mut bytes = vec![0; 1 << 17];
        bytes[offset..offset + magic.len()].copy_from_slice(magic);
        fs::write(&file, bytes).unwrap();
        assert_eq!(
            detected(&file).unwrap_err().to_string(),
            format!("the file holds {content} alone, not a disk with partitions")
        );
    }
}

#[test]
fn what_is_no_image_at_all() {
    let folder = support::scratch();
    let file = folder.path().join("file");
    for (bytes, expected) in [
        (vec![], "the file is empty"),
        (
            vec![0],
            "the file is not a disk image: no partition table and no known format in 1 bytes",
        ),
        (
            b"# a shell script\n".repeat(100),
            "the file is not a disk image: no partition table and no known format in 1700 bytes",
        ),
    ] {
        fs::write(&file, bytes).unwrap();
        assert_eq!(message(&detected(&file).unwrap_err()), expected);
    }
}

#[test]
fn a_disk_with_a_boot_sector_and_no_gpt_is_left_to_the_partition_tables_reader() {
    let folder = support::scratch();
    let file = folder.path().join("file");
    let mut bytes = vec![0; 4096];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&file, bytes).unwrap();
    assert_eq!(detected(&file).unwrap().disk_bytes, 4096);
}
