//! Packed images: what gzip, xz, zstd and Python's zipfile have packed comes out, holes stay holes, damage is told.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base::storage::{FileStorage, MemoryStorage, ReadAt};
use image::{Error, OtherFormat, PackedDefect, Packing, Scratch, unpack};

use crate::{MIB, message, names, scratch_with_unnamed_files, support};

/// A disk with text and noise in 5 MiB and 100 bytes of zeros.
fn plain() -> Vec<u8> {
    let mut bytes = vec![0; 5 * MIB + 100];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[3 * MIB..3 * MIB + 9].copy_from_slice(b"some text");
    let mut state = 1_u32;
    for byte in &mut bytes[MIB + 5000..MIB + 90_000] {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24).to_le_bytes()[0];
    }
    *bytes.last_mut().unwrap() = 1;
    bytes
}

/// The bytes that a program makes of a file.
fn packed_by(command: &[&str], bytes: &[u8]) -> Vec<u8> {
    let folder = support::scratch();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, bytes).unwrap();
    let mut pack = support::command(command[0]);
    pack.args(&command[1..]);
    pack.stdin(File::open(from).unwrap());
    support::run(pack.stdout(File::create(&to).unwrap()));
    fs::read(to).unwrap()
}

/// An archive with such members, by Python: name, method, content.
fn zip(members: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let folder = support::scratch();
    let mut script = "import sys, zipfile\nwith zipfile.ZipFile('zip', 'w') as z:\n".to_owned();
    for (number, (name, method, content)) in members.iter().enumerate() {
        fs::write(folder.path().join(number.to_string()), content).unwrap();
        // With fields of ZIP64, whatever the size.
        writeln!(
            script,
            "  i = zipfile.ZipInfo('{name}')\n  i.compress_type = zipfile.ZIP_{method}\n  with z.open(i, 'w', force_zip64=True) as f: f.write(open('{number}', 'rb').read())"
        )
        .unwrap();
    }
    let mut python = support::command("python3");
    support::run(python.args(["-c", &script]).current_dir(folder.path()));
    fs::read(folder.path().join("zip")).unwrap()
}

fn unpacked(packing: Packing, packed: &[u8], folder: &Path) -> Result<FileStorage, Error> {
    let scratch = Scratch::create(&folder.join("output")).unwrap();
    let file = MemoryStorage::new(packed.to_vec());
    unpack(&file, packing, scratch, &mut |_| ControlFlow::Continue(()))
}

#[track_caller]
fn comes_out(packing: Packing, packed: &[u8], expected: &[u8]) {
    let folder = scratch_with_unnamed_files();
    let disk = unpacked(packing, packed, folder.path()).unwrap();
    assert_eq!(disk.len_bytes(), expected.len() as u64);
    assert!(disk.read_vec(0, expected.len()).unwrap() == expected);
    let (mut from, mut data_bytes) = (0, 0);
    while let Some(data) = disk.next_data(from).unwrap() {
        data_bytes += data.end - data.start;
        from = data.end;
    }
    assert!(data_bytes < 300_000, "{data_bytes} bytes are no hole");
    assert_eq!(names(folder.path()), [""; 0]);
    let free = folder.path().metadata().unwrap().blocks();
    assert!(free < 100, "an empty folder");
}

#[test]
fn streams_of_every_kind_come_out() {
    if !support::programs(&["gzip", "xz", "zstd"]) {
        return;
    }
    let plain = plain();
    let (one, other) = plain.split_at(2 * MIB + 7);
    for (packing, command) in [
        (Packing::Gzip, &["gzip", "-c"][..]),
        (Packing::Gzip, &["gzip", "-1", "-c"]),
        (Packing::Xz, &["xz", "-c"]),
        (Packing::Xz, &["xz", "-9", "-c", "--check=sha256"]),
        (
            Packing::Xz,
            &[
                "xz",
                "-0",
                "-c",
                "--check=crc32",
                "-T2",
                "--block-size=1MiB",
            ],
        ),
        (Packing::Xz, &["xz", "-c", "--x86", "--lzma2"]),
        (Packing::Zstd, &["zstd", "-q", "-c"]),
        (
            Packing::Zstd,
            &["zstd", "-q", "-c", "-19", "--no-check", "--long=27"],
        ),
    ] {
        comes_out(packing, &packed_by(command, &plain), &plain);
        // Two of them, one behind the other, are their contents one behind the other.
        let both = [packed_by(command, one), packed_by(command, other)].concat();
        comes_out(packing, &both, &plain);
    }
    let mut skippable = vec![0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    skippable.extend(packed_by(&["zstd", "-q", "-c"], &plain));
    comes_out(Packing::Zstd, &skippable, &plain);
}

#[test]
fn the_first_member_that_is_an_image_comes_out_of_an_archive() {
    if !support::programs(&["python3"]) {
        return;
    }
    let plain = plain();
    for method in ["STORED", "DEFLATED"] {
        for name in ["disk.img", "folder/livecd.azure.vhd"] {
            let archive = zip(&[
                ("image.txt", "STORED", b"no image"),
                (name, method, &plain),
                ("other.img", "STORED", b"not the first"),
            ]);
            comes_out(Packing::Zip, &archive, &plain);
        }
    }
}

/// As Windows compresses members of more than 2 GiB; `tests/data/packed` tells who has made this one.
#[test]
fn a_member_compressed_by_deflate64_comes_out() {
    let archive = fs::read(support::data("packed/deflate64.zip")).unwrap();
    let noise: Vec<u8> = (0..1500)
        .scan(1_u32, |state, _| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some((*state >> 24).to_le_bytes()[0])
        })
        .collect();
    let mut plain = noise.clone();
    let mut lines = (0..).map(|number| format!("line {number}\n"));
    while plain.len() < 45_000 {
        plain.extend(lines.next().unwrap().into_bytes());
    }
    plain.extend(&noise);
    plain[510..512].copy_from_slice(&[0x55, 0xaa]);
    plain.resize(plain.len() + 200_000, 0);
    plain.extend(b"some text");
    comes_out(Packing::Zip, &archive, &plain);
    for at in [600, archive.len() / 2] {
        let mut flipped = archive.clone();
        flipped[at] ^= 0x10;
        let told = refused(Packing::Zip, &flipped);
        let damaged = ["it is damaged", "it is damaged: a checksum does not match"];
        assert!(
            damaged
                .map(|what| cannot(Packing::Zip, what))
                .contains(&told),
            "{told}"
        );
    }
}

/// What is said of it.
fn refused(packing: Packing, packed: &[u8]) -> String {
    let folder = scratch_with_unnamed_files();
    let error = unpacked(packing, packed, folder.path()).unwrap_err();
    assert_eq!(names(folder.path()), [""; 0]);
    message(&error)
}

fn cannot(packing: Packing, what: &str) -> String {
    format!("the {packing} file cannot be unpacked: {what}")
}

const CUT_OFF: &str = "it ends too early: it was cut off, or its end is damaged";

#[test]
fn what_was_cut_off_or_damaged_is_told() {
    if !support::programs(&["gzip", "xz", "zstd", "python3"]) {
        return;
    }
    let plain = plain();
    for (packing, packed) in [
        (Packing::Gzip, packed_by(&["gzip", "-c"], &plain)),
        (Packing::Xz, packed_by(&["xz", "-c"], &plain)),
        (Packing::Zstd, packed_by(&["zstd", "-q", "-c"], &plain)),
    ] {
        for length in [13, 1000, packed.len() / 2, packed.len() - 1] {
            assert_eq!(
                refused(packing, &packed[..length]),
                cannot(packing, CUT_OFF)
            );
        }
        let mut flipped = packed.clone();
        flipped[packed.len() / 2] ^= 0x10;
        let told = refused(packing, &flipped);
        let damaged = ["it is damaged", "it is damaged: a checksum does not match"];
        assert!(
            damaged.map(|what| cannot(packing, what)).contains(&told),
            "{told}"
        );
        let mut behind = packed.clone();
        behind.extend(b"something that is no stream");
        let told = refused(packing, &behind);
        assert!(
            damaged.map(|what| cannot(packing, what)).contains(&told),
            "{told}"
        );
    }
    let archive = zip(&[("a.img", "STORED", &plain)]);
    let cut = refused(Packing::Zip, &archive[..archive.len() - 1000]);
    assert_eq!(cut, cannot(Packing::Zip, "it is damaged"));
    let mut flipped = archive.clone();
    flipped[3 * MIB] ^= 1;
    assert_eq!(
        refused(Packing::Zip, &flipped),
        cannot(Packing::Zip, "it is damaged: a checksum does not match")
    );
}

#[test]
fn a_stream_whose_decoder_would_need_too_much_memory_is_refused() {
    if !support::programs(&["xz"]) {
        return;
    }
    let memory = "unpacking it needs more memory than the 256 MiB that are allowed";
    // A window of 256 MiB, and an empty last block.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0, 0x90, 1, 0, 0];
    assert_eq!(refused(Packing::Zstd, &zstd), cannot(Packing::Zstd, memory));
    // The block's header: its size, flags, filter, length of its properties, the dictionary; then the checksum.
    let mut xz = packed_by(&["xz", "-c"], b"something");
    let length = (usize::from(xz[12]) + 1) * 4;
    let at = xz[12..12 + length]
        .windows(2)
        .position(|pair| pair == [0x21, 1]);
    xz[12 + at.unwrap() + 2] = 40; // 4 GiB
    let checksum = crc32fast::hash(&xz[12..12 + length - 4]);
    xz[12 + length - 4..12 + length].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(refused(Packing::Xz, &xz), cannot(Packing::Xz, memory));
}

#[test]
fn archives_without_an_image_that_is_read_are_refused() {
    if !support::programs(&["python3"]) {
        return;
    }
    let zip_file = |what: &str| cannot(Packing::Zip, what);
    assert_eq!(
        refused(Packing::Zip, &zip(&[("disk.img.txt", "STORED", b"text")])),
        zip_file("it has no member whose name ends in .img or .vhd")
    );
    assert_eq!(
        refused(Packing::Zip, &zip(&[("disk.img", "STORED", b"")])),
        zip_file("the image in it is empty")
    );
    assert_eq!(
        refused(Packing::Zip, &zip(&[("disk.img", "BZIP2", b"text")])),
        zip_file(
            "the image in it is compressed by method 12; 0 (stored), 8 (deflate) and 9 (deflate64) are read"
        )
    );
    let mut encrypted = zip(&[("disk.img", "STORED", b"text")]);
    for (signature, flags) in [(b"PK\x03\x04", 6), (b"PK\x01\x02", 8)] {
        let at = encrypted.windows(4).position(|bytes| bytes == signature);
        encrypted[at.unwrap() + flags] |= 1;
    }
    assert_eq!(
        refused(Packing::Zip, &encrypted),
        zip_file("the image in it is encrypted by a password")
    );
    assert_eq!(
        refused(Packing::Zip, b"PK\x03\x04"),
        zip_file("it is damaged")
    );
}

#[test]
fn what_is_packed_and_not_read_is_refused_at_its_beginning() {
    if !support::programs(&["gzip"]) {
        return;
    }
    let mut tar = plain();
    tar[257..262].copy_from_slice(b"ustar");
    for (content, format) in [
        (tar, OtherFormat::Tar),
        (packed_by(&["gzip", "-c"], &plain()), OtherFormat::Gzip),
    ] {
        let packed = packed_by(&["gzip", "-c"], &content);
        let folder = scratch_with_unnamed_files();
        let error = unpacked(Packing::Gzip, &packed, folder.path()).unwrap_err();
        let Error::Packed { defect, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(defect, PackedDefect::Holds(format));
    }
}

#[test]
fn an_unpacking_can_be_called_off() {
    if !support::programs(&["gzip"]) {
        return;
    }
    let folder = scratch_with_unnamed_files();
    let scratch = Scratch::create(&folder.path().join("output")).unwrap();
    let file = MemoryStorage::new(packed_by(&["gzip", "-c"], &plain()));
    let mut told = 0;
    let stopped = unpack(&file, Packing::Gzip, scratch, &mut |read_bytes| {
        told = read_bytes;
        ControlFlow::Break(())
    });
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert!((1..=file.len_bytes()).contains(&told));
    assert_eq!(names(folder.path()), [""; 0]);
}

/// The decoders are others'; none of them may take the program down.
#[test]
fn no_change_of_a_packed_file_does_more_than_give_an_error() {
    if !support::programs(&["gzip", "xz", "zstd", "python3"]) {
        return;
    }
    let text = b"some text, and more of it; ".repeat(200);
    let packed = [
        (Packing::Gzip, packed_by(&["gzip", "-c"], &text)),
        (Packing::Xz, packed_by(&["xz", "-c"], &text)),
        (
            Packing::Xz,
            packed_by(&["xz", "-c", "--x86", "--delta", "--lzma2"], &text),
        ),
        (Packing::Zstd, packed_by(&["zstd", "-q", "-c"], &text)),
        (Packing::Zip, zip(&[("a.img", "DEFLATED", &text)])),
    ];
    let folder = scratch_with_unnamed_files();
    let mut state = 7_u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(state >> 8).unwrap() % below
    };
    for (packing, whole) in &packed {
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..=random(3) {
                let at = random(bytes.len());
                bytes[at] = random(256).to_le_bytes()[0];
            }
            bytes.truncate(whole.len().saturating_sub(random(4) * random(20)));
            drop(unpacked(*packing, &bytes, folder.path()));
        }
    }
    assert_eq!(names(folder.path()), [""; 0]);
}
