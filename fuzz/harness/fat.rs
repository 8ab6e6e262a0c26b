//! A FAT filesystem: boot sector, allocation table, and everything that is done with it through hadris-fat.
//!
//! The input's pieces change a small real filesystem; the length that it claims cuts that where it is shorter. Options:
//! bits 0 and 1 choose the filesystem, bit 2 only reads, bits 3 to 5 choose what is edited.

use base::storage::{OVERLAY_BLOCK_BYTES, Overlay};
use filesystem::fat::{Fat, Geometry};
use filesystem::{Error, Result};

use super::sparse::{Input, Zeros};
use super::told;

/// Filesystems of mkfs.vfat, in the form of an input.
const BASES: [&[u8]; 4] = [
    include_bytes!("../bases/fat12"),
    include_bytes!("../bases/fat16"),
    include_bytes!("../bases/fat32"),
    include_bytes!("../bases/fat12-large-sectors"),
];

const NOW: i64 = 1_704_164_645;

pub fn run(input: &[u8]) -> bool {
    let Some(sparse) = Input::parse(input) else {
        return false;
    };
    let base = Input::parse(BASES[usize::from(sparse.options & 3)]).unwrap();
    let len_bytes = match sparse.len_bytes {
        0 => base.len_bytes,
        len_bytes => len_bytes.min(base.len_bytes),
    };
    let image = Overlay::new(Zeros(len_bytes));
    base.apply(&image);
    sparse.apply(&image);

    let geometry = match Geometry::read(&image) {
        Ok(geometry) => geometry,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    assert!(geometry.len_bytes() <= len_bytes);
    let read = Fat::open_read_only(&image).is_ok_and(|fat| {
        read(&fat);
        true
    });
    if !sparse.option(2) {
        edit(&image, &geometry, sparse.options >> 3 & 7);
    }
    read
}

/// An error is an answer as good as success.
fn read(fat: &Fat<'_>) {
    let _ = fat.label().map_err(|error| told(&error));
    let _ = fat.is_dirty();
    if let Ok(free_bytes) = fat.free_bytes() {
        assert!(free_bytes <= fat.geometry().len_bytes());
    }
    for directory in ["", "/EFI", "/EFI/BOOT", "/efi/UBUNTU", "/EFI/ubuntu/x"] {
        for entry in fat.list_dir(directory).unwrap_or_default() {
            let path = format!("{directory}/{}", entry.name);
            let _ = fat.find(&path);
            match fat.read_file(&path, 1 << 20) {
                Ok(bytes) => assert!(bytes.len() <= 1 << 20),
                Err(error) => told(&error),
            }
        }
    }
}

/// Edits over the image: they stay within the filesystem, and after one that failed there is no other.
fn edit(image: &Overlay<Zeros>, geometry: &Geometry, which: u8) {
    const EDITS: [fn(&Fat<'_>) -> Result<()>; 8] = [
        |fat| fat.replace_file("/EFI/ubuntu/grubx64.efi", &[7; 6000]),
        |fat| fat.create_dir_all("/EFI/ubuntu/a new one/b"),
        |fat| fat.replace_file("/EFI/BOOT/a file with a long name.efi", &[8; 3000]),
        |fat| fat.replace_file("/EFI/BOOT/BOOTX64.EFI", b""),
        |fat| fat.replace_file("/new", &[9; 20_000]),
        |fat| fat.replace_file("/EFI/ubuntu/a file with a long name.cfg", b"x"),
        |fat| fat.create_dir("/EFI/x"),
        |fat| fat.replace_file("/EFI/BOOT/BOOTX64.EFI", &[10; 9000]),
    ];
    let overlay = Overlay::new(image);
    let Ok(fat) = Fat::open(&overlay, NOW) else {
        return;
    };
    for number in [which, which + 3, which + 5] {
        match EDITS[usize::from(number & 7)](&fat) {
            Ok(()) => {}
            Err(error @ Error::Fat { .. }) => {
                told(&error);
                let changed_bytes = overlay.changed_bytes();
                if let Err(Error::Abandoned) = fat.replace_file("/x", b"after a failure") {
                    assert_eq!(overlay.changed_bytes(), changed_bytes);
                }
            }
            Err(error) => told(&error),
        }
    }
    let end_bytes = geometry.len_bytes().next_multiple_of(OVERLAY_BLOCK_BYTES);
    let changed = overlay.changed_ranges();
    assert!(changed.last().is_none_or(|range| range.end <= end_bytes));
    read(&fat);
    // What was written is read by a reader that knows nothing of it.
    if let Ok(again) = Fat::open_read_only(&overlay) {
        read(&again);
    }
}
