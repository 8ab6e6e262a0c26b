//! The form of a disk in a file: raw, fixed VHD or something else.
//!
//! Options: bit 0 mends the footer's checksum, bit 1 sets its length to that of the file before; bits 2 and 3 choose
//! where the partition table ends: as read from the file, nowhere, with the file, before the footer.

use base::storage::{ReadAt, WriteAt};
use gpt::disk_end_bytes;
use image::{DiskFormat, DynamicVhd, FOOTER_BYTES, Footer, detect};

use super::sparse::{self, Input};
use super::{shown, told};

pub fn run(input: &[u8]) -> bool {
    let Some(sparse) = Input::parse(input) else {
        return false;
    };
    let file = sparse.storage();
    let len_bytes = file.len_bytes();
    mend(&sparse, &file);
    let disk_end_bytes = match sparse.options >> 2 & 3 {
        0 => disk_end_bytes(&file).unwrap(),
        1 => None,
        2 => Some(len_bytes),
        _ => len_bytes.checked_sub(FOOTER_BYTES),
    };
    match DynamicVhd::open(&file) {
        Ok(disk) => {
            dynamic(&disk);
            return true;
        }
        Err(error) => told(&error),
    }
    let found = match detect(&file, disk_end_bytes) {
        Ok(found) => found,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    for warning in &found.warnings {
        shown(&warning);
    }
    assert_eq!(found.format.file_bytes(found.disk_bytes), Some(len_bytes));
    assert_eq!(found.disk(&file).unwrap().len_bytes(), found.disk_bytes);
    if found.format == DiskFormat::FixedVhd {
        let ours = Footer::new(found.disk_bytes, uuid(&sparse), 0);
        assert!(ours.geometry().len_bytes() <= found.disk_bytes);
        sparse::put(&file, found.disk_bytes, &ours.to_bytes());
        let again = detect(&file, disk_end_bytes).unwrap();
        assert_eq!(
            (again.format, again.disk_bytes),
            (found.format, found.disk_bytes)
        );
    }
    true
}

/// Every extent lies on the disk and its ends read.
fn dynamic(disk: &dyn ReadAt) {
    let mut from_bytes = 0;
    for _ in 0..1000 {
        let Some(data) = disk.next_data(from_bytes).unwrap() else {
            return;
        };
        assert!(from_bytes <= data.start && data.start < data.end && data.end <= disk.len_bytes());
        let piece = usize::try_from((data.end - data.start).min(4096)).unwrap();
        disk.read_vec(data.start, piece).unwrap();
        disk.read_vec(data.end - piece as u64, piece).unwrap();
        from_bytes = data.end;
    }
}

fn uuid(input: &Input<'_>) -> uuid::Uuid {
    uuid::Uuid::from_u128(u128::from(input.len_bytes))
}

fn mend(input: &Input<'_>, file: &dyn WriteAt) -> Option<()> {
    let disk_bytes = file.len_bytes().checked_sub(FOOTER_BYTES)?;
    let mut footer = sparse::get(file, disk_bytes, 512)?;
    if input.option(1) {
        footer[48..56].copy_from_slice(&disk_bytes.to_be_bytes());
    }
    if input.option(0) {
        footer[64..68].fill(0);
        let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
        footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    }
    sparse::put(file, disk_bytes, &footer);
    Some(())
}
