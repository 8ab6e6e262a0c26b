//! An ext4 filesystem: its superblock, then everything that is done with it through libext2fs.
//!
//! The input's pieces change a small real filesystem; the length that it claims cuts that where it is shorter. Options:
//! bits 0 and 1 choose the filesystem, bit 2 leaves the superblock's checksum as it is, bit 3 only reads.

use base::storage::{MemoryStorage, Overlay, ReadAt, WriteAt};
use filesystem::ext4::{Filesystem, Superblock};

use super::sparse::{self, Input};
use super::told;

/// Filesystems of mke2fs, in the form of an input.
const BASES: [&[u8]; 4] = [
    include_bytes!("../bases/ext4"),
    include_bytes!("../bases/ext4-inline"),
    include_bytes!("../bases/ext2"),
    include_bytes!("../bases/ext4-bigalloc"),
];

const NOW: i64 = 1_700_000_000;

pub fn run(input: &[u8]) -> bool {
    let Some(sparse) = Input::parse(input) else {
        return false;
    };
    let base = Input::parse(BASES[usize::from(sparse.options & 3)]).unwrap();
    let len_bytes = match sparse.len_bytes {
        0 => base.len_bytes,
        len_bytes => len_bytes.min(base.len_bytes),
    };
    let image = MemoryStorage::new(vec![0; usize::try_from(len_bytes).unwrap()]);
    base.apply(&image);
    sparse.apply(&image);
    if !sparse.option(2) {
        seal(&image);
    }

    let superblock = match Superblock::read(&image) {
        Ok(superblock) => superblock,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    assert!(superblock.len_bytes() <= len_bytes);
    let _ = superblock.check_editable().map_err(|error| told(&error));
    read(&image);
    if !sparse.option(3) {
        edit(&image);
    }
    true
}

/// An error is an answer as good as success.
fn read(image: &dyn ReadAt) {
    let Ok(filesystem) = Filesystem::open_read_only(image) else {
        return;
    };
    for path in ["/", "/etc", "/full", "/etc/inline"] {
        for entry in filesystem.list_dir(path).unwrap_or_default() {
            let path = [path.as_bytes(), b"/", &entry.name].concat();
            let _ = filesystem.metadata(&path);
            let _ = filesystem.read_link(&path);
            let _ = filesystem.read_file(&path, 1 << 20);
        }
    }
    let _ = filesystem.metadata("/loop/a/b");
    let Ok(map) = filesystem.used_blocks() else {
        return;
    };
    assert!(map.used_bytes() <= map.len_bytes());
}

fn edit(image: &MemoryStorage) {
    let overlay = Overlay::new(image);
    let Ok(filesystem) = Filesystem::open(&overlay, NOW) else {
        return;
    };
    let edits = [
        filesystem.write_file("/etc/file", &[7; 3000], 0o600),
        filesystem.write_file("/etc/new", b"", 0o644),
        filesystem.symlink("/etc/link", "/dev/null"),
        filesystem.symlink("/etc/long", [b'a'; 200]),
        filesystem.create_dir_all("/etc/a/b"),
        filesystem.write_file("/etc/a/b/large", &[8; 40_000], 0o644),
        filesystem.write_file("/full/another-name-that-makes-it-grow", b"x", 0o644),
    ];
    for error in edits.into_iter().filter_map(Result::err) {
        told(&error);
    }
    let _ = filesystem.used_blocks().map(|map| map.used_bytes());
    let _ = filesystem.close();
}

/// Sets the superblock's checksum right.
fn seal(image: &dyn WriteAt) {
    const OFFSET_BYTES: u64 = 1024;
    let Some(superblock) = sparse::get(image, OFFSET_BYTES, 1020) else {
        return;
    };
    let crc = superblock.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    });
    if image.len_bytes() >= OFFSET_BYTES + 1024 {
        sparse::put(image, OFFSET_BYTES + 1020, &crc.to_le_bytes());
    }
}
