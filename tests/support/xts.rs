//! AES-256-XTS by crates that the product does not use.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use aes::Aes256;
use aes::cipher::consts::U16;
use aes::cipher::{Array, KeyInit};
use xts_mode::Xts128;

/// How much a thread takes at a time.
const CHUNK_BYTES: u64 = 512 << 10;

/// A segment's key and sector size.
pub struct Segment {
    key: [u8; 64],
    sector_bytes: u64,
}

impl Segment {
    /// `key` is the volume key: the data's key, then the tweak's.
    pub fn new(key: &[u8], sector_bytes: u64) -> Self {
        Self {
            key: key.try_into().expect("a volume key of 64 bytes"),
            sector_bytes,
        }
    }

    /// Decrypts a segment, a range of `from`, to the start of `to`.
    pub fn decrypt(&self, from: &File, range: Range<u64>, to: &File) {
        self.each_sector(from, range, to, 0, Xts128::decrypt_sector);
    }

    /// Encrypts the range of `from` to a segment at `to_bytes` of `to`.
    pub fn encrypt(&self, from: &File, range: Range<u64>, to: &File, to_bytes: u64) {
        self.each_sector(from, range, to, to_bytes, Xts128::encrypt_sector);
    }

    fn each_sector(
        &self,
        from: &File,
        range: Range<u64>,
        to: &File,
        to_bytes: u64,
        change: fn(&Xts128<Aes256>, &mut [u8], Array<u8, U16>),
    ) {
        let next = AtomicU64::new(0);
        let work = || {
            let (data, tweak) = self.key.split_at(32);
            let half = |half: &[u8]| Aes256::new_from_slice(half).unwrap();
            let xts = Xts128::<Aes256>::new(half(data), half(tweak));
            let mut buffer = vec![0; usize::try_from(CHUNK_BYTES).unwrap()];
            loop {
                let at = next.fetch_add(CHUNK_BYTES, Ordering::Relaxed);
                let Some(rest) = (range.end - range.start)
                    .checked_sub(at)
                    .filter(|rest| *rest > 0)
                else {
                    break;
                };
                let bytes = &mut buffer[..usize::try_from(rest.min(CHUNK_BYTES)).unwrap()];
                from.read_exact_at(bytes, range.start + at).unwrap();
                let sectors = bytes.chunks_mut(usize::try_from(self.sector_bytes).unwrap());
                for (sector, unit) in sectors
                    .zip((at / 512..).step_by(usize::try_from(self.sector_bytes / 512).unwrap()))
                {
                    change(&xts, sector, Array(u128::from(unit).to_le_bytes()));
                }
                to.write_all_at(bytes, to_bytes + at).unwrap();
            }
        };
        thread::scope(|scope| {
            for _ in 1..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(work);
            }
            work();
        });
    }
}
