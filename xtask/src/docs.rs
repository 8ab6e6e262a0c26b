//! `cargo xtask docs`: what is derived from the parsers' definitions.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::packages::Need;
use crate::{packages, process};

#[derive(clap::Args)]
pub struct Arguments {
    /// Write nothing; fail if a reference page is stale
    #[arg(long)]
    check: bool,
}

/// Writes the generated parts of `docs/reference`, and manual pages and completions below the target folder.
///
/// An example program of the library does it, since only the library has the definitions.
pub fn run(arguments: &Arguments) -> Result<()> {
    packages::install(packages::of(&[Need::Build, Need::Docs]))?;
    let generated = crate::target_folder()?.join("docs");
    let reference = Path::new("docs/reference");
    if arguments.check {
        return derive(&["--check"], reference, &generated);
    }
    write(reference, &generated)?;
    println!(
        "Written: the pages in docs/reference, man and completions in {}",
        generated.display()
    );
    Ok(())
}

/// Writes reference pages into one folder, and `man` and `completions` into another.
pub fn write(reference: &Path, generated: &Path) -> Result<()> {
    derive(&[], reference, generated)
}

fn derive(options: &[&str], reference: &Path, generated: &Path) -> Result<()> {
    let mut docs = process::cargo(&["run", "--quiet", "--locked", "--example", "cli-docs", "--"]);
    docs.args(options).args([reference, generated]);
    process::run(&mut docs).context("the reference pages are not as they should be")
}
