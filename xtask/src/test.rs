//! `cargo xtask test`: what must be green before a change lands, in the order of what fails fastest.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::packages::Need;
use crate::{cloud_init, fuzz, interop, packages, process, python, systemd, tools};

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

    /// Arguments for `cargo test`, such as `--test gpt`
    #[arg(last = true, value_name = "ARGS")]
    for_cargo_test: Vec<String>,
}

/// Runs every step; the first that fails ends it.
pub fn run(arguments: &Arguments) -> Result<()> {
    // Who names tests wants these alone.
    let is_whole = arguments.for_cargo_test.is_empty();
    let mut needed: Vec<_> = packages::of(&[Need::Build, Need::Test]).collect();
    if is_whole {
        needed.extend(packages::of(&[Need::Interop, Need::Go]));
    }
    packages::install(needed)?;
    python::install_virt_fw_vars()?;
    tools::install()?;
    systemd::install_readers()?;
    cloud_init::install()?;
    if !arguments.no_lint {
        install_components()?;
    }

    let mut tests = process::cargo(&["test", "--workspace", "--locked"]);
    tests.args(&arguments.for_cargo_test);
    if arguments.all {
        tests.env("ECI_TEST_ALL", "1");
    }
    let mut steps: Vec<Step> = Vec::new();
    if !arguments.no_lint {
        steps.push(command(
            "format",
            process::cargo(&["fmt", "--all", "--check"]),
        ));
        let fuzz = crate::project_folder().join("fuzz");
        steps.push(("fuzz's lock", Box::new(move || fuzz::check_lock(&fuzz))));
        let clippy = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ];
        steps.push(command("clippy", process::cargo(&clippy)));
    }
    steps.push(command("tests", tests));
    if !arguments.no_lint {
        let mut documentation = process::cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
        documentation.env("RUSTDOCFLAGS", "-D warnings");
        steps.push(command("documentation", documentation));
    }
    if is_whole {
        steps.push(("interop", Box::new(|| interop::run(&interop::Arguments {}))));
    }
    take(steps)
}

/// Its name, and what it does.
type Step = (&'static str, Box<dyn FnOnce() -> Result<()>>);

fn command(name: &'static str, mut command: Command) -> Step {
    (name, Box::new(move || process::run(&mut command)))
}

fn take(steps: Vec<Step>) -> Result<()> {
    let mut times = Vec::new();
    for (name, step) in steps {
        println!("\n==> {name}");
        let start = Instant::now();
        step().with_context(|| format!("the step `{name}` failed"))?;
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
