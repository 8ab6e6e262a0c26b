//! `cargo xtask fuzz`: every fuzz target, one after the other, for some time each.
//!
//! Fuzzing takes a nightly compiler (for `AddressSanitizer`) and cargo-fuzz, which nothing else here does; what of
//! them is missing is said, not installed. The inputs that a run found to be of use stay in `fuzz/corpus`, so that the
//! next one goes on from there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::packages::Need;
use crate::{packages, process};

#[derive(clap::Args)]
pub struct Arguments {
    /// The targets to run, by the names of their files in `fuzz/fuzz_targets`; all if left out
    targets: Vec<String>,

    /// How long each target runs
    #[arg(long, default_value_t = 180, value_name = "N")]
    seconds: u32,
}

/// Builds and runs the targets; all of them, also where one found something.
pub fn run(arguments: &Arguments) -> Result<()> {
    let all = targets(&crate::project_folder().join("fuzz/fuzz_targets"))?;
    let chosen = chosen(&arguments.targets, &all)?;
    if let Some(missing) = missing(
        process::find("rustup").is_some(),
        &mut || process::succeeds(&mut nightly(&["rustc", "--version"])),
        &mut || process::succeeds(&mut nightly(&["cargo", "fuzz", "--version"])),
    ) {
        bail!("{missing}");
    }
    packages::install(packages::of(&[Need::Build, Need::Fuzz]))?;

    let folder = crate::target_folder()?.join("fuzz");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut found = Vec::new();
    for target in &chosen {
        if !run_one(target, arguments.seconds, &folder)? {
            found.push(*target);
        }
    }
    if !found.is_empty() {
        bail!(
            "{} of {} targets found something: {}",
            found.len(),
            chosen.len(),
            found.join(", ")
        );
    }
    println!("\n{} targets ran, none found anything.", chosen.len());
    Ok(())
}

/// Runs a target; false where it found something.
fn run_one(target: &str, seconds: u32, folder: &Path) -> Result<bool> {
    println!("\n==> {target}");
    let project = crate::project_folder();
    let in_project = |command: &mut Command| {
        command
            .current_dir(&project)
            .env("CARGO_TARGET_DIR", folder);
    };
    let mut build = nightly(&["cargo", "fuzz", "build", target]);
    in_project(&mut build);
    process::run(&mut build)?;

    let corpus = format!("fuzz/corpus/{target}");
    fs::create_dir_all(project.join(&corpus)).with_context(|| format!("cannot make {corpus}"))?;
    let mut fuzz = nightly(&["cargo", "fuzz", "run", target, &corpus]);
    for seeds in [
        format!("fuzz/seeds/{target}"),
        format!("tests/data/fuzz-found/{target}"),
    ] {
        if project.join(&seeds).is_dir() {
            fuzz.arg(seeds);
        }
    }
    fuzz.arg("--").arg(format!("-max_total_time={seconds}"));
    // An input that takes ten seconds is a finding, too.
    fuzz.args(["-timeout=10", "-print_final_stats=1"]);
    in_project(&mut fuzz);
    let log = folder.join(format!("{target}.log"));
    let file = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
    let errors = file.try_clone()?;
    fuzz.stdin(Stdio::null()).stdout(file).stderr(errors);
    let failed = process::run(&mut fuzz).is_err();

    let talk = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let talk = String::from_utf8_lossy(&talk);
    if !failed && let Some(runs) = runs(&talk) {
        println!("{target}: {runs} runs, no finding");
        return Ok(true);
    }
    println!(
        "{target}: a finding, or a failure; the end of {}:",
        log.display()
    );
    let lines: Vec<_> = talk.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(40)) {
        println!("  {line}");
    }
    println!(
        "The input lies in fuzz/artifacts/{target}. It is replayed for ever once it lies in \
         tests/data/fuzz-found/{target}."
    );
    Ok(false)
}

/// A command of the nightly toolchain. Cargo's own variables name the toolchain that this program runs from.
fn nightly(arguments: &[&str]) -> Command {
    let mut rustup = process::program("rustup");
    rustup.args(["run", "nightly"]).args(arguments);
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        rustup.env_remove(variable);
    }
    rustup
}

/// What fuzzing lacks on this machine, and how it comes there.
fn missing(
    has_rustup: bool,
    has_nightly: &mut dyn FnMut() -> bool,
    has_cargo_fuzz: &mut dyn FnMut() -> bool,
) -> Option<&'static str> {
    if !has_rustup {
        return Some("fuzzing needs a nightly compiler, by rustup: see https://rustup.rs");
    }
    if !has_nightly() {
        return Some(
            "fuzzing needs a nightly compiler: rustup toolchain install nightly --profile minimal",
        );
    }
    if !has_cargo_fuzz() {
        return Some("fuzzing needs cargo-fuzz: cargo install --locked cargo-fuzz");
    }
    None
}

/// The names of all targets, sorted.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let file: PathBuf = entry?.path();
        if file.extension().is_some_and(|extension| extension == "rs") {
            names.extend(file.file_stem().map(|stem| stem.display().to_string()));
        }
    }
    names.sort();
    Ok(names)
}

/// Those of `all` that are asked for; all where none is.
fn chosen<'a>(asked: &'a [String], all: &'a [String]) -> Result<Vec<&'a str>> {
    if let Some(unknown) = asked.iter().find(|name| !all.contains(name)) {
        bail!("there is no fuzz target {unknown}, only {}", all.join(", "));
    }
    let chosen = if asked.is_empty() { all } else { asked };
    Ok(chosen.iter().map(String::as_str).collect())
}

/// How many inputs were run, by libFuzzer's final statistics.
fn runs(talk: &str) -> Option<u64> {
    talk.lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .and_then(|number| number.trim().parse().ok())
}

/// Fails where the lock of a workspace would change: a crate of ours took or left a dependency, and nobody wrote that down.
/// Asks the registry's index where the lock names one; downloads nothing.
pub fn check_lock(folder: &Path) -> Result<()> {
    let mut update = process::cargo(&["update", "--workspace", "--locked", "--quiet"]);
    update.current_dir(folder);
    if process::succeeds(&mut update) {
        return Ok(());
    }
    let folder = process::shown_path(folder);
    bail!(
        "{folder}/Cargo.lock does not fit to the crates that it is for, or the registry cannot be asked: (cd {folder} && cargo update --workspace)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_brings_it() {
        let of = |rustup, nightly, cargo_fuzz| missing(rustup, &mut || nightly, &mut || cargo_fuzz);
        assert_eq!(
            of(false, false, false),
            Some("fuzzing needs a nightly compiler, by rustup: see https://rustup.rs")
        );
        assert_eq!(
            of(true, false, false),
            Some(
                "fuzzing needs a nightly compiler: rustup toolchain install nightly --profile minimal"
            )
        );
        assert_eq!(
            of(true, true, false),
            Some("fuzzing needs cargo-fuzz: cargo install --locked cargo-fuzz")
        );
        assert_eq!(of(true, true, true), None);
    }

    #[test]
    fn all_targets_run_unless_some_are_named() {
        let all = ["ext4", "fat"].map(str::to_owned);
        assert_eq!(chosen(&[], &all).unwrap(), ["ext4", "fat"]);
        assert_eq!(chosen(&all[1..], &all).unwrap(), ["fat"]);
        assert_eq!(
            chosen(&["ntfs".to_owned()], &all).unwrap_err().to_string(),
            "there is no fuzz target ntfs, only ext4, fat"
        );
    }

    #[test]
    fn the_targets_are_the_files_of_their_folder() {
        let names = targets(&crate::project_folder().join("fuzz/fuzz_targets")).unwrap();
        assert!(names.windows(2).all(|two| two[0] < two[1]), "{names:?}");
        assert!(names.contains(&"fat".to_owned()), "{names:?}");
    }

    #[test]
    fn runs_are_read_from_the_final_statistics() {
        let talk = "Done 12 runs\nstat::number_of_executed_units: 4711\nstat::peak_rss_mb: 42\n";
        assert_eq!(runs(talk), Some(4711));
        assert_eq!(runs("==1== ERROR: AddressSanitizer"), None);
    }

    #[test]
    fn a_lock_that_misses_a_dependency_is_stale() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let manifest = |name: &str, more: &str| {
            format!(
                "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n{more}"
            )
        };
        write("fuzz/Cargo.toml", &manifest("fuzz", ""));
        write("fuzz/src/lib.rs", "");
        write("base/Cargo.toml", &manifest("base", ""));
        write("base/src/lib.rs", "");
        let fuzz = folder.path().join("fuzz");
        let mut generate = process::cargo(&["generate-lockfile", "--offline"]);
        process::run(generate.current_dir(&fuzz)).unwrap();
        check_lock(&fuzz).unwrap();
        let dependency = "[dependencies]\nbase = { path = \"../base\" }\n";
        write("fuzz/Cargo.toml", &manifest("fuzz", dependency));
        let message = check_lock(&fuzz).unwrap_err().to_string();
        assert!(message.contains("cargo update --workspace"), "{message}");
    }
}
