//! What a contributor runs: `cargo xtask test`, `demo`, `interop`, `boot-test`, `docs`, `bench`, `fuzz`, `dist`.
//!
//! They start on a Debian or Ubuntu machine that has Rust and git alone, install the Debian packages
//! that they need and say so. This program never depends on the library: that one builds only after its
//! C headers are installed, which is done here. It uses the built programs, as a user would.

mod bench;
mod boot;
mod cloud_init;
mod debian;
mod demo;
mod disk;
mod dist;
mod docs;
mod fuzz;
mod guest;
mod interop;
mod packages;
mod prediction;
mod process;
mod python;
mod sources;
mod systemd;
mod test;
mod tools;
mod tpm;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Tasks of a contributor
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need, then check and test everything
    Test(test::Arguments),
    /// Encrypt a cloud image, deploy it to a TPM, and show the result
    Demo(demo::Arguments),
    /// Boot guests that open their root with the key that deploy sealed
    BootTest(boot::Arguments),
    /// Let the reader of Ubuntu's initramfs open what deploy seals
    Interop(interop::Arguments),
    /// Measure again what docs/performance.md says
    Bench(bench::Arguments),
    /// Write reference pages, manual pages and completions from the programs' own definitions
    Docs(docs::Arguments),
    /// Run the fuzz targets, one after the other
    Fuzz(fuzz::Arguments),
    /// Make packages, and try them in clean Debian systems
    Dist(dist::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test(arguments) => test::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::BootTest(arguments) => boot::run(&arguments),
        Task::Interop(arguments) => interop::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Docs(arguments) => docs::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Dist(arguments) => dist::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The folder that cargo builds into (`target`, or what the user's configuration says): this program
/// runs from `TARGET/debug/xtask`.
fn target_folder() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let folder = program.parent().and_then(|folder| folder.parent());
    Ok(folder
        .context("this program does not lie in a folder of cargo")?
        .to_owned())
}

/// The top of the checkout, where every command of cargo runs.
fn project_folder() -> PathBuf {
    let xtask = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}
