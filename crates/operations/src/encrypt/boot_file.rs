//! The boot file that `--kernel-efi` puts on the EFI system partition.
//!
//! shim loads `grubx64.efi` beside itself, which is why a unified kernel image stands under that name. So there must be a
//! shim for that processor in the directory; images of other distributions have theirs elsewhere, and start nothing that
//! is put here.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::customise::Edit;
use crate::Error;
use base::storage::MemoryStorage;
use filesystem::{self, fat::Fat};
use firmware::{Kind, Machine, Pe, Program};

/// Where shim looks for what it loads.
const PATH: &str = "EFI/ubuntu/grubx64.efi";
/// The shim that looks there.
const SHIM: &str = "EFI/ubuntu/shimx64.efi";

/// The largest file for `--kernel-efi`, in bytes; a unified kernel image has some 60 MiB.
const MAX_BOOT_FILE_BYTES: u64 = 1 << 30;
/// The largest shim that is read, in bytes; the largest have 1 MiB.
const MAX_SHIM_BYTES: u64 = 64 << 20;
/// How many programs of other directories a message names.
const MAX_NAMED: usize = 8;

/// A program that firmware or shim could load.
#[derive(Debug, Clone)]
pub struct BootFile {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// It has a signature, whosever.
    pub is_signed: bool,
    path: PathBuf,
    machine: Machine,
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
            machine: pe.machine(),
            path: path.to_owned(),
            bytes: file.into_bytes(),
        })
    }

    /// Replaces the boot file, or makes it.
    pub fn replace(&self, esp: &Fat<'_>) -> Result<Edit, Error> {
        let edit = self.edit(esp)?;
        esp.replace_file(PATH, &self.bytes).map_err(Error::in_esp)?;
        Ok(edit)
    }

    /// The same in clusters that are free now, so that it can be written in the [phases](filesystem::fat::phases()) that
    /// survive a crash: the old file and the new one need room beside each other.
    pub fn switch(&self, esp: &Fat<'_>) -> Result<Edit, Error> {
        let edit = self.edit(esp)?;
        let switched = esp.switch_file(PATH, &self.bytes);
        switched
            .and_then(|()| esp.finish())
            .map_err(Error::in_esp)?;
        Ok(edit)
    }

    fn edit(&self, esp: &Fat<'_>) -> Result<Edit, Error> {
        self.check_is_started(esp)?;
        let was = match esp.find(PATH).map_err(Error::in_esp)? {
            Some(_) => "replaced",
            None => "new",
        };
        Ok(Edit {
            path: format!("ESP:{PATH}"),
            what: format!("{was}, {} bytes", self.bytes.len()),
        })
    }

    /// Refuses a place where nothing would start the file.
    fn check_is_started(&self, esp: &Fat<'_>) -> Result<(), Error> {
        let found = esp.find(SHIM).map_err(Error::in_esp)?;
        if found.is_none_or(|entry| entry.is_directory) {
            return Err(Error::BootFileWithoutShim {
                programs: programs(esp).map_err(Error::in_esp)?,
            });
        }
        let shim = esp.read_file(SHIM, MAX_SHIM_BYTES).map_err(Error::in_esp)?;
        let shim = MemoryStorage::new(shim);
        let program = Program::read(&shim, &[], false);
        let is_shim = program.is_ok_and(|program| program.kind() == Kind::Shim);
        let machine = Pe::read(&shim).map(|pe| pe.machine());
        match machine {
            Ok(machine) if is_shim && machine == self.machine => Ok(()),
            Ok(machine) if is_shim => Err(Error::BootFileMachine {
                path: self.path.clone(),
                machine: self.machine,
                shim: machine,
            }),
            _ => Err(Error::BootFileBehindNoShim),
        }
    }
}

/// The programs in the directories below `EFI`, for a message.
fn programs(esp: &Fat<'_>) -> filesystem::Result<Vec<String>> {
    const TOP: &str = "EFI";
    let mut found = Vec::new();
    if esp.find(TOP)?.is_none_or(|entry| !entry.is_directory) {
        return Ok(found);
    }
    let folders = esp.list_dir(TOP)?;
    let folders = folders
        .iter()
        .filter(|entry| entry.is_directory && !entry.name.starts_with('.'));
    for folder in folders {
        for entry in esp.list_dir(&format!("{TOP}/{}", folder.name))? {
            let is_program = entry.name.to_ascii_lowercase().ends_with(".efi");
            if is_program && !entry.is_directory {
                let path = format!("{TOP}/{}/{}", folder.name, entry.name);
                found.push(path.escape_debug().to_string());
            }
        }
        if found.len() >= MAX_NAMED {
            break;
        }
    }
    found.truncate(MAX_NAMED);
    Ok(found)
}
