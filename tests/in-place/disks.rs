//! Disks to convert in place, and what must become of them.

use std::path::{Path, PathBuf};

use base::secret::{Entropy, EntropyError};
use base::storage::{ReadAt, WriteAt};
use gpt::Table;
use operations::encrypt::{EncryptedDisk, Options};
use operations::in_place::Conversion;
use operations::{self, Control, Observer, Partition, Phase, PublishStep, StopFlag, SystemEntropy};

use crate::support::image::{Image, ROOT, Shape, image};
use crate::support::judge::{self, Expected};
use crate::support::workshop::Workshop;
use crate::support::{files, programs};

/// The time of every change.
pub const NOW: i64 = 1_700_000_000;

/// What a conversion in place needs behind the filesystem.
pub const ROOM_BYTES: u64 = 24 << 20;

/// Chunks of a test: small, so that there are many.
pub const CHUNK_BYTES: u64 = 1 << 20;

/// True where the programs are there that build the disks and judge them.
pub fn ready() -> bool {
    programs(&[
        "mke2fs", "debugfs", "dumpe2fs", "e2fsck", "fdisk", "sfdisk", "sgdisk",
    ]) && programs(&[
        "mkfs.vfat",
        "fsck.vfat",
        "mcopy",
        "mmd",
        "cryptsetup",
        "setpriv",
    ])
}

/// Says nothing, and is never in the way.
pub struct Silent;

impl Observer for Silent {
    fn begin(&self, _: Phase, _: u64) {}
    fn advance(&self, _: u64) {}
    fn publishing(&self, _: PublishStep) {}
}

/// An image with room for a conversion in place behind its root partition: as it was built, and longer.
pub struct Roomy {
    /// As it was built.
    pub source: &'static Image,
    /// How long it is made.
    pub disk_bytes: u64,
}

impl Roomy {
    /// A small one.
    pub fn tiny() -> Self {
        Self::of(Shape::Tiny)
    }

    /// Of any shape whose root is the last partition.
    pub fn of(shape: Shape) -> Self {
        let source = image(shape);
        let geometry = source.geometry;
        Self {
            source,
            disk_bytes: geometry.disk_sectors * geometry.sector_bytes + ROOM_BYTES,
        }
    }

    /// The longer image, in a workshop.
    pub fn put(&self, workshop: &Workshop) -> PathBuf {
        let _ = std::fs::remove_file(workshop.path("source.img"));
        let disk = workshop.source(self.source);
        files::open_to_write(&disk)
            .set_len(self.disk_bytes)
            .unwrap();
        disk
    }

    /// What must come out: the disk keeps its length, the root takes all room that is needed.
    pub fn expected(&self) -> Expected {
        let geometry = self.source.geometry;
        Expected {
            luks_sector_bytes: if geometry.sector_bytes == 4096 && geometry.block_bytes >= 4096 {
                4096
            } else {
                512
            },
            disk_bytes: self.disk_bytes,
            root_last_lba: geometry.root_last_lba + ROOM_BYTES / geometry.sector_bytes,
            vhd: false,
            grow_root: false,
            cloud_init: self.source.has_cloud_init,
            datasources: None,
            kernel_efi: false,
            shrunk_bytes: None,
            skips_free: false,
        }
    }

    /// Judges a converted disk: everything that a conversion into a new file must have, too.
    #[track_caller]
    pub fn judge(&self, disk: &Path) -> judge::Judged {
        judge::judge(self.source, disk, &self.expected())
    }
}

/// Random bytes that are the same in every test: test only keys.
pub struct TestOnlyEntropy(u64);

impl TestOnlyEntropy {
    /// From the start.
    pub fn new() -> Self {
        Self(0)
    }
}

impl Entropy for TestOnlyEntropy {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        for bytes in buffer.chunks_mut(8) {
            self.0 = self.0.wrapping_add(1);
            let word = (self.0 ^ self.0 << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let word = (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let word = (word ^ word >> 32).to_le_bytes();
            bytes.copy_from_slice(&word[..bytes.len()]);
        }
        Ok(())
    }
}

/// Converts a disk from its beginning, with the same keys every time.
pub fn convert<S: WriteAt>(disk: S, chunk_bytes: u64) -> Result<(), operations::Error> {
    let options = Options {
        in_place: Some(chunk_bytes),
        ..Options::default()
    };
    let mut entropy = TestOnlyEntropy::new();
    let prepared = EncryptedDisk::new(disk, &options, NOW, &mut entropy)?;
    let control = Control {
        observer: &Silent,
        stop: &StopFlag::new(),
    };
    prepared.convert(2, control, &mut entropy)
}

/// The root partition of a disk, and the disk's sector size.
pub fn root(disk: &dyn ReadAt) -> (Partition, u64) {
    let (table, _) = Table::read(disk).unwrap();
    (table.partition(ROOT).unwrap(), table.sector_bytes())
}

/// Resumes a conversion.
pub fn resume(disk: &dyn WriteAt) -> Result<(), operations::Error> {
    let (root, sector_bytes) = root(disk);
    let conversion = Conversion::find(disk, &root, sector_bytes)?;
    let control = Control {
        observer: &Silent,
        stop: &StopFlag::new(),
    };
    conversion.run(disk, 2, control, &mut SystemEntropy::new())
}
