//! AES-256-XTS, sector by sector, beside OpenSSL in the same process: `cargo bench --package eci-luks2 --bench xts`.
//!
//! Both encrypt the same buffers in place with a key schedule that is kept and a new tweak for every sector.
//! Rounds alternate between the two; the medians and their ratio are printed. Equal ciphertexts are
//! checked first.

use std::thread;
use std::time::{Duration, Instant};

use base::secret::SystemEntropy;
use luks2::{SectorCipher, SectorSize, VolumeKey, XtsCipher};
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;

const BUFFER_BYTES: usize = 64 << 20;
const ROUNDS: usize = 15;

struct OpenSsl {
    context: CipherCtx,
    sector_bytes: usize,
}

impl OpenSsl {
    fn new(key: &[u8], sector_bytes: usize) -> Self {
        let mut context = CipherCtx::new().unwrap();
        context
            .encrypt_init(Some(Cipher::aes_256_xts()), Some(key), None)
            .unwrap();
        context.set_padding(false);
        Self {
            context,
            sector_bytes,
        }
    }

    fn encrypt(&mut self, data: &mut [u8]) {
        for (sector, bytes) in (0_u128..).zip(data.chunks_exact_mut(self.sector_bytes)) {
            let unit = sector * (self.sector_bytes as u128 / 512);
            self.context
                .encrypt_init(None, None, Some(&unit.to_le_bytes()))
                .unwrap();
            let len = bytes.len();
            self.context.cipher_update_inplace(bytes, len).unwrap();
        }
    }
}

/// Runs `work` on a buffer for each thread, and returns how long the slowest took.
fn timed<T: Send>(
    workers: &mut [(T, Vec<u8>)],
    work: impl Fn(&mut T, &mut [u8]) + Sync,
) -> Duration {
    let started = Instant::now();
    thread::scope(|scope| {
        for (worker, buffer) in workers {
            scope.spawn(|| work(worker, buffer));
        }
    });
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn main() {
    let key = VolumeKey::generate(&mut SystemEntropy::new()).unwrap();
    let all = thread::available_parallelism().map_or(1, usize::from);
    println!("OpenSSL: {}", openssl::version::version());
    println!("| sector bytes | threads | ours, GB/s | OpenSSL, GB/s | ratio |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for sector_size in [SectorSize::S512, SectorSize::S4096] {
        for threads in [1, all] {
            let buffer = || vec![0x5a_u8; BUFFER_BYTES];
            let mut ours: Vec<_> = (0..threads)
                .map(|_| (XtsCipher::new(&key, sector_size).unwrap(), buffer()))
                .collect();
            let mut theirs: Vec<_> = (0..threads)
                .map(|_| (OpenSsl::new(key.expose(), sector_size.bytes()), buffer()))
                .collect();
            let our_work =
                |cipher: &mut XtsCipher, data: &mut [u8]| cipher.encrypt(0, data).unwrap();
            let mut times = (Vec::new(), Vec::new());
            for round in 0..=ROUNDS {
                let our_time = timed(&mut ours, our_work);
                let their_time = timed(&mut theirs, OpenSsl::encrypt);
                assert!(ours[0].1 == theirs[0].1, "the ciphertexts differ");
                // The first round warms up caches and clocks.
                if round > 0 {
                    times.0.push(our_time);
                    times.1.push(their_time);
                }
            }
            let (our_time, their_time) = (median(times.0), median(times.1));
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let gigabytes = (BUFFER_BYTES * threads) as f64 / 1e9;
            println!(
                "| {} | {threads} | {:.2} | {:.2} | {:.2} |",
                sector_size.bytes(),
                gigabytes / our_time,
                gigabytes / their_time,
                their_time / our_time
            );
        }
    }
}
