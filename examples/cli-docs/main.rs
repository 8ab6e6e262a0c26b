//! Writes what is derived from the parsers' definitions: reference pages, manual pages, shell completions.
//!
//! `cargo xtask docs` runs it. The reference pages are committed (and a test tells when they are stale); the
//! rest is for packages and goes below cargo's target folder.

#[path = "markdown.rs"]
mod markdown;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use clap_complete::Shell;

/// Write reference pages, manual pages and shell completions
#[derive(Parser)]
struct Arguments {
    /// Write nothing; fail if a reference page is not what would be written
    #[arg(long)]
    check: bool,
    /// Folder of the reference pages
    reference: PathBuf,
    /// Folder for manual pages and completions
    generated: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(done) if done => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// False where a page is stale and was to be checked alone.
fn run(arguments: &Arguments) -> io::Result<bool> {
    let mut fresh = true;
    for command in encrypt_cloud_image::commands() {
        let page = arguments
            .reference
            .join(format!("{}.md", command.get_name()));
        let old = match fs::read_to_string(&page) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let new = markdown::merge(&old, command.clone()).map_err(io::Error::other)?;
        if arguments.check {
            if old != new {
                eprintln!("{} is stale: run cargo xtask docs", page.display());
                fresh = false;
            }
            continue;
        }
        fs::create_dir_all(&arguments.reference)?;
        fs::write(&page, new)?;
        write_generated(command, &arguments.generated)?;
    }
    Ok(fresh)
}

fn write_generated(mut command: clap::Command, folder: &Path) -> io::Result<()> {
    let man = folder.join("man");
    fs::create_dir_all(&man)?;
    clap_mangen::generate_to(command.clone(), &man)?;
    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, &name, &completions)?;
    }
    Ok(())
}
