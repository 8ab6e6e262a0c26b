//! Which of the two copies counts, and what is said about the other.

use std::fs;
use std::path::Path;

use base::storage::{Fault, MemoryStorage, Recorder};
use luks2::{Error, Header, HeaderCopy, Position, SectorSize};
use probe::{Content, probe};

use crate::containers::{base_text, container, copy, cryptsetup, file, unlock_key};
use crate::support::header_of;
use crate::support::{programs, run, scratch};

const SECONDARY: usize = 512 << 10;

fn read(bytes: &[u8]) -> Result<Header, Error> {
    header_of(&MemoryStorage::new(bytes.to_vec()))
}

/// The whole chain of an error, as a program would print it.
fn message(bytes: &[u8]) -> String {
    let error = read(bytes).err().unwrap();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn warnings(header: &Header) -> Vec<String> {
    header.warnings().iter().map(ToString::to_string).collect()
}

/// A container whose copies have these sequence ids and texts.
fn copies(primary: (u64, &str), secondary: (u64, &str)) -> Vec<u8> {
    let copy = |second, (sequence_id, text): (u64, &str)| {
        copy(second, SECONDARY, text.as_bytes(), &|header| {
            header[16..24].copy_from_slice(&sequence_id.to_be_bytes());
        })
    };
    let mut bytes = vec![0; 16 << 20];
    bytes[..SECONDARY].copy_from_slice(&copy(false, primary));
    bytes[SECONDARY..2 * SECONDARY].copy_from_slice(&copy(true, secondary));
    bytes
}

#[test]
fn a_damaged_copy_leaves_the_other() {
    let (volume_key, bytes) = container(SectorSize::S512, &[]);
    for (damaged, offset, reason) in [
        (
            Position::Primary,
            4100,
            "the checksum of the header at offset 0x0 is wrong",
        ),
        (
            Position::Primary,
            449,
            "the checksum of the header at offset 0x0 is wrong",
        ),
        (
            Position::Secondary,
            SECONDARY + 20_000,
            "the checksum of the header at offset 0x80000 is wrong",
        ),
        (
            Position::Secondary,
            SECONDARY,
            "no magic number of a secondary header at offset 0x80000",
        ),
    ] {
        let mut bytes = bytes.clone();
        bytes[offset] ^= 1;
        let header = read(&bytes).ok().unwrap();
        assert_eq!(header.current().position(), damaged.other());
        assert_eq!(
            warnings(&header),
            [format!(
                "the {damaged} LUKS2 header copy is not usable: {reason}"
            )]
        );
        assert_eq!(header.valid_copies().count(), 1);
        let storage = MemoryStorage::new(bytes);
        let (keyslot, key) = header.unlock(None, &unlock_key(), &storage).ok().unwrap();
        assert!(keyslot == 0 && key == volume_key);
    }
}

/// Containers whose header copies have other sizes.
fn of_sizes(judge: impl Fn(&Path, Vec<u8>)) {
    if !programs(&["cryptsetup"]) {
        return;
    }
    let folder = scratch();
    let key = file(folder.path(), "key", unlock_key().expose());
    for size in ["16k", "64k", "4m"] {
        let path = file(folder.path(), size, &[]);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(20 << 20)
            .unwrap();
        let format = [
            "luksFormat",
            "--type=luks2",
            "--pbkdf=pbkdf2",
            "--pbkdf-force-iterations=1000",
        ];
        let size = format!("--luks2-metadata-size={size}");
        run(cryptsetup(&format, &path)
            .args([&size, "--luks2-keyslots-size=1m"])
            .arg("--key-file")
            .arg(&key));
        judge(&path, fs::read(&path).unwrap());
    }
}

#[test]
fn a_torn_primary_is_no_loss_whatever_the_size_of_the_header() {
    of_sizes(|path, mut bytes| {
        bytes[4096..8192].fill(0);
        let header = read(&bytes).ok().unwrap();
        assert_eq!(header.current().position(), Position::Secondary);
        assert!(header.is_primary_torn());
        fs::write(path, &bytes).unwrap();
        run(&mut cryptsetup(&["luksDump"], path));
    });
}

/// The leftover of a container that something else was written over sparsely has a valid secondary, too. cryptsetup takes
/// one where libblkid finds no other signature; here a trace of the primary is asked for.
#[test]
fn a_secondary_alone_is_no_header() {
    of_sizes(|path, mut bytes| {
        bytes[..4096].fill(0);
        let content = probe(&MemoryStorage::new(bytes.clone())).unwrap();
        assert_eq!(content, Content::Luks2SecondaryOnly);
        assert!(read(&bytes).is_err());
        fs::write(path, &bytes).unwrap();
        run(&mut cryptsetup(&["luksDump"], path));
    });
}

/// What lies in the place of the primary must be what a write of it leaves that was cut off.
#[test]
fn a_secondary_does_not_count_behind_something_else_than_a_primary() {
    let (_, bytes) = container(SectorSize::S512, &[]);
    let place = |at: usize, with: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[449] ^= 1; // torn
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    };
    let torn = place(24, b"another label, as of another update");
    assert!(read(&torn).ok().unwrap().is_primary_torn());
    for (at, with, found) in [
        (14, &b"\x01"[..], 8), // of another size
        (168, b"ffff", 168),   // of another container
        (264, b"\x01", 264),   // padding
        (512, b"\x01", 512),
        (4086, b"SWAPSPACE2", 512),
        (1024, b"\x10\x20\xf5\xf2", 512),                // F2FS
        (0x1000, b"\xfc\x4e\x2b\xa9\x01\0\0\0", 0x1004), // a member of a RAID
        (0x8000, b"\x01CD001\x01", 0x8000),
        (0x8000, b"JFS1\x01\0\0\0", 0x8004),
        (0x1_0000, b"\x01\x16\x19\x70", 0x1_0000), // GFS2
        (524_287, b"\x01", 524_287),
    ] {
        assert_eq!(
            message(&place(at, with)),
            format!(
                "the secondary LUKS2 header copy is valid, and in the place of the primary lies something else than its \
                 remains (at offset {found:#x})"
            ),
            "{with:?}"
        );
    }
}

#[test]
fn the_higher_sequence_id_counts() {
    let text = base_text();
    let other = text.replace("\"tokens\":{", "\"new\":{},\"tokens\":{");
    let header = read(&copies((4, &text), (5, &other))).ok().unwrap();
    assert_eq!(header.current().text(), other);
    assert_eq!(
        warnings(&header),
        ["the primary LUKS2 header copy is older (sequence id 4) than the other (5)"]
    );
    // Both can be looked at: what was removed from one may still stand in the other.
    let texts: Vec<&str> = header.valid_copies().map(HeaderCopy::text).collect();
    assert_eq!(texts, [&other, &text]);

    let header = read(&copies((5, &text), (4, &other))).ok().unwrap();
    assert_eq!(header.current().position(), Position::Primary);
    assert_eq!(
        warnings(&header),
        ["the secondary LUKS2 header copy is older (sequence id 4) than the other (5)"]
    );
}

#[test]
fn of_two_equal_sequence_ids_the_primary_counts() {
    let text = base_text();
    let other = text.replace("\"tokens\":{", "\"new\":{},\"tokens\":{");
    let header = read(&copies((5, &text), (5, &text))).ok().unwrap();
    assert!(header.current().position() == Position::Primary && header.warnings().is_empty());
    let header = read(&copies((5, &text), (5, &other))).ok().unwrap();
    assert_eq!(header.current().text(), text);
    assert_eq!(
        warnings(&header),
        ["the two LUKS2 header copies differ, with the same sequence id; the primary is taken"]
    );
}

#[test]
fn a_copy_that_every_reader_skips_is_skipped() {
    let text = base_text();
    let bad = text.replace("\"config\"", "\"konfig\"");
    let header = read(&copies((9, &bad), (5, &text))).ok().unwrap();
    assert_eq!(header.current().position(), Position::Secondary);
    assert_eq!(
        warnings(&header),
        ["the primary LUKS2 header copy is not usable: config is missing"]
    );
    let expected = "no usable LUKS2 header copy: the primary is invalid (config is missing), and so \
                    is the secondary (the checksum of the header at offset 0x80000 is wrong)";
    let mut both = copies((9, &bad), (5, &text));
    both[SECONDARY + 600] = 1;
    assert_eq!(message(&both), expected);
}

#[test]
fn a_copy_that_others_take_and_we_do_not_ends_the_reading() {
    let text = base_text();
    let odd = text.replace("\"stripes\":4000", "\"stripes\":1");
    for ids in [(5, 5), (6, 5)] {
        assert_eq!(
            message(&copies((ids.0, &odd), (ids.1, &text))),
            "the primary LUKS2 header copy is refused: keyslot 0 claims 1 anti-forensic stripes, LUKS2 \
             uses 4000"
        );
    }
    // Where nobody takes it, it does no harm.
    let header = read(&copies((4, &odd), (5, &text))).ok().unwrap();
    assert_eq!(
        warnings(&header),
        [
            "the primary LUKS2 header copy is not usable: keyslot 0 claims 1 anti-forensic stripes, LUKS2 \
          uses 4000"
        ]
    );
}

#[test]
fn what_is_no_header_is_told_apart() {
    for len in [0, 100, 4096, 20 << 20] {
        let content = probe(&MemoryStorage::new(vec![0; len])).unwrap();
        assert_eq!(content, Content::Unknown, "{len}");
    }
    let (_, bytes) = container(SectorSize::S512, &[]);
    assert_eq!(
        message(&bytes[..8192]),
        "no usable LUKS2 header copy: the primary is invalid (the container ends within the header at offset 0x0), and so is the secondary (no magic number of a secondary header at offset 0x4000)"
    );
    let built = Header::read_built(&MemoryStorage::new(vec![0; 8192]));
    assert_eq!(
        built.err().unwrap().to_string(),
        "no magic number of a primary header at offset 0x0"
    );
}

#[test]
fn a_copy_that_cannot_be_read_is_an_error_not_a_damaged_copy() {
    let (_, bytes) = container(SectorSize::S512, &[]);
    for read in 0..4 {
        let fault = Fault {
            read: Some(read),
            ..Fault::default()
        };
        let storage = Recorder::with_fault(MemoryStorage::new(bytes.clone()), fault);
        let error = header_of(&storage).err().unwrap();
        assert!(matches!(error, Error::Storage(_)), "read {read}");
        assert_eq!(
            error.to_string(),
            "the LUKS2 container cannot be read or written"
        );
    }
}
