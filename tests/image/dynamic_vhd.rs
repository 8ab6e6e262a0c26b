//! Dynamic VHDs: those of qemu read as qemu reads them, holes stay holes, damaged ones are refused.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use base::storage::{FileStorage, MemoryStorage, ReadAt};
use image::{DynamicVhd, Error, SourceFormat, open_disk};

use crate::{MIB, message, support};

/// A dynamic VHD of a disk of so many bytes, with text at some places; and the disk as qemu reads it.
fn by_qemu(folder: &Path, disk_bytes: usize, options: &str) -> (PathBuf, Vec<u8>) {
    let (raw, vhd, back) = (folder.join("raw"), folder.join("vhd"), folder.join("back"));
    let mut bytes = vec![0; disk_bytes];
    for at in [0, 2 * MIB - 4, 7 * MIB + 512, disk_bytes - 9] {
        if at + 9 <= disk_bytes {
            bytes[at..at + 9].copy_from_slice(b"some text");
        }
    }
    fs::write(&raw, bytes).unwrap();
    let convert = |from: &str, to: &str, options: &[&str], files: [&Path; 2]| {
        let mut convert = support::command("qemu-img");
        convert.args(["convert", "-q", "-f", from, "-O", to]);
        support::run(convert.args(options).args(files));
    };
    convert("raw", "vpc", &["-o", options], [&raw, &vhd]);
    convert("vpc", "raw", &[], [&vhd, &back]);
    (vhd, fs::read(back).unwrap())
}

#[test]
fn disks_of_odd_sizes_read_as_qemu_reads_them_and_holes_stay_holes() {
    if !support::programs(&["qemu-img"]) {
        return;
    }
    for disk_bytes in [MIB, 9 * MIB + 512, 24 * MIB, 33 * MIB + 7 * 512] {
        for options in ["subformat=dynamic", "subformat=dynamic,force_size"] {
            let folder = support::scratch();
            let (vhd, expected) = by_qemu(folder.path(), disk_bytes, options);
            let file = FileStorage::new(File::open(vhd).unwrap()).unwrap();
            let opened = open_disk(file, None).unwrap();
            assert_eq!(opened.format, SourceFormat::DynamicVhd);
            let length = expected.len();
            assert_eq!(opened.disk.len_bytes(), length as u64);
            assert!(opened.disk.read_vec(0, length).unwrap() == expected);
            // The same through the extents alone.
            let (mut by_extents, mut from, mut data_bytes) = (vec![0; length], 0, 0);
            while let Some(data) = opened.disk.next_data(from).unwrap() {
                let range =
                    usize::try_from(data.start).unwrap()..usize::try_from(data.end).unwrap();
                data_bytes += range.len();
                opened
                    .disk
                    .read_exact_at(&mut by_extents[range], data.start)
                    .unwrap();
                from = data.end;
            }
            assert!(by_extents == expected);
            assert!(data_bytes <= 10 * MIB, "{data_bytes} of {length}");
        }
    }
}

/// The judge is qemu again: it gives what lies in a block, whatever its bitmap says.
#[test]
fn the_bitmap_of_a_block_counts_for_no_more_than_in_qemu() {
    if !support::programs(&["qemu-img"]) {
        return;
    }
    let folder = support::scratch();
    let (vhd, expected) = by_qemu(folder.path(), 24 * MIB, "subformat=dynamic,force_size");
    let mut bytes = fs::read(&vhd).unwrap();
    let entry = 1536 + 4 * 3; // of the block with the text at 7 MiB + 512
    let sector = u32::from_be_bytes(bytes[entry..entry + 4].try_into().unwrap());
    let bitmap = usize::try_from(sector).unwrap() * 512;
    assert!(
        bytes[bitmap..bitmap + 512]
            .iter()
            .all(|bits| *bits == u8::MAX)
    );
    bytes[bitmap..bitmap + 512].fill(0);
    fs::write(&vhd, &bytes).unwrap();
    let back = folder.path().join("back");
    let mut convert = support::command("qemu-img");
    convert.args(["convert", "-q", "-f", "vpc", "-O", "raw"]);
    support::run(convert.arg(&vhd).arg(&back));
    assert!(fs::read(back).unwrap() == expected);
    let disk = DynamicVhd::open(MemoryStorage::new(bytes)).unwrap();
    assert!(disk.read_vec(0, expected.len()).unwrap() == expected);
}

/// Puts the checksum in `bytes` at `at` right.
fn seal(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}

#[test]
fn damaged_ones_are_refused_by_what_is_wrong() {
    if !support::programs(&["qemu-img"]) {
        return;
    }
    let folder = support::scratch();
    let (vhd, _) = by_qemu(folder.path(), 24 * MIB, "subformat=dynamic,force_size");
    let whole = fs::read(vhd).unwrap();
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        message(
            &DynamicVhd::open(MemoryStorage::new(bytes))
                .map(drop)
                .unwrap_err(),
        )
    };
    let header = |change: fn(&mut [u8])| {
        refused(&move |bytes| {
            change(&mut bytes[512..1536]);
            seal(&mut bytes[512..1536], 36);
        })
    };
    let damaged = |what: &str| format!("the dynamic VHD is damaged: {what}");
    assert_eq!(
        refused(&|bytes| bytes.truncate(4 * MIB)),
        damaged("no footer at the end of the file")
    );
    assert_eq!(
        refused(&|bytes| bytes.truncate(100)),
        damaged("no footer at the end of the file")
    );
    assert_eq!(
        refused(&|bytes| bytes[100] ^= 1),
        damaged("the footer and its copy at the beginning differ")
    );
    assert_eq!(
        refused(&|bytes| bytes[512] ^= 1),
        damaged("no header at offset 512")
    );
    assert!(refused(&|bytes| bytes[1000] ^= 1).contains("the header's checksum 0x"));
    assert_eq!(
        header(|header| header[25] = 2),
        damaged("the header's version 0x00020000 is not 0x00010000")
    );
    assert_eq!(
        header(|header| header[32..36].copy_from_slice(&[0, 0, 2, 1])),
        damaged("blocks of 513 bytes")
    );
    assert_eq!(
        header(|header| header[28..32].fill(0)),
        damaged("a disk of 25165824 bytes in 0 blocks")
    );
    assert_eq!(
        header(|header| header[16] = 1),
        damaged("the table at offset 72057594037929472 reaches beyond the end")
    );
    assert_eq!(
        refused(&|bytes| bytes[1536..1540].copy_from_slice(&[0x7f, 0, 0, 0])),
        damaged("block 0 lies at sector 2130706432, outside of the file's data")
    );
    assert!(
        refused(&|bytes| bytes.copy_within(1536..1540, 1540))
            .contains("two blocks overlap at sector ")
    );
    let differencing = refused(&|bytes| {
        let end = bytes.len() - 512;
        bytes[end + 63] = 4;
        seal(&mut bytes[end..], 64);
    });
    assert_eq!(
        differencing,
        "the file is a differencing VHD, which is not read directly"
    );
    assert!(matches!(
        DynamicVhd::open(MemoryStorage::new(whole)),
        Ok(_) | Err(Error::Storage(_))
    ));
}
