//! The JSON of a LUKS2 header: the input is the text, both copies around it are sound.

use base::storage::Overlay;

use super::luks2_header::{BINARY_BYTES, checksum, exercise};
use super::sparse::{self, Zeros};

/// The smallest size of a copy.
const COPY_BYTES: usize = 16 << 10;

pub fn run(input: &[u8]) -> bool {
    if input.len() >= COPY_BYTES - BINARY_BYTES {
        return false;
    }
    let container = Overlay::new(Zeros(256 << 20));
    for (magic, offset_bytes) in [(b"LUKS\xba\xbe", 0), (b"SKUL\xba\xbe", COPY_BYTES as u64)] {
        let mut copy = vec![0; COPY_BYTES];
        copy[..6].copy_from_slice(magic);
        copy[6..8].copy_from_slice(&2_u16.to_be_bytes());
        copy[8..16].copy_from_slice(&(COPY_BYTES as u64).to_be_bytes());
        copy[23] = 7; // sequence id
        copy[72..78].copy_from_slice(b"sha256");
        copy[256..264].copy_from_slice(&offset_bytes.to_be_bytes());
        copy[BINARY_BYTES..][..input.len()].copy_from_slice(input);
        let checksum = checksum(copy.clone()).unwrap();
        copy[448..512].copy_from_slice(&checksum);
        sparse::put(&container, offset_bytes, &copy);
    }
    exercise(&container, false)
}
