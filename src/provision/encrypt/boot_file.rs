//! The boot file that `--kernel-efi` puts on the EFI system partition.
//!
//! shim loads `grubx64.efi` beside itself, which is why a unified kernel image stands under that name.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::customise::Edit;
use crate::efi::Pe;
use crate::filesystem::{self, fat::Fat};
use crate::provision::Error;
use crate::storage::MemoryStorage;

/// Where shim looks for what it loads.
const PATH: &str = "EFI/ubuntu/grubx64.efi";
const FOLDER: &str = "EFI/ubuntu";

/// The largest file for `--kernel-efi`, in bytes; a unified kernel image has some 60 MiB.
const MAX_BOOT_FILE_BYTES: u64 = 1 << 30;

/// A program that firmware or shim could load.
#[derive(Debug, Clone)]
pub struct BootFile {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// It has a signature, whosever.
    pub is_signed: bool,
}

impl BootFile {
    /// Reads the file for `--kernel-efi` and checks that it is one that firmware could load.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        let read = File::open(path)
            .and_then(|file| file.take(MAX_BOOT_FILE_BYTES + 1).read_to_end(&mut bytes));
        read.map_err(|source| Error::BootFileUnreadable {
            path: path.to_owned(),
            source,
        })?;
        if bytes.len() as u64 > MAX_BOOT_FILE_BYTES {
            return Err(Error::BootFileTooLong {
                path: path.to_owned(),
                max_bytes: MAX_BOOT_FILE_BYTES,
            });
        }
        let file = MemoryStorage::new(bytes);
        let pe = Pe::read(&file).map_err(|source| Error::BootFileNotPe {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            is_signed: pe.is_signed(),
            bytes: file.into_bytes(),
        })
    }
}

/// Replaces the boot file, or makes it with its folders.
pub fn replace(esp: &Fat<'_>, bytes: &[u8]) -> filesystem::Result<Edit> {
    let edit = edit(esp, bytes)?;
    esp.create_dir_all(FOLDER)?;
    esp.replace_file(PATH, bytes)?;
    Ok(edit)
}

/// The same in clusters that are free now, so that it can be written in the [phases](filesystem::fat::phases()) that
/// survive a crash: the old file and the new one need room beside each other.
pub fn switch(esp: &Fat<'_>, bytes: &[u8]) -> filesystem::Result<Edit> {
    let edit = edit(esp, bytes)?;
    esp.create_dir_all(FOLDER)?;
    esp.switch_file(PATH, bytes)?;
    esp.finish()?;
    Ok(edit)
}

fn edit(esp: &Fat<'_>, bytes: &[u8]) -> filesystem::Result<Edit> {
    let was = match esp.find(PATH)? {
        Some(_) => "replaced",
        None => "new",
    };
    Ok(Edit {
        path: format!("ESP:{PATH}"),
        what: format!("{was}, {} bytes", bytes.len()),
    })
}
