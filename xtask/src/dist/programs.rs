//! Building the programs that are packed: in folders of their own, since they are compiled otherwise than those that
//! a contributor runs.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process;

/// Every program of the package.
pub const PROGRAMS: &[&str] = &[
    "create-uefi-config",
    "encrypt-cloud-image",
    "print-recovery-key",
];

/// How a program finds libext2fs and the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linking {
    /// In the system that it runs on.
    Dynamic,
    /// In itself.
    Static,
}

impl Linking {
    fn name(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Static => "static",
        }
    }
}

/// Built and stripped programs.
pub struct Programs {
    /// Where they lie.
    pub folder: PathBuf,
    /// What the linker read for one of them, as it tells make; only of static ones.
    pub linker_inputs: PathBuf,
}

/// Builds the programs below `work`.
pub fn build(linking: Linking, work: &Path) -> Result<Programs> {
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let work = work.join(linking.name());
    let programs = Programs {
        folder: work.join("programs"),
        linker_inputs: work.join("linker-inputs"),
    };
    fs::create_dir_all(&programs.folder)
        .with_context(|| format!("cannot make {}", programs.folder.display()))?;

    let mut flags = remapped(&work)?;
    if linking == Linking::Static {
        flags.push("-Ctarget-feature=+crt-static".to_owned());
        let inputs = programs.linker_inputs.display();
        flags.push(format!("-Clink-arg=-Wl,--dependency-file={inputs}"));
    }
    let mut cargo = process::release_build();
    cargo.arg("--package").arg(super::release::NAME);
    // With a target named, the flags do not reach build scripts and macros, which run here.
    cargo.arg("--target").arg(&target);
    cargo.arg("--target-dir").arg(work.join("target"));
    cargo.arg("--config");
    cargo.arg(format!("target.{target}.rustflags={flags:?}"));
    cargo
        .env_remove("RUSTFLAGS") // they would win
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_INCREMENTAL");
    process::run(&mut cargo)?;

    let built = work.join("target").join(&target).join("release");
    for name in PROGRAMS {
        let program = programs.folder.join(name);
        let mut strip = process::program("strip");
        strip.args(["--remove-section=.comment", "--remove-section=.note", "-o"]);
        process::quiet_output(strip.arg(&program).arg(built.join(name)))?;
        ensure!(
            is_dynamic(&program)? == (linking == Linking::Dynamic),
            "{} is not {}",
            program.display(),
            linking.name()
        );
        names_no_folder_of_here(&program, &work)?;
    }
    Ok(programs)
}

/// The folders of this machine, and what they are called in messages of the programs. rustc takes the last that fits.
fn remapped(work: &Path) -> Result<Vec<String>> {
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    Ok(vec![
        remap(&crate::project_folder(), "/source"),
        remap(&cargo_home()?, "/cargo"),
        remap(work, "/build"),
    ])
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = env::home_dir().context("there is no HOME, in which cargo keeps the crates")?;
    Ok(home.join(".cargo"))
}

/// True where the program asks for an interpreter, which loads libraries.
fn is_dynamic(program: &Path) -> Result<bool> {
    let mut readelf = process::program("readelf");
    let headers =
        process::quiet_output(readelf.args(["--program-headers", "--wide"]).arg(program))?;
    ensure!(
        headers.contains("LOAD"),
        "{} is no program",
        program.display()
    );
    Ok(headers.contains("INTERP"))
}

/// Paths of the building machine are nobody's business, and would make every build another.
fn names_no_folder_of_here(program: &Path, work: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    for folder in [&crate::project_folder(), &cargo_home()?, work] {
        if holds(&bytes, folder.as_os_str()) {
            bail!("{} holds the path {}", program.display(), folder.display());
        }
    }
    Ok(())
}

fn holds(bytes: &[u8], word: &OsStr) -> bool {
    let word = word.as_encoded_bytes();
    let mut rest = bytes;
    while let Some(start) = rest.iter().position(|byte| Some(byte) == word.first()) {
        if rest[start..].starts_with(word) {
            return true;
        }
        rest = &rest[start + 1..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_of_the_package_is_packed() {
        let sources = fs::read_dir(crate::project_folder().join("crates/cli/src/bin")).unwrap();
        let mut names: Vec<_> = sources
            .map(|entry| entry.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, PROGRAMS);
    }

    #[test]
    fn a_path_within_a_program_is_found() {
        assert!(holds(b"x/home//home/me/x", "/home/me".as_ref()));
        assert!(!holds(b"/home/m", "/home/me".as_ref()));
    }
}
