//! qcow2, VMDK and VHDX: files of qemu-img read as qemu-img reads them, holes cost nothing, damaged ones are refused.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use base::storage::{FileStorage, MemoryStorage, ReadAt};
use image::{Error, OpenDisk, SourceFormat, open_disk};

use crate::{MIB, message, support};

/// A disk of so many bytes: text at some places, noise and zeros that were written, the rest a hole.
pub fn disk(folder: &Path, disk_bytes: usize) -> PathBuf {
    let raw = folder.join("raw");
    let mut bytes = vec![0; disk_bytes];
    for at in [0, 2 * MIB - 4, 7 * MIB + 512, disk_bytes - 9] {
        if at + 9 <= disk_bytes {
            bytes[at..at + 9].copy_from_slice(b"some text");
        }
    }
    let mut state = 1_u32;
    let noise = (disk_bytes / 3) & !511;
    for byte in &mut bytes[noise..noise + 200_000] {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    fs::write(&raw, bytes).unwrap();
    raw
}

/// The same in another format, and as qemu reads that.
fn by_qemu(folder: &Path, raw: &Path, format: &str, options: &[&str]) -> (PathBuf, Vec<u8>) {
    let (file, back) = (folder.join("file"), folder.join("back"));
    let convert = |from: &str, to: &str, options: &[&str], files: [&Path; 2]| {
        let mut convert = support::command("qemu-img");
        convert.args(["convert", "-q", "-f", from, "-O", to]);
        support::run(convert.args(options).args(files));
    };
    convert("raw", format, options, [raw, &file]);
    convert(format, "raw", &[], [&file, &back]);
    (file, fs::read(back).unwrap())
}

/// What `open_disk` makes of a file.
fn open(file: &Path) -> Result<OpenDisk, Error> {
    open_disk(FileStorage::new(File::open(file).unwrap()).unwrap(), None)
}

/// The disk through its extents alone, and how many bytes they have.
pub fn by_extents(disk: &dyn ReadAt) -> (Vec<u8>, usize) {
    let mut bytes = vec![0; usize::try_from(disk.len_bytes()).unwrap()];
    let (mut from, mut data_bytes) = (0, 0);
    while let Some(data) = disk.next_data(from).unwrap() {
        assert!(from <= data.start && data.start < data.end);
        let range = usize::try_from(data.start).unwrap()..usize::try_from(data.end).unwrap();
        data_bytes += range.len();
        disk.read_exact_at(&mut bytes[range], data.start).unwrap();
        from = data.end;
    }
    (bytes, data_bytes)
}

const QCOW2: [&[&str]; 6] = [
    &[],
    &["-o", "compat=0.10,cluster_size=512"],
    &["-c"],
    &["-c", "-o", "cluster_size=2M"],
    &["-c", "-o", "compression_type=zstd,cluster_size=4k"],
    &["-o", "preallocation=metadata,cluster_size=1M"],
];
const VMDK: [&[&str]; 2] = [&[], &["-o", "subformat=streamOptimized"]];
const VHDX: [&[&str]; 3] = [
    &["-o", "block_size=1M"],
    &["-o", "block_size=2M,log_size=2M"],
    &["-o", "subformat=fixed"],
];

#[track_caller]
fn read_as_qemu_reads_them(name: &str, format: SourceFormat, all_options: &[&[&str]]) {
    if !support::programs(&["qemu-img"]) {
        return;
    }
    for disk_bytes in [MIB, 9 * MIB + 512, 17 * MIB + 7 * 512] {
        let folder = support::scratch();
        let raw = disk(folder.path(), disk_bytes);
        for options in all_options {
            let (file, expected) = by_qemu(folder.path(), &raw, name, options);
            let opened = open(&file).unwrap();
            assert_eq!(opened.format, format);
            assert_eq!(opened.disk.len_bytes(), expected.len() as u64);
            assert!(opened.disk.read_vec(0, expected.len()).unwrap() == expected);
            for (at, length) in [
                (1, 700),
                (511, 2),
                (expected.len() - 5, 5),
                (700_001, 99_000),
            ] {
                let piece = opened.disk.read_vec(at as u64, length).unwrap();
                assert!(piece == expected[at..at + length], "{options:?} {at}");
            }
            let (bytes, data_bytes) = by_extents(&opened.disk);
            assert!(bytes == expected);
            let is_fixed = options.contains(&"subformat=fixed");
            assert!(
                data_bytes <= 11 * MIB || is_fixed,
                "{options:?}: {data_bytes}"
            );
            fs::remove_file(file).unwrap();
        }
    }
}

#[test]
fn qcow2_images_read_as_qemu_reads_them() {
    read_as_qemu_reads_them("qcow2", SourceFormat::Qcow2, &QCOW2);
}

#[test]
fn vmdks_read_as_qemu_reads_them() {
    read_as_qemu_reads_them("vmdk", SourceFormat::Vmdk, &VMDK);
}

#[test]
fn vhdx_files_read_as_qemu_reads_them() {
    read_as_qemu_reads_them("vhdx", SourceFormat::Vhdx, &VHDX);
}

#[test]
fn clusters_that_are_marked_as_zeros_are_a_hole() {
    if !support::programs(&["qemu-img", "qemu-io"]) {
        return;
    }
    let folder = support::scratch();
    let raw = disk(folder.path(), 9 * MIB);
    let (file, mut expected) = by_qemu(folder.path(), &raw, "qcow2", &[]);
    let mut write = support::command("qemu-io");
    support::run(
        write
            .args(["-f", "qcow2", "-c", "write -z 3M 1M"])
            .arg(&file),
    );
    expected[3 * MIB..4 * MIB].fill(0);
    let opened = open(&file).unwrap();
    assert!(opened.disk.read_vec(0, expected.len()).unwrap() == expected);
    let data = opened.disk.next_data(3 << 20).unwrap().unwrap();
    assert!(data.start >= 4 << 20, "{data:?}");
}

/// A 64 TiB disk with nothing in it opens at once and has no extents; a table that is as large costs no more.
#[test]
fn a_huge_empty_disk_costs_nothing() {
    if !support::programs(&["qemu-img"]) {
        return;
    }
    let folder = support::scratch();
    for (format, size, options) in [
        ("qcow2", "64T", "cluster_size=64k"),
        ("qcow2", "128G", "cluster_size=512"),
        ("vhdx", "60T", "block_size=256M"),
        ("vmdk", "2T", "subformat=monolithicSparse"),
    ] {
        let file = folder.path().join("file");
        let mut create = support::command("qemu-img");
        create.args(["create", "-q", "-f", format, "-o", options]);
        support::run(create.arg(&file).arg(size));
        let opened = open(&file).unwrap();
        assert_eq!(opened.disk.next_data(0).unwrap(), None);
        let middle = opened.disk.len_bytes() / 2;
        assert_eq!(opened.disk.read_vec(middle, 4096).unwrap(), [0; 4096]);
        fs::remove_file(file).unwrap();
    }
}

/// Changes the bytes of a file.
type Change = Box<dyn FnOnce(&mut Vec<u8>)>;

/// A file of qemu-img's, to be damaged.
struct Whole(Vec<u8>);

impl Whole {
    fn new(format: &str, options: &[&str]) -> Self {
        let folder = support::scratch();
        let raw = disk(folder.path(), 9 * MIB);
        Self(fs::read(by_qemu(folder.path(), &raw, format, options).0).unwrap())
    }

    /// What is said when the file is opened with a change.
    fn refused(&self, change: impl FnOnce(&mut Vec<u8>)) -> String {
        message(&self.changed(change).map(drop).unwrap_err())
    }

    /// What is said when the whole disk is read with a change.
    fn unreadable(&self, change: impl FnOnce(&mut Vec<u8>)) -> String {
        let disk = self.changed(change).unwrap().disk;
        let length = usize::try_from(disk.len_bytes()).unwrap();
        message(&disk.read_vec(0, length).unwrap_err())
    }

    fn changed(&self, change: impl FnOnce(&mut Vec<u8>)) -> Result<OpenDisk, Error> {
        let mut bytes = self.0.clone();
        change(&mut bytes);
        open_disk(MemoryStorage::new(bytes), None)
    }
}

fn put(at: usize, what: &[u8]) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| bytes[at..at + what.len()].copy_from_slice(what)
}

#[test]
fn qcow2_images_that_cannot_be_followed_are_refused() {
    if !support::programs(&["qemu-img"]) {
        return;
    }
    let whole = Whole::new("qcow2", &[]);
    let refused = |at: usize, what: &[u8]| {
        let text = whole.refused(put(at, what));
        let text = text.strip_prefix("the qcow2 image cannot be read: it");
        text.unwrap().to_owned()
    };
    assert_eq!(refused(7, &[4]), " has version 4; 2 and 3 are known");
    assert_eq!(refused(35, &[1]), " has encryption, which is not read");
    for (bit, what) in [
        (0, "a dirty mark"),
        (1, "a corrupt mark"),
        (2, "a data file beside it"),
        (4, "extended L2 entries"),
    ] {
        assert_eq!(
            refused(79, &[1 << bit]),
            format!(" has {what}, which is not read")
        );
    }
    assert_eq!(
        refused(78, &[1]),
        " has the incompatible features 0x100, which are not known"
    );
    assert_eq!(
        whole.refused(|bytes| {
            bytes[79] = 8;
            bytes[104] = 2;
        }),
        "the qcow2 image cannot be read: its clusters are compressed by method 2; 0 (deflate) and 1 (zstd) are known"
    );
    assert_eq!(
        refused(23, &[22]),
        " has 2^22 bytes in a cluster; 2^9 to 2^21 are possible"
    );
    assert_eq!(
        refused(24, &[0; 8]),
        " has a disk of 0 bytes in clusters of 65536"
    );
    assert_eq!(
        refused(24, &[0xff; 8]),
        " has a disk of 18446744073709551615 bytes in clusters of 65536"
    );
    assert_eq!(
        refused(24, &(1_u64 << 40).to_be_bytes()),
        "s L1 table has 1 entries, its disk needs 2048"
    );
    assert_eq!(
        refused(40, &[0xff; 8]),
        "s L1 table at offset 18446744073709551615 reaches beyond the end: it was cut off"
    );
    assert_eq!(
        whole.refused(|bytes| bytes.truncate(70)),
        "the qcow2 image cannot be read: its header at offset 0 reaches beyond the end: it was cut off"
    );
    assert_eq!(
        whole.refused(|bytes| {
            bytes[8..20].copy_from_slice(&[0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 9]);
            bytes[512..521].copy_from_slice(b"a\x1b]b\n.img");
        }),
        "the qcow2 image cannot be read: it holds the changes to a backing file, \"a\\u{1b}]b\\n.img\""
    );
    // Cut off behind the tables, where they are at the beginning.
    let cut = whole.unreadable(|bytes| bytes.truncate(bytes.len() - 2 * MIB / 3));
    assert!(cut.contains(" reach beyond the end at "), "{cut}");
    let l1 = u64::from_be_bytes(whole.0[40..48].try_into().unwrap());
    let l1 = usize::try_from(l1).unwrap();
    assert_eq!(
        whole.unreadable(put(l1 + 6, &[2])),
        "cannot read at offset 262656: the cluster at 0 of the disk is said to lie where none can begin"
    );
}

#[test]
fn a_compressed_cluster_that_is_damaged_is_an_error_of_the_read() {
    if !support::programs(&["qemu-img"]) {
        return;
    }
    for options in [&["-c"][..], &["-c", "-o", "compression_type=zstd"]] {
        let whole = Whole::new("qcow2", options);
        // The last cluster of the file is compressed, and all clusters with data are.
        let text = whole.unreadable(|bytes| {
            let end = bytes.len();
            bytes[end / 2..end].fill(0xa5);
        });
        assert!(
            text.ends_with(": a compressed piece of the disk is damaged"),
            "{text}"
        );
    }
}

#[test]
fn vmdks_that_cannot_be_followed_are_refused() {
    if !support::programs(&["qemu-img"]) {
        return;
    }
    let whole = Whole::new("vmdk", &["-o", "subformat=streamOptimized"]);
    let refused = |change: Change| {
        let text = whole.refused(change);
        let text = text.strip_prefix("the VMDK image cannot be read: ");
        text.unwrap().to_owned()
    };
    let at = |at: usize, what: &'static [u8]| refused(Box::new(put(at, what)));
    assert_eq!(at(4, &[4]), "it has version 4; 1 to 3 are known");
    assert_eq!(
        at(72, &[1]),
        "it was not closed: it is in use, or its writer was killed"
    );
    assert_eq!(
        at(77, &[2]),
        "it has an unknown compression, which is not read"
    );
    assert_eq!(
        at(28, &[0; 8]),
        "it has no description: it is one of a disk's several files, which is not read"
    );
    assert_eq!(
        at(28, &[0xff; 7]),
        "its description at sector 72057594037927935 reaches beyond the end: it was cut off"
    );
    assert_eq!(
        at(20, &[3]),
        "it has a disk of 18432 sectors in grains of 3, 512 to a table"
    );
    assert_eq!(
        at(56, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        "its grain directory at sector 18446744073709551614 reaches beyond the end: it was cut off"
    );
    assert_eq!(
        at(56, &[0xff; 8]),
        "there is no footer in its last sectors: it was cut off"
    );
    let text = |from: &'static [u8], to: &'static [u8]| {
        refused(Box::new(move |bytes| {
            let found = bytes.windows(from.len()).position(|bytes| bytes == from);
            put(found.unwrap(), to)(bytes);
        }))
    };
    assert_eq!(
        text(b"parentCID=ffffffff", b"parentCID=fffffffe"),
        "it has a parent, whose changes it holds, which is not read"
    );
    assert_eq!(
        text(b"\"streamOptimized\"", b"\"vmfsThin\"       "),
        "it is of the kind \"vmfsThin\"; monolithicSparse and streamOptimized are read"
    );
    // A grain in the place of another.
    let grain = 128 * 512; // of the directory's and tables' end, rounded up to a grain
    let damaged = whole.unreadable(put(grain, &[7]));
    assert_eq!(
        damaged,
        "cannot read at offset 65536: the grain at sector 0 of the disk has no valid marker"
    );
    let damaged = whole.unreadable(put(grain + 12, &[0xff; 20]));
    assert_eq!(
        damaged,
        "cannot read at offset 65548: a compressed piece of the disk is damaged"
    );
}

/// CRC-32C, a second time.
fn checksum(bytes: &mut [u8]) {
    bytes[4..8].fill(0);
    let mut crc = u32::MAX;
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).map(move |at| byte >> at & 1))
    {
        let is_odd = crc & 1 != u32::from(bit);
        crc = (crc >> 1) ^ if is_odd { 0x82f6_3b78 } else { 0 };
    }
    bytes[4..8].copy_from_slice(&(!crc).to_le_bytes());
}

#[test]
fn vhdx_files_that_cannot_be_followed_are_refused() {
    if !support::programs(&["qemu-img"]) {
        return;
    }
    let whole = Whole::new("vhdx", &["-o", "block_size=1M"]);
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let text = whole.refused(|bytes| change(bytes));
        let rest = text.strip_prefix("the VHDX image cannot be read: it");
        rest.unwrap_or(&text).to_owned()
    };
    let header = |change: fn(&mut [u8])| {
        refused(&move |bytes| {
            for at in [64 << 10, 128 << 10] {
                change(&mut bytes[at..at + 4096]);
                checksum(&mut bytes[at..at + 4096]);
            }
        })
    };
    let regions = |change: fn(&mut [u8])| {
        refused(&move |bytes| {
            change(&mut bytes[192 << 10..256 << 10]);
            checksum(&mut bytes[192 << 10..256 << 10]);
        })
    };
    let none =
        |what: &str| format!("the VHDX image cannot be read: none of its two {what} is valid");
    // One valid header is enough; so is one table of regions.
    assert!(whole.changed(|bytes| bytes[64 << 10] = 0).is_ok());
    assert!(whole.changed(|bytes| bytes[192 << 10] = 0).is_ok());
    let both = |at: usize| {
        move |bytes: &mut Vec<u8>| {
            bytes[at + 100] ^= 1;
            bytes[at + (64 << 10) + 100] ^= 1;
        }
    };
    assert_eq!(refused(&both(64 << 10)), none("headers"));
    assert_eq!(refused(&both(192 << 10)), none("region tables"));
    assert_eq!(
        header(|header| header[66] = 2),
        " has version 2; 1 is known"
    );
    assert_eq!(
        header(|header| header[48] = 1),
        "s log holds changes that were not carried out: it is in use, or was not closed"
    );
    assert_eq!(
        regions(|table| table[16 + 28] = 1 | {
            table[16] ^= 1;
            table[16 + 28]
        }),
        " needs a reader that knows the region 2dc27767-f623-4200-9d64-115e9bfd4a08"
    );
    assert_eq!(regions(|table| table[8] = 1), " has no metadata");
    assert_eq!(
        regions(|table| table[16 + 32 + 21] = 1),
        "s metadata at offset 1099514773504 reaches beyond the end: it was cut off"
    );
    assert_eq!(
        regions(|table| table[16 + 24..16 + 28].copy_from_slice(&[16, 0, 0, 0])),
        "s block allocation table has room for 2 entries, its disk needs 9"
    );
    let metadata = 3 << 20;
    let item = |index: usize| metadata + 32 + 32 * index;
    assert_eq!(refused(&|bytes| bytes[metadata] = 0), " has no metadata");
    assert_eq!(
        refused(&|bytes| bytes[item(0)] ^= 1),
        " needs a reader that knows the metadata caa16736-fa36-4d43-b3b6-33f0aa44e76b"
    );
    let value = metadata + 0x10000;
    assert_eq!(
        refused(&|bytes| bytes[value + 4] |= 2),
        " holds the changes to a parent disk"
    );
    assert_eq!(
        refused(&|bytes| bytes[value + 1] = 1),
        " has a disk of 9437184 bytes, blocks of 1048832, sectors of 512"
    );
    let unreadable = whole.unreadable(|bytes| bytes[2 << 20] = 7);
    assert!(
        unreadable.ends_with("which no whole disk has")
            && unreadable.contains(": block 0 of the disk has the entry 0x"),
        "{unreadable}"
    );
    let cut = whole.unreadable(|bytes| bytes.truncate(bytes.len() - 2 * MIB));
    assert!(cut.contains(" reach beyond the end at "), "{cut}");
}
