//! Numbers that cannot be guessed.

use std::fs::File;
use std::io::Read as _;

use anyhow::{Context as _, Result};

/// 16 random bytes in hexadecimal.
pub fn nonce() -> Result<String> {
    let mut bytes = [0; 16];
    let mut random = File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    random.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
