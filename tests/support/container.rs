//! A LUKS2 container in an image, seen through `cryptsetup`.
//!
//! cryptsetup repairs headers as it reads them, and knows no offset: it gets a copy of the container's
//! first 16 MiB, in a file as long as the partition.

use std::fs::File;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use super::disk::Disk;
use super::xts::Segment;
use super::{command, exits, files, run};

/// Length of what stands in front of the segment.
pub const HEADER_BYTES: u64 = 16 << 20;

/// A container, on copies.
#[derive(Debug)]
pub struct Container {
    folder: TempDir,
    /// The copy of the header, as long as the whole container.
    pub header: PathBuf,
    /// The JSON metadata, as cryptsetup gives it.
    pub metadata: Value,
    partition: std::ops::Range<u64>,
    image: PathBuf,
}

impl Container {
    /// The container in a partition of an image.
    #[track_caller]
    pub fn open(image: &Path, table: &Disk, partition: u32) -> Self {
        let folder = super::scratch();
        let header = folder.path().join("header");
        let range = table.byte_range(partition);
        let copy = File::create_new(&header).unwrap();
        copy.set_len(range.end - range.start).unwrap();
        let source = files::open(image).0;
        files::copy(&source, range.start..range.start + HEADER_BYTES, &copy, 0);
        let text = run(command("cryptsetup")
            .args(["luksDump", "--dump-json-metadata"])
            .arg(&header));
        let metadata = serde_json::from_str(&text).unwrap();
        Self {
            folder,
            header,
            metadata,
            partition: range,
            image: image.to_owned(),
        }
    }

    /// `cryptsetup luksDump`.
    #[track_caller]
    pub fn dump(&self) -> String {
        run(command("cryptsetup").arg("luksDump").arg(&self.header))
    }

    /// The clear key, from the token that `cryptsetup token export` gives.
    #[track_caller]
    pub fn unlock_key(&self) -> Vec<u8> {
        let mut export = command("cryptsetup");
        export
            .args(["token", "export", "--token-id", "0"])
            .arg(&self.header);
        let token: Value = serde_json::from_str(&run(&mut export)).unwrap();
        STANDARD
            .decode(token["ubuntu_fde_cloudimg_key"].as_str().unwrap())
            .unwrap()
    }

    /// The exit code of `cryptsetup open --test-passphrase` for one keyslot: 0 opens it, 2 does not.
    pub fn test_key(&self, keyslot: u32, key: &[u8]) -> i32 {
        let file = self.folder.path().join("key");
        std::fs::write(&file, key).unwrap();
        let mut open = command("cryptsetup");
        open.args([
            "open",
            "--test-passphrase",
            "--key-slot",
            &keyslot.to_string(),
            "--key-file",
        ]);
        let output = open.arg(&file).arg(&self.header).output().unwrap();
        output.status.code().unwrap()
    }

    /// The volume key, as `cryptsetup luksDump --dump-volume-key` gives it.
    #[track_caller]
    pub fn volume_key(&self) -> Vec<u8> {
        self.volume_key_by(&self.unlock_key())
    }

    /// The same with a key that opens a keyslot.
    #[track_caller]
    pub fn volume_key_by(&self, key: &[u8]) -> Vec<u8> {
        let file = self.folder.path().join("key");
        std::fs::write(&file, key).unwrap();
        let volume_key = self.folder.path().join("volume-key");
        let _ = std::fs::remove_file(&volume_key);
        let mut dump = command("cryptsetup");
        dump.args(["-q", "luksDump", "--dump-volume-key", "--volume-key-file"])
            .arg(&volume_key);
        exits(dump.arg("--key-file").arg(&file).arg(&self.header), 0);
        std::fs::read(&volume_key).unwrap()
    }

    /// Sector size of the segment in bytes, as the metadata tell it.
    pub fn sector_bytes(&self) -> u64 {
        self.metadata["segments"]["0"]["sector_size"]
            .as_u64()
            .unwrap()
    }

    /// Length of the segment in bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.partition.end - self.partition.start - HEADER_BYTES
    }

    /// The segment's key and sector size.
    #[track_caller]
    pub fn segment(&self) -> Segment {
        Segment::new(&self.volume_key(), self.sector_bytes())
    }

    /// Decrypts the segment into a new file, with the volume key and a second AES-XTS.
    #[track_caller]
    pub fn decrypt(&self, to: &Path) {
        self.decrypt_by(&self.unlock_key(), to);
    }

    /// The same with a key that opens a keyslot.
    #[track_caller]
    pub fn decrypt_by(&self, key: &[u8], to: &Path) {
        let plain = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(to)
            .unwrap();
        plain.set_len(self.segment_bytes()).unwrap();
        let segment = self.partition.start + HEADER_BYTES..self.partition.end;
        Segment::new(&self.volume_key_by(key), self.sector_bytes()).decrypt(
            &files::open(&self.image).0,
            segment,
            &plain,
        );
    }

    /// Decrypts the segment into a new file, by `cryptsetup reencrypt --decrypt` on a copy.
    #[track_caller]
    pub fn decrypt_by_cryptsetup(&self, to: &Path) {
        let copy = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(to)
            .unwrap();
        copy.set_len(self.partition.end - self.partition.start)
            .unwrap();
        files::copy(
            &files::open(&self.image).0,
            self.partition.clone(),
            &copy,
            0,
        );
        let key = self.folder.path().join("key");
        std::fs::write(&key, self.unlock_key()).unwrap();
        let exported = self.folder.path().join("exported-header");
        let _ = std::fs::remove_file(&exported);
        let mut decrypt = command("cryptsetup");
        decrypt.args([
            "-q",
            "--disable-locks",
            "reencrypt",
            "--decrypt",
            "--force-offline-reencrypt",
        ]);
        decrypt
            .arg("--header")
            .arg(&exported)
            .arg("--key-file")
            .arg(&key);
        exits(decrypt.arg(to), 0);
        // The program leaves the length, and 16 MiB of leftovers at the end.
        copy.set_len(self.segment_bytes()).unwrap();
    }
}
