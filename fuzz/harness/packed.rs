//! A packed image: gzip, xz, zstd or ZIP, unpacked as far as 16 MiB, and the disk in it.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 1 | bits 0 and 1: gzip, xz, zstd, ZIP; bit 2: mend the checksums of xz |
//! | 1 | | the file |

use std::ops::ControlFlow;

use base::storage::{MemoryStorage, ReadAt};
use image::{Packing, Scratch, open_disk, unpack};

use super::told;

/// More is not asked of a stream: a few bytes can stand for gigabytes of zeros. It is looked at after each MiB.
const MAX_TOLD: u32 = 16;

pub fn run(input: &[u8]) -> bool {
    let Some((&options, file)) = input.split_first() else {
        return false;
    };
    let mut file = file.to_vec();
    let packing = match options & 3 {
        0 => Packing::Gzip,
        1 => Packing::Xz,
        2 => Packing::Zstd,
        _ => Packing::Zip,
    };
    if packing == Packing::Xz && options & 4 != 0 {
        mend(&mut file);
    }
    // A file without a name, or one whose name goes with it.
    let scratch = Scratch::create(&std::env::temp_dir().join("output")).unwrap();
    let len_bytes = file.len() as u64;
    let mut count = 0;
    let unpacked = unpack(
        &MemoryStorage::new(file),
        packing,
        scratch,
        &mut |read_bytes| {
            assert!(read_bytes <= len_bytes);
            count += 1;
            if count < MAX_TOLD {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        },
    );
    let unpacked = match unpacked {
        Ok(unpacked) => unpacked,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    assert!(unpacked.len_bytes() > 0);
    match open_disk(unpacked, None) {
        Ok(opened) => {
            if let Err(error) = opened.disk.next_data(0) {
                told(&error);
            }
        }
        Err(error) => told(&error),
    }
    true
}

/// Sets the CRC-32 of the stream's header and of its first block's.
fn mend(file: &mut [u8]) -> Option<()> {
    let flags = crc32(file.get(6..8)?);
    file.get_mut(8..12)?.copy_from_slice(&flags);
    let length = (usize::from(*file.get(12)?) + 1) * 4;
    let header = file.get_mut(12..12 + length)?;
    let (header, checksum) = header.split_at_mut_checked(length - 4)?;
    checksum.copy_from_slice(&crc32(header));
    Some(())
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let feedback = if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            crc = (crc >> 1) ^ feedback;
        }
    }
    (!crc).to_le_bytes()
}
