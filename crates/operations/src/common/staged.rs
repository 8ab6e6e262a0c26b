//! A small output file that appears whole or not at all.
//!
//! It is written under no name ([`Output`]), flushed, and gets its name in one step, so that a longer old file leaves no tail
//! and a reader never sees a half. A file that is replaced keeps its mode, a symbolic link stays and the file behind it is
//! replaced. A pipe or a character device (`/dev/stdout`) is written as it is; a block device is refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt};
use std::path::Path;

use base::storage::WriteAt as _;
use image::{self, Finished, Output, Replace, Temporary};

/// Mode of new files, before the process's mask.
const MODE: u32 = 0o644;

/// A file that is written and has no name yet.
pub enum Staged {
    /// A file that will get its name.
    Unnamed(Finished),
    /// Something that is no plain file, not written to yet.
    AsItIs {
        /// What was opened.
        file: File,
        /// What it will get.
        bytes: Vec<u8>,
    },
}

impl Staged {
    /// Writes the file, which vanishes again, unless it is published.
    pub fn new(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let old = match fs::metadata(path) {
            Ok(old) if old.file_type().is_block_device() => {
                let what = "it is a block device, and what lies on it would be lost; name a file";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            Ok(old) if !old.is_file() => {
                let file = OpenOptions::new().write(true).open(path)?;
                return Ok(Self::AsItIs {
                    file,
                    bytes: bytes.to_vec(),
                });
            }
            Ok(old) => Some(old.permissions().mode() & 0o7777),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self::Unnamed(written(path, bytes, old)?))
    }

    /// Gives the file its name, and makes that durable.
    pub fn publish(self) -> io::Result<()> {
        match self {
            Self::Unnamed(finished) => {
                let mut published = finished.publish(&mut |_| ControlFlow::Continue(()))?;
                published.durable().map_err(|error| {
                    let source = io::Error::from(error);
                    let what = "it is written, but its directory could not be flushed";
                    io::Error::new(source.kind(), format!("{what}: {source}"))
                })
            }
            Self::AsItIs { mut file, bytes } => file.write_all(&bytes),
        }
    }
}

fn written(path: &Path, bytes: &[u8], old_mode: Option<u32>) -> image::Result<Finished> {
    let len_bytes = bytes.len() as u64; // usize is at most 64 bits wide
    let (replace, temporary) = (Replace::Existing, Temporary::default());
    let output = Output::create_with_mode(path, len_bytes, replace, temporary, MODE)?;
    if let Some(mode) = old_mode {
        output.set_mode(mode)?;
    }
    output.storage().write_all_at(bytes, 0)?;
    output.finish()
}
