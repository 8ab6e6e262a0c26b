//! A program that firmware loads: headers, sections, what is hashed, and everything that identifies it.
//!
//! Options: bit 0 asks for the kernel inside, too.

use base::storage::{Overlay, ReadAt};
use firmware::{Hash, Pe, Program};

use super::sparse::{self, Input, Zeros};
use super::told;

/// Longer files are not hashed, as an input of a few bytes could ask for hours of zeros.
const MAX_HASHED_BYTES: u64 = 3 << 20;

pub fn run(input: &[u8]) -> bool {
    let Some(sparse) = Input::parse(input) else {
        return false;
    };
    let file = sparse.storage();
    let pe = match Pe::read(&file) {
        Ok(pe) => pe,
        Err(error) => {
            told(&error);
            return false;
        }
    };
    for section in pe.sections() {
        assert!(section.raw.start <= section.raw.end && section.raw.end <= file.len_bytes());
    }
    if file.len_bytes() > MAX_HASHED_BYTES {
        return true;
    }
    hash(&pe, &file);
    if let Err(error) = Program::read(&file, &[Hash::Sha384], sparse.option(0)) {
        told(&error);
    }
    true
}

/// Hash functions do not get into each other's way, and the checksum is left out.
fn hash(pe: &Pe, file: &Overlay<Zeros>) {
    let both = match pe.digests(file, &[Hash::Sha256, Hash::Sha384]) {
        Ok(both) => both,
        Err(error) => {
            told(&error);
            return;
        }
    };
    assert_eq!(both.len(), 2);
    assert_eq!(pe.digests(file, &[Hash::Sha384]).unwrap()[0], both[1]);
    let checksum = checksum(file).unwrap();
    let is_elsewhere = |range: &std::ops::Range<u64>| {
        range.end <= checksum || range.start >= checksum + 4 || range.is_empty()
    };
    if pe.sections().iter().all(|one| is_elsewhere(&one.raw)) {
        sparse::put(file, checksum, b"\x12\x34\x56\x78");
        let again = pe.digests(file, &[Hash::Sha256]).unwrap();
        // Bytes that are counted from the sum of the sizes may begin in the headers, and so be hashed twice.
        let hashed: u64 = pe
            .sections()
            .iter()
            .map(|one| one.raw.end - one.raw.start)
            .sum();
        if hashed > 0 {
            assert_eq!(again[0], both[0]);
        }
    }
}

/// Where the checksum is, by the layout that a program's headers have.
fn checksum(file: &dyn ReadAt) -> Option<u64> {
    let coff = if sparse::get(file, 0, 2)? == *b"MZ" {
        let pointer = sparse::get(file, 0x3c, 4)?;
        u64::from(u32::from_le_bytes(pointer.try_into().ok()?)) + 4
    } else {
        0
    };
    Some(coff + 20 + 64)
}
