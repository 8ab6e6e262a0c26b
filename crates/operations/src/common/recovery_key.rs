//! The recovery key as people handle it: a file of 16 raw bytes, and its digits.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base::secret::SecretBytes;
use keyobject::{RECOVERY_KEY_BYTES, RecoveryKey, RecoveryKeyError};

/// Why there is no recovery key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or read.
    #[error("cannot read the recovery key from {}", name(path))]
    Read {
        /// The key file, or `-` for standard input.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{}: {problem}", name(path))]
    Key {
        /// The key file, or `-` for standard input.
        path: PathBuf,
        /// What is wrong with its content.
        problem: RecoveryKeyError,
    },
}

fn name(path: &Path) -> String {
    if path.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads a recovery key from a file, or from standard input where `path` is `-`.
pub fn read(path: &Path) -> Result<RecoveryKey, Error> {
    let bytes = if path.as_os_str() == "-" {
        read_start(io::stdin().lock())
    } else {
        File::open(path).and_then(read_start)
    };
    let bytes = bytes.map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    RecoveryKey::from_bytes(bytes).map_err(|problem| Error::Key {
        path: path.to_owned(),
        problem,
    })
}

/// As many bytes as it takes to tell a key from everything else; never the whole of a large file.
fn read_start(mut input: impl Read) -> io::Result<SecretBytes> {
    let mut buffer = SecretBytes::zeroed(2 * RECOVERY_KEY_BYTES);
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer.expose_mut()[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(SecretBytes::new(buffer.expose()[..filled].to_vec()))
}
