//! The boot file that `--kernel-efi` puts on the EFI system partition.
//!
//! shim loads `grubx64.efi` beside itself, which is why a unified kernel image stands under that name.

use super::customise::Edit;
use crate::filesystem::{self, fat::Fat};

/// Where shim looks for what it loads.
const PATH: &str = "EFI/ubuntu/grubx64.efi";
const FOLDER: &str = "EFI/ubuntu";

/// A program that firmware or shim could load.
#[derive(Debug, Clone)]
pub struct BootFile {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// It has a signature, whosever.
    pub is_signed: bool,
}

/// Replaces the boot file, or makes it with its folders.
pub fn replace(esp: &Fat<'_>, bytes: &[u8]) -> filesystem::Result<Edit> {
    let was = match esp.find(PATH)? {
        Some(_) => "replaced",
        None => "new",
    };
    esp.create_dir_all(FOLDER)?;
    esp.replace_file(PATH, bytes)?;
    Ok(Edit {
        path: format!("ESP:{PATH}"),
        what: format!("{was}, {} bytes", bytes.len()),
    })
}
