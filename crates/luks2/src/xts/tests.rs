use aes::cipher::KeyInit;
use proptest::prelude::*;

use super::*;
use crate::{
    VolumeKey,
    vectors::{primitives, sha256_hex, stream, unhex},
};
use base::secret::SecretBytes;

fn key(bytes: &[u8]) -> VolumeKey {
    VolumeKey::from_bytes(SecretBytes::new(bytes.to_vec()))
        .ok()
        .unwrap()
}

/// The same sectors by the crates `xts-mode` and `aes`.
fn oracle(key: &[u8], sector_bytes: usize, first_unit: u64, data: &mut [u8]) {
    let half = |half: &[u8]| aes::Aes256::new_from_slice(half).unwrap();
    let xts = xts_mode::Xts128::new(half(&key[..32]), half(&key[32..]));
    for (index, sector) in data.chunks_exact_mut(sector_bytes).enumerate() {
        let unit = first_unit + (index * sector_bytes / 512) as u64;
        xts.encrypt_sector(sector, u128::from(unit).to_le_bytes().into());
    }
}

#[test]
fn the_sectors_of_the_vectors_come_out() {
    let vectors = primitives();
    let key = key(&unhex(&vectors["volume_key"]));
    for vector in vectors["xts"].as_array().unwrap() {
        let sector_bytes = u32::try_from(vector["sector_size"].as_u64().unwrap()).unwrap();
        let size = SectorSize::from_bytes(sector_bytes).unwrap();
        let mut data = stream(vector["plain_label"].as_str().unwrap(), size.bytes());
        assert_eq!(vector["plain_sha256"], sha256_hex(&data));
        let unit = vector["iv_512"].as_u64().unwrap();
        let mut cipher = XtsCipher::new(&key, size).unwrap();
        cipher.encrypt(unit, &mut data).unwrap();
        assert_eq!(vector["cipher_first32"], hex::encode(&data[..32]));
        assert_eq!(vector["cipher_sha256"], sha256_hex(&data));
        cipher.decrypt(unit, &mut data).unwrap();
        assert_eq!(vector["plain_sha256"], sha256_hex(&data));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_independent_implementation_agrees(
        key_bytes in proptest::collection::vec(any::<u8>(), 64),
        sectors in 0_usize..4,
        large in any::<bool>(),
        first_unit in 0_u64..u64::MAX - 64,
        seed in any::<u8>(),
    ) {
        let size = if large { SectorSize::S4096 } else { SectorSize::S512 };
        let plain: Vec<u8> = std::iter::successors(Some(seed), |byte| Some(byte.wrapping_mul(5).wrapping_add(3)))
            .take(sectors * size.bytes())
            .collect();
        let mut expected = plain.clone();
        oracle(&key_bytes, size.bytes(), first_unit, &mut expected);
        let mut cipher = XtsCipher::new(&key(&key_bytes), size).unwrap();
        let mut data = plain.clone();
        cipher.encrypt(first_unit, &mut data).unwrap();
        prop_assert_eq!(&data, &expected);
        cipher.decrypt(first_unit, &mut data).unwrap();
        prop_assert_eq!(&data, &plain);
    }
}

#[test]
fn one_call_over_many_sectors_equals_one_call_a_sector() {
    let key = key(&stream("many", 64));
    for size in [SectorSize::S512, SectorSize::S4096] {
        let mut cipher = XtsCipher::new(&key, size).unwrap();
        let mut whole = stream("data", 32 << 10);
        let mut single = whole.clone();
        cipher.encrypt(u64::from(u32::MAX) - 3, &mut whole).unwrap();
        let mut unit = u64::from(u32::MAX) - 3;
        for sector in single.chunks_exact_mut(size.bytes()) {
            cipher.encrypt(unit, sector).unwrap();
            unit += size.bytes() as u64 / 512;
        }
        assert!(whole == single);
    }
}

#[test]
fn a_cipher_moves_to_another_thread() {
    let key = key(&stream("thread", 64));
    let mut here = XtsCipher::new(&key, SectorSize::S512).unwrap();
    let mut there = XtsCipher::new(&key, SectorSize::S512).unwrap();
    let mut data = vec![1; 1024];
    let moved = std::thread::spawn(move || {
        let mut data = vec![1; 1024];
        there.encrypt(9, &mut data).unwrap();
        data
    });
    here.encrypt(9, &mut data).unwrap();
    assert!(moved.join().unwrap() == data);
}

#[test]
fn parts_of_sectors_and_numbers_that_run_over_are_refused() {
    let mut cipher = XtsCipher::new(&key(&stream("edge", 64)), SectorSize::S4096).unwrap();
    let error = cipher.encrypt(0, &mut [0; 4095]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "4095 bytes are no whole number of sectors of 4096 bytes"
    );
    cipher.encrypt(u64::MAX - 8, &mut [0; 4096]).unwrap();
    let error = cipher.encrypt(u64::MAX - 7, &mut [0; 4096]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "sector numbers from {} on run over for 4096 bytes",
            u64::MAX - 7
        )
    );
}
