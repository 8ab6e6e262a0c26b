//! `cargo xtask test`: what must be green before a change lands, in the order of what fails fastest.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::{packages, process, python};

#[derive(clap::Args)]
pub struct Arguments {
    /// Run the long tests as well
    ///
    /// Sets `ECI_TEST_ALL=1`, which tests look at for their whole matrix: large images, every
    /// combination of options. Takes several times as long and some GiB of disk space.
    #[arg(long)]
    all: bool,

    /// Leave out formatting, clippy and documentation
    #[arg(long)]
    no_lint: bool,

    /// Arguments for `cargo test`, such as `--test layers`
    #[arg(last = true, value_name = "ARGS")]
    for_cargo_test: Vec<String>,
}

/// Runs every step; the first that fails ends it.
pub fn run(arguments: &Arguments) -> Result<()> {
    packages::install(packages::BUILD.iter().chain(packages::TEST))?;
    python::install_virt_fw_vars()?;
    if !arguments.no_lint {
        install_components()?;
    }

    let mut tests = process::cargo(&["test", "--workspace", "--locked"]);
    tests.args(&arguments.for_cargo_test);
    if arguments.all {
        tests.env("ECI_TEST_ALL", "1");
    }
    let mut steps = Vec::new();
    if !arguments.no_lint {
        steps.push(("format", process::cargo(&["fmt", "--all", "--check"])));
        let clippy = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ];
        steps.push(("clippy", process::cargo(&clippy)));
    }
    steps.push(("tests", tests));
    if !arguments.no_lint {
        let mut documentation = process::cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
        documentation.env("RUSTDOCFLAGS", "-D warnings");
        steps.push(("documentation", documentation));
    }
    take(&mut steps)
}

fn take(steps: &mut [(&str, Command)]) -> Result<()> {
    let mut times = Vec::new();
    for (name, command) in steps {
        println!("\n==> {name}");
        let start = Instant::now();
        process::run(command).with_context(|| format!("the step `{name}` failed"))?;
        times.push(format!("{name} {:.1} s", start.elapsed().as_secs_f64()));
    }
    println!("\nAll steps passed: {}.", times.join(", "));
    Ok(())
}

/// rustfmt and clippy belong to the toolchain; rustup's smallest profile lacks them.
fn install_components() -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if process::succeeds(&mut process::cargo(&[subcommand, "--version"])) {
            continue;
        }
        if process::find("rustup").is_none() {
            bail!("`cargo {subcommand}` is missing: install {component}, or give --no-lint");
        }
        process::run(Command::new("rustup").args(["component", "add", component]))?;
    }
    Ok(())
}
