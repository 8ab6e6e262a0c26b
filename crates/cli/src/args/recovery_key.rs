//! Recovery keys, and `print-recovery-key`.

use std::path::PathBuf;

use clap::{Args, Parser};

use super::{EXIT_STATUS, STYLES};
use crate::parse;

/// Where the recovery key comes from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recovery key")]
#[command(group = clap::ArgGroup::new("recovery").args(["recovery_key_file", "recovery_key_text", "recovery_key_out"]))]
pub struct RecoveryOptions {
    /// Let the 16 bytes in this file open the disk, too
    #[arg(long, value_name = "FILE")]
    pub recovery_key_file: Option<PathBuf>,

    /// Let the key with these digits open the disk, too
    ///
    /// Other users of this machine may see arguments; a file is safer.
    #[arg(long, value_name = "DIGITS")]
    pub recovery_key_text: Option<RecoveryText>,

    /// Make a recovery key, and write its 16 bytes to this new file
    #[arg(long, value_name = "FILE", value_parser = parse::file_path())]
    pub recovery_key_out: Option<PathBuf>,

    /// Print the digits of the new recovery key to standard output
    #[arg(long, requires = "recovery_key_out", conflicts_with_all = ["dry_run", "recovery_key_file", "recovery_key_text"])]
    pub print: bool,
}

/// Digits of a recovery key, which no message shows.
#[derive(Clone)]
pub struct RecoveryText(pub zeroize::Zeroizing<String>);

impl std::fmt::Debug for RecoveryText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryText")
    }
}

impl std::str::FromStr for RecoveryText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(zeroize::Zeroizing::new(text.to_owned())))
    }
}

/// Print a recovery key as the digits that are typed at a guest's prompt
///
/// FILE holds the 16 raw bytes of the key. The output is eight groups of five digits.
#[derive(Debug, Parser)]
#[command(name = "print-recovery-key", version, styles = STYLES)]
#[command(max_term_width = 100, after_long_help = EXIT_STATUS)]
pub struct PrintRecoveryKey {
    /// Key file, or - for standard input
    pub file: PathBuf,
}
