//! `cargo xtask docs`: what is derived from the parsers' definitions.

use anyhow::{Context as _, Result};

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
    packages::install(packages::BUILD)?;
    let generated = crate::target_folder()?.join("docs");
    let mut docs = process::cargo(&["run", "--quiet", "--locked", "--example", "cli-docs", "--"]);
    if arguments.check {
        docs.arg("--check");
    }
    docs.arg("docs/reference").arg(&generated);
    process::run(&mut docs).context("the reference pages are not as they should be")?;
    if !arguments.check {
        println!(
            "Written: the pages in docs/reference, man and completions in {}",
            generated.display()
        );
    }
    Ok(())
}
