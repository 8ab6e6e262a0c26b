//! qcow2 images above backing files: read as qemu-img reads them, from the files that were named and from no others.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::storage::{FileStorage, MemoryStorage, ReadAt};
use image::{BackingFile, DiskFormat, Error, OpenDisk, SourceFormat, open_disk_over};

use crate::mapped_formats::{by_extents, disk};
use crate::{MIB, message, support};

const RAW: SourceFormat = SourceFormat::Written(DiskFormat::Raw);

/// Files in a folder, made by qemu-img.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(support::scratch())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn qemu_img(&self, arguments: &[&str]) {
        let mut qemu_img = support::command("qemu-img");
        support::run(qemu_img.args(arguments).current_dir(self.0.path()));
    }

    /// A raw disk of so many bytes, of which most is a hole.
    fn raw(&self, name: &str, disk_bytes: usize) {
        fs::rename(disk(self.0.path(), disk_bytes), self.path(name)).unwrap();
        // Holes are holes again.
        self.qemu_img(&["convert", "-q", "-f", "raw", "-O", "raw", name, "sparse"]);
        fs::rename(self.path("sparse"), self.path(name)).unwrap();
    }

    /// An image above another one.
    fn over(&self, name: &str, below: &str, format: &str, options: &[&str], size: Option<usize>) {
        let mut arguments = vec!["create", "-q", "-f", "qcow2", "-b", below, "-F", format];
        arguments.extend_from_slice(options);
        arguments.push(name);
        let size = size.map(|size| size.to_string());
        arguments.extend(size.as_deref());
        self.qemu_img(&arguments);
    }

    /// Changes an image, by commands of qemu-io.
    fn change(&self, name: &str, commands: &[&str]) {
        let mut qemu_io = support::command("qemu-io");
        qemu_io.args(["-f", "qcow2"]);
        for command in commands {
            qemu_io.args(["-c", command]);
        }
        support::run(qemu_io.arg(name).current_dir(self.0.path()));
    }

    /// The disk in an image as qemu-img reads it, which follows the names.
    fn by_qemu(&self, name: &str) -> Vec<u8> {
        self.qemu_img(&["convert", "-q", "-f", "qcow2", "-O", "raw", name, "back"]);
        fs::read(self.path("back")).unwrap()
    }

    fn backing(&self, names: &[&str]) -> Vec<BackingFile> {
        let file = |name: &&str| {
            let file = FileStorage::new(File::open(self.path(name)).unwrap()).unwrap();
            let file: Arc<dyn ReadAt> = Arc::new(file);
            BackingFile {
                path: PathBuf::from(name),
                disk_end_bytes: gpt::disk_end_bytes(&file).unwrap(),
                file,
            }
        };
        names.iter().map(file).collect()
    }

    fn open(&self, name: &str, below: &[&str]) -> Result<OpenDisk, Error> {
        let file = FileStorage::new(File::open(self.path(name)).unwrap()).unwrap();
        open_disk_over(file, None, &self.backing(below))
    }

    /// What is said where the image cannot be opened.
    fn refused(&self, name: &str, below: &[&str]) -> String {
        message(&self.open(name, below).map(drop).unwrap_err())
    }

    /// Opens the image above the files `below`, whose names are gone meanwhile, and compares it with what qemu-img reads.
    #[track_caller]
    fn is_read_as_qemu_reads_it(&self, name: &str, below: &[&str]) -> OpenDisk {
        let expected = self.by_qemu(name);
        let backing = self.backing(below);
        let hidden: Vec<_> = below.iter().map(|name| format!("{name}.hidden")).collect();
        for (name, hidden) in below.iter().zip(&hidden) {
            fs::rename(self.path(name), self.path(hidden)).unwrap();
        }
        let file = FileStorage::new(File::open(self.path(name)).unwrap()).unwrap();
        let opened = open_disk_over(file, None, &backing).unwrap();
        assert_eq!(opened.disk.len_bytes(), expected.len() as u64);
        assert!(opened.disk.read_vec(0, expected.len()).unwrap() == expected);
        let end = expected.len();
        for (at, length) in [(1, 700), (MIB - 5, 10), (end - 5, 5), (700_001, 99_000)] {
            let piece = opened.disk.read_vec(at as u64, length).unwrap();
            assert!(piece == expected[at..at + length], "{at}");
        }
        assert!(by_extents(&opened.disk).0 == expected);
        for (name, hidden) in below.iter().zip(&hidden) {
            fs::rename(self.path(hidden), self.path(name)).unwrap();
        }
        opened
    }
}

fn can_run() -> bool {
    support::programs(&["qemu-img", "qemu-io"])
}

/// Data over data, data over a hole, part of a cluster, zeros over data.
const CHANGES: [&str; 5] = [
    "write -P 1 2M 64k",
    "write -P 2 5M 3M",
    "write -P 3 1000k 512",
    "write -z 3M 512k",
    "write -P 0 4M 64k",
];

#[test]
fn an_image_above_a_raw_disk() {
    if !can_run() {
        return;
    }
    for options in [
        &[][..],
        &["-o", "cluster_size=512"],
        &["-o", "compat=0.10"],
        &["-o", "cluster_size=2M"],
    ] {
        for base_bytes in [9 * MIB, 9 * MIB + 512, 17 * MIB + 7 * 512] {
            let folder = Folder::new();
            folder.raw("base", base_bytes);
            folder.over("top", "base", "raw", options, None);
            let opened = folder.is_read_as_qemu_reads_it("top", &["base"]);
            assert_eq!(opened.format, SourceFormat::Qcow2);
            assert_eq!((opened.below, opened.warnings.len()), (vec![RAW], 0));
            folder.change("top", &CHANGES);
            let opened = folder.is_read_as_qemu_reads_it("top", &["base"]);
            // Holes of both are holes.
            let (_, data_bytes) = by_extents(&opened.disk);
            assert!(data_bytes < 10 * MIB, "{options:?}: {data_bytes}");
        }
    }
}

#[test]
fn an_image_that_is_longer_or_shorter_than_what_lies_below() {
    if !can_run() {
        return;
    }
    for top_bytes in [
        3 * MIB,
        9 * MIB,
        9 * MIB + 1024,
        9 * MIB + 65_536,
        40 * MIB + 512,
    ] {
        let folder = Folder::new();
        folder.raw("base", 9 * MIB + 512);
        folder.over("top", "base", "raw", &[], Some(top_bytes));
        folder.is_read_as_qemu_reads_it("top", &["base"]);
        folder.change("top", &["write -P 7 2M 512k", "write -z 1M 64k"]);
        folder.is_read_as_qemu_reads_it("top", &["base"]);
    }
    // Raw bytes that end within a sector.
    let folder = Folder::new();
    fs::write(folder.path("base"), vec![5; MIB + 100]).unwrap();
    folder.over("top", "base", "raw", &[], Some(2 * MIB));
    folder.is_read_as_qemu_reads_it("top", &["base"]);
}

#[test]
fn a_chain_of_images() {
    if !can_run() {
        return;
    }
    let folder = Folder::new();
    folder.raw("base", 9 * MIB + 512);
    // The one in the middle is shorter than those around it: its end hides what lies below.
    let middle = ["-o", "cluster_size=4k"];
    folder.over("middle", "base", "raw", &middle, Some(8 * MIB));
    folder.over("top", "middle", "qcow2", &[], Some(12 * MIB));
    let opened = folder.is_read_as_qemu_reads_it("top", &["middle", "base"]);
    assert_eq!(opened.below, [SourceFormat::Qcow2, RAW]);
    folder.change("middle", &["write -P 4 1M 2M", "write -z 7M 8k"]);
    folder.change("top", &["write -P 5 2M 64k", "write -z 3M 1M"]);
    folder.is_read_as_qemu_reads_it("top", &["middle", "base"]);
}

#[test]
fn what_is_below_may_be_compressed_and_so_may_the_changes() {
    if !can_run() {
        return;
    }
    let folder = Folder::new();
    folder.raw("raw", 9 * MIB + 512);
    folder.qemu_img(&["convert", "-q", "-c", "-O", "qcow2", "raw", "base"]);
    folder.over("middle", "base", "qcow2", &[], None);
    folder.change("middle", &["write -c -P 6 2M 64k", "write -z 3M 64k"]);
    folder.over("top", "middle", "qcow2", &[], Some(9 * MIB));
    folder.change("top", &["write -c -P 8 4M 64k"]);
    let opened = folder.is_read_as_qemu_reads_it("top", &["middle", "base"]);
    let both = vec![SourceFormat::Qcow2, SourceFormat::Qcow2];
    assert_eq!(opened.below, both);
}

#[test]
fn the_lowest_one_may_be_of_any_format_that_is_read() {
    if !can_run() {
        return;
    }
    for (format, options, expected) in [
        ("vmdk", "subformat=streamOptimized", SourceFormat::Vmdk),
        ("vhdx", "subformat=dynamic", SourceFormat::Vhdx),
        (
            "vpc",
            "subformat=dynamic,force_size",
            SourceFormat::DynamicVhd,
        ),
        (
            "vpc",
            "subformat=fixed,force_size",
            SourceFormat::Written(DiskFormat::FixedVhd),
        ),
    ] {
        let folder = Folder::new();
        folder.raw("raw", 9 * MIB);
        folder.qemu_img(&[
            "convert", "-q", "-f", "raw", "-O", format, "-o", options, "raw", "base",
        ]);
        folder.over("top", "base", format, &[], None);
        folder.change("top", &CHANGES);
        let opened = folder.is_read_as_qemu_reads_it("top", &["base"]);
        assert_eq!(opened.below, [expected]);
        // Nor is any of them taken for another.
        fs::rename(folder.path("raw"), folder.path("base")).unwrap();
        assert!(
            folder
                .refused("top", &["base"])
                .ends_with(" image, though the image above it says so")
        );
    }
}

/// A guest that owned a raw disk chose its first sector; the image above says that it is raw.
#[test]
fn raw_bytes_that_look_like_an_image_stay_raw_bytes() {
    if !can_run() {
        return;
    }
    let folder = Folder::new();
    fs::write(folder.path("secret"), vec![b'S'; MIB]).unwrap();
    folder.over("trap", "secret", "raw", &[], None);
    folder.qemu_img(&["resize", "-q", "-f", "raw", "trap", "2M"]);
    folder.over("top", "trap", "raw", &[], None);
    let opened = folder.is_read_as_qemu_reads_it("top", &["trap"]);
    assert_eq!(opened.below, [RAW]);
    assert_eq!(opened.disk.read_vec(0, 4).unwrap(), *b"QFI\xfb");
    assert_eq!(
        folder.refused("top", &["trap", "secret"]),
        "the backing file trap: it has no backing file, but secret was named as one"
    );
    // The end of a VHD is no reason either.
    let mut bytes = vec![7; MIB];
    bytes.extend_from_slice(b"conectix");
    bytes.resize(MIB + 512, 0);
    fs::write(folder.path("trap"), bytes).unwrap();
    folder.over("top", "trap", "raw", &[], None);
    folder.is_read_as_qemu_reads_it("top", &["trap"]);
    // Said to be an image, it must be one.
    folder.qemu_img(&["rebase", "-u", "-b", "trap", "-F", "qcow2", "top"]);
    assert_eq!(
        folder.refused("top", &["trap"]),
        "the backing file trap: it is no qcow2 image, though the image above it says so"
    );
}

/// Where the header extension lies that states the backing file's format.
fn format_extension(image: &[u8]) -> usize {
    let magic = 0xe279_2aca_u32.to_be_bytes();
    image.windows(4).position(|bytes| bytes == magic).unwrap()
}

#[test]
fn a_format_that_is_not_stated_is_told_by_the_content_with_a_warning() {
    if !can_run() {
        return;
    }
    let folder = Folder::new();
    folder.raw("base", 9 * MIB);
    folder.over("middle", "base", "raw", &[], None);
    folder.over("top", "middle", "qcow2", &[], None);
    // qemu-img has refused to make such images since version 6.1; old ones are around.
    let unstate = |name: &str| {
        let mut bytes = fs::read(folder.path(name)).unwrap();
        let at = format_extension(&bytes);
        bytes[at..at + 4].copy_from_slice(b"none");
        fs::write(folder.path(name), bytes).unwrap();
    };
    for (name, below, formats) in [
        ("middle", &["base"][..], &[RAW][..]),
        ("top", &["middle", "base"], &[SourceFormat::Qcow2, RAW]),
    ] {
        unstate(name);
        let opened = folder.is_read_as_qemu_reads_it(name, below);
        assert_eq!(opened.below, formats);
        let last = opened.warnings.last().unwrap().to_string();
        assert_eq!(
            last,
            format!(
                "the image does not state the format of its backing file, which is read as {} by what it holds",
                formats[0]
            )
        );
    }
}

#[test]
fn one_too_few_or_one_too_many_is_refused() {
    if !can_run() {
        return;
    }
    let folder = Folder::new();
    folder.raw("base", 9 * MIB);
    folder.over("middle", "base", "raw", &[], None);
    folder.over("top", "middle", "qcow2", &[], None);
    folder.qemu_img(&["create", "-q", "-f", "qcow2", "alone", "9M"]);
    folder.qemu_img(&["create", "-q", "-f", "vmdk", "vmdk", "9M"]);
    for (name, below, expected) in [
        (
            "top",
            &[][..],
            "the qcow2 image cannot be read: it holds the changes to a backing file, \"middle\"",
        ),
        (
            "top",
            &["middle"],
            "the backing file middle: the qcow2 image cannot be read: it holds the changes to a backing file, \"base\"",
        ),
        (
            "top",
            &["middle", "base", "alone"],
            "the backing file middle: the backing file base: it has no backing file, but alone was named as one",
        ),
        (
            "top",
            &["base", "middle"],
            "the backing file base: it is no qcow2 image, though the image above it says so",
        ),
        (
            "alone",
            &["base"],
            "it has no backing file, but base was named as one",
        ),
        (
            "vmdk",
            &["base"],
            "it has no backing file, but base was named as one",
        ),
    ] {
        assert_eq!(folder.refused(name, below), expected);
    }
    let hint = |name: &str, below: &[&str]| {
        let error = folder.open(name, below).map(drop).unwrap_err();
        error.hint(Path::new(name)).unwrap()
    };
    assert_eq!(
        hint("top", &["middle"]),
        "name the file to read, the one in the image is not followed: --backing-file FILE, once for each file below, from the top down"
    );
    assert_eq!(
        hint("alone", &["base"]),
        "--backing-file is given once for each file below an image, from the top down"
    );
}

#[test]
fn headers_that_say_nonsense_of_what_is_below_are_refused() {
    if !can_run() {
        return;
    }
    let folder = Folder::new();
    folder.raw("base", 9 * MIB);
    folder.over("top", "base", "raw", &[], None);
    let whole = fs::read(folder.path("top")).unwrap();
    let at = format_extension(&whole);
    let open = |at: usize, what: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + what.len()].copy_from_slice(what);
        open_disk_over(MemoryStorage::new(bytes), None, &folder.backing(&["base"]))
    };
    let refused = |at: usize, what: &[u8]| message(&open(at, what).map(drop).unwrap_err());
    assert_eq!(
        refused(at + 8, b"q\x1bd"),
        "the qcow2 image cannot be read: its backing file is said to be of the format \"q\\u{1b}d\", which is not read"
    );
    assert_eq!(
        refused(at + 4, &[0xff; 4]),
        format!(
            "the qcow2 image cannot be read: an extension of its header at offset {at} is longer than the header"
        )
    );
    assert_eq!(
        refused(8, &[0xff; 8]),
        "the qcow2 image cannot be read: its backing file's name at offset 18446744073709551615 reaches beyond the end: it was cut off"
    );
    // Without a name nothing is below, to qemu-img as well.
    assert_eq!(
        refused(16, &[0; 4]),
        "it has no backing file, but base was named as one"
    );
    let mut bytes = whole.clone();
    bytes[16..20].fill(0);
    fs::write(folder.path("top"), bytes).unwrap();
    folder.is_read_as_qemu_reads_it("top", &[]);
    // Where the header says that extensions begin is within the file or nowhere.
    for length in [0_u32, 8, 0x1_0000, u32::MAX] {
        let _ = open(100, &length.to_be_bytes()).map(drop);
    }
}
