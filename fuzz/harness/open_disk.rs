//! The disk in a file of any format: qcow2, VMDK, VHDX, dynamic VHD and the written ones; and the variable store that a
//! qcow2 image may hold instead. Where it has a backing file, that is the image's own bytes.
//!
//! Option: bit 0 mends the checksums of a VHDX.

use std::path::PathBuf;
use std::sync::Arc;

use base::storage::{Overlay, ReadAt};
use image::{BackingFile, Error, Qcow2Defect, SourceFormat, open_disk, open_disk_over};

use super::sparse::{self, Input, Zeros};
use super::{shown, told, variable_store};

pub fn run(input: &[u8]) -> bool {
    let Some(sparse) = Input::parse(input) else {
        return false;
    };
    let file = sparse.storage();
    if sparse.option(0) {
        for (at, length) in [(64, 4), (128, 4), (192, 64), (256, 64)] {
            mend(&file, at << 10, length << 10);
        }
    }
    let file: Arc<dyn ReadAt> = Arc::new(file);
    let alone = open_disk(Arc::clone(&file), None);
    let opened = match alone {
        Err(Error::Qcow2 {
            defect: Qcow2Defect::BackingFile { .. },
        }) => open_disk_over(Arc::clone(&file), None, &[below(&file)]),
        alone => alone,
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    for warning in &opened.warnings {
        shown(warning);
    }
    exercise(&opened.disk);
    // A store is searched from end to end, which takes its time where every cluster is compressed.
    if opened.format == SourceFormat::Qcow2 && opened.disk.len_bytes() <= 16 << 20 {
        variable_store::exercise(&opened.disk);
    }
    true
}

fn below(file: &Arc<dyn ReadAt>) -> BackingFile {
    BackingFile {
        path: PathBuf::from("below"),
        file: Arc::clone(file),
        disk_end_bytes: None,
    }
}

/// Every extent lies on the disk; its ends read, or say why not.
fn exercise(disk: &dyn ReadAt) {
    let end_bytes = disk.len_bytes();
    let mut from_bytes = 0;
    for _ in 0..100 {
        let data = match disk.next_data(from_bytes) {
            Ok(Some(data)) => data,
            Ok(None) => break,
            Err(error) => {
                told(&error);
                break;
            }
        };
        assert!(from_bytes <= data.start && data.start < data.end && data.end <= end_bytes);
        let piece = usize::try_from((data.end - data.start).min(4096)).unwrap();
        for at in [data.start, data.end - piece as u64] {
            if let Err(error) = disk.read_vec(at, piece) {
                told(&error);
            }
        }
        from_bytes = data.end;
    }
    let last = usize::try_from(end_bytes.min(4096)).unwrap();
    if let Err(error) = disk.read_vec(end_bytes - last as u64, last) {
        told(&error);
    }
}

/// Sets the CRC-32C of a structure, bytes 4 to 8 of it.
fn mend(file: &Overlay<Zeros>, at: u64, length: usize) -> Option<()> {
    let mut bytes = sparse::get(file, at, length)?;
    bytes[4..8].fill(0);
    let mut crc = u32::MAX;
    for &byte in &bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let feedback = if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            crc = (crc >> 1) ^ feedback;
        }
    }
    sparse::put(file, at + 4, &(!crc).to_le_bytes());
    Some(())
}
