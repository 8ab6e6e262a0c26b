//! The EFI system partition of an image, as a place of boot files.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Guest;
use super::boot_files::{EspFiles, Name};
use super::error::PredictError;
use crate::Error;
use crate::common::backing::BackingFiles;
use crate::common::partitions;
use base::storage::{MemoryStorage, ReadAt, Slice};
use filesystem::fat::Fat;
use gpt::{self, Table};
use image::{self, Lock, Source};
use measure::Boot;

/// The longest boot file that is read; a kernel with its initial ramdisk has some hundred MiB.
const MAX_BOOT_FILE_BYTES: u64 = 1 << 30;

/// A FAT filesystem that is open.
pub struct EspVolume<'a, 's>(pub &'a Fat<'s>);

impl EspFiles for EspVolume<'_, '_> {
    fn list(&self, directory: &[String]) -> Result<Vec<Name>, PredictError> {
        let entries = self.0.list_dir(&directory.join("/"))?;
        Ok(entries
            .into_iter()
            .map(|entry| Name {
                name: entry.name,
                is_directory: entry.is_directory,
            })
            .collect())
    }

    fn open(&self, file: &[String]) -> Result<Box<dyn ReadAt>, PredictError> {
        // Where clusters form a circle, a file claims more than the volume has.
        let limit_bytes = self.0.geometry().len_bytes().min(MAX_BOOT_FILE_BYTES);
        let bytes = self.0.read_file(&file.join("/"), limit_bytes)?;
        Ok(Box::new(MemoryStorage::new(bytes)))
    }
}

/// The boot files of an image, and what is worth saying about them.
pub fn of_image(
    path: &Path,
    backing_files: &[PathBuf],
    esp: Option<Uuid>,
    guest: &Guest,
) -> Result<(Boot, Vec<String>), PredictError> {
    let (window, found) = window(path, backing_files, esp).map_err(Box::new)?;
    let fat = Fat::open_read_only(&window)?;
    let volume = EspVolume(&fat);
    let (boot, said) = guest.boot_on(&volume)?;
    let mut warnings: Vec<_> = found.iter().map(ToString::to_string).collect();
    warnings.extend(said);
    Ok((boot, warnings))
}

/// A partition of a disk in any format.
type Window = Slice<Box<dyn ReadAt>>;

/// The EFI system partition of an image, and what was found about the image's partition table.
fn window(
    path: &Path,
    backing_files: &[PathBuf],
    esp: Option<Uuid>,
) -> Result<(Window, Vec<gpt::Warning>), Error> {
    let source = Source::open(path, Lock::Shared).map_err(Error::SourceFile)?;
    let backing = BackingFiles::open(backing_files)?;
    let disk_end_bytes = gpt::disk_end_bytes(source.storage())?;
    let disk = image::open_disk_over(source, disk_end_bytes, backing.files())
        .map_err(Error::SourceFile)?
        .disk;
    let (table, found) = Table::read(&disk)?;
    let esp = partitions::choose_esp(&table, esp)?;
    let range = partitions::byte_range(&esp, table.sector_bytes());
    Ok((partitions::window(disk, &range)?, found))
}
