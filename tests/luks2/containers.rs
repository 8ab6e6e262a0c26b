//! Containers in files, for the tests of this folder.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base::secret::{Entropy, EntropyError, SecretBytes, SystemEntropy};
use luks2::{ClearKeyToken, NewContainer, SectorCipher, SectorSize, VolumeKey, XtsCipher};

use crate::support::{command, data};
use serde_json::Value;

pub const LABEL: &str = "cloudimg-rootfs-enc";
pub const UUID: &str = "00112233-4455-4677-8899-aabbccddeeff";

/// Test-only keys, the same in every test.
pub fn unlock_key() -> SecretBytes {
    SecretBytes::new((0x10..0x20).collect())
}

pub fn growpart_key() -> SecretBytes {
    SecretBytes::new((0x40..0x60).collect())
}

/// A new container as `encrypt` makes it, with `plain` as its data.
pub fn container(sector_size: SectorSize, plain: &[u8]) -> (VolumeKey, Vec<u8>) {
    let mut entropy = SystemEntropy::new();
    let volume_key = VolumeKey::generate(&mut entropy).unwrap();
    let mut bytes = encrypt_like(sector_size)
        .head(&volume_key, &mut entropy)
        .unwrap();
    bytes.extend_from_slice(&encrypted(&volume_key, sector_size, plain));
    (volume_key, bytes)
}

/// Keyslots 0 and 10 and the clear-key token.
pub fn encrypt_like(sector_size: SectorSize) -> NewContainer {
    let token = ClearKeyToken {
        keyslots: vec![0],
        key: unlock_key(),
    };
    let mut new = NewContainer::new(LABEL, UUID.parse().unwrap(), sector_size);
    new.add_keyslot(0, unlock_key())
        .add_keyslot(10, growpart_key())
        .add_token(token.to_json());
    new
}

pub fn encrypted(volume_key: &VolumeKey, sector_size: SectorSize, plain: &[u8]) -> Vec<u8> {
    let mut data = plain.to_vec();
    let mut cipher = XtsCipher::new(volume_key, sector_size).unwrap();
    cipher.encrypt(0, &mut data).unwrap();
    data
}

/// Writes bytes to a new file and returns its path.
pub fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// A new container with 4096 bytes of data in a file.
pub fn container_file(folder: &Path) -> PathBuf {
    file(
        folder,
        "container",
        &container(SectorSize::S512, &[0; 4096]).1,
    )
}

/// `cryptsetup` in batch mode with these words, then the file.
pub fn cryptsetup(words: &[&str], path: &Path) -> Command {
    let mut command = command("cryptsetup");
    command.arg("--batch-mode").args(words).arg(path);
    command
}

/// The exit code of trying a key on one keyslot: 0 right, 2 wrong.
pub fn try_key(path: &Path, keyslot: u32, key: &Path) -> i32 {
    let keyslot = keyslot.to_string();
    let words = [
        "open",
        "--test-passphrase",
        "--key-slot",
        &keyslot,
        "--key-file",
    ];
    let output = cryptsetup(&words, key).arg(path).output().unwrap();
    output.status.code().unwrap()
}

/// Random bytes that a test has laid out, one buffer a draw, each of exactly the length that is asked for.
pub struct Draws(pub VecDeque<Vec<u8>>);

impl Entropy for Draws {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        buffer.copy_from_slice(&self.0.pop_front().ok_or(EntropyError)?);
        Ok(())
    }
}

/// The bytes that a label of the vectors stands for.
pub fn stream(label: &str, len_bytes: usize) -> Vec<u8> {
    (0_u32..)
        .flat_map(|i| sha256(&[label.as_bytes(), b"|", &i.to_be_bytes()].concat()))
        .take(len_bytes)
        .collect()
}

pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).to_vec()
}

/// The text of the container in the vectors.
pub fn base_text() -> String {
    let vector = fs::read(data("luks2/container.json")).unwrap();
    let vector: Value = serde_json::from_slice(&vector).unwrap();
    vector["json_text"].as_str().unwrap().to_owned()
}

/// One copy with a correct checksum, written without any code of ours; `edit` changes the binary header.
pub fn copy(
    secondary: bool,
    header_bytes: usize,
    text: &[u8],
    edit: &dyn Fn(&mut [u8]),
) -> Vec<u8> {
    let mut copy = vec![0; header_bytes];
    let put = |copy: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        copy[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let size = (header_bytes as u64).to_be_bytes();
    let magic: &[u8] = if secondary {
        b"SKUL\xba\xbe\0\x02"
    } else {
        b"LUKS\xba\xbe\0\x02"
    };
    put(&mut copy, 0, magic);
    put(&mut copy, 8, &size);
    put(&mut copy, 16, &3_u64.to_be_bytes());
    put(&mut copy, 24, b"label");
    put(&mut copy, 72, b"sha256");
    put(&mut copy, 104, &[u8::from(secondary) + 1; 64]);
    put(&mut copy, 168, b"00112233-4455-4677-8899-aabbccddeeff");
    if secondary {
        put(&mut copy, 256, &size);
    }
    edit(&mut copy[..4096]);
    put(&mut copy, 4096, text);
    let checksum = if copy[72..78] == *b"sha512" {
        use sha2::Digest;
        sha2::Sha512::digest(&copy).to_vec()
    } else {
        sha256(&copy)
    };
    put(&mut copy, 448, &checksum);
    copy
}
