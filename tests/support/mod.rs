//! What the tests of all commands share: real programs, scratch directories, images.
//!
//! Each folder of tests takes this in by `#[path = "../support/mod.rs"] mod support;`.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::format_push_string,
    reason = "scripts for other programs, line by line"
)]

pub mod boot_files;
pub mod boot_programs;
pub mod cloud_init;
pub mod container;
pub mod crash;
pub mod disk;
pub mod ext4;
pub mod files;
pub mod former_life;
pub mod image;
pub mod intruder;
pub mod judge;
pub mod kill;
pub mod root;
pub mod systemd;
pub mod tpm;
pub mod trace;
pub mod uki;
pub mod workshop;
pub mod xts;

use std::env;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base::storage::ReadAt;
use luks2::{self, Header};
use probe::OnlyLuks2;

/// True where the long tests were asked for, too.
pub fn all() -> bool {
    env::var_os("ECI_TEST_ALL").is_some_and(|value| value == "1")
}

/// The LUKS2 header of the partition that `partition` is, as every use case reads it.
pub fn header_of(partition: &dyn ReadAt) -> Result<Header, luks2::Error> {
    match OnlyLuks2::check(partition) {
        Ok(Some(only)) => Header::read(only),
        Ok(None) => Err(luks2::Error::Magic {
            position: luks2::Position::Primary,
            offset_bytes: 0,
        }),
        Err(error) => Err(error.into()),
    }
}

/// The path of a program that is not ours. Ordinary users of Debian have no `/usr/sbin` on their `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// True where all of these programs are there. Otherwise the test is over: in CI it fails, elsewhere it
/// says SKIPPED and the caller returns.
#[must_use]
pub fn programs(names: &[&str]) -> bool {
    let missing: Vec<_> = names
        .iter()
        .filter(|name| find_program(name).is_none())
        .collect();
    if missing.is_empty() {
        return true;
    }
    assert!(
        env::var_os("CI").is_none(),
        "CI lacks the programs {missing:?}"
    );
    eprintln!(
        "SKIPPED: the programs {missing:?} are not installed (cargo xtask test installs them)"
    );
    false
}

/// A command for a program that [`programs`] found, in the C locale.
pub fn command(name: &str) -> Command {
    let program = find_program(name).map_or_else(|| OsString::from(name), PathBuf::into_os_string);
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").env("TZ", "UTC");
    command
}

/// Runs a command that must exit with `code`, and returns all that it wrote.
#[track_caller]
pub fn exits(command: &mut Command, code: i32) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Runs a command that gets `input` on its standard input, to its end.
#[track_caller]
pub fn fed(command: &mut Command, input: impl AsRef<[u8]>) -> Output {
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(input.as_ref())
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    drop(pipe);
    child
        .wait_with_output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The same for a command that must succeed.
#[track_caller]
pub fn succeeds_fed(command: &mut Command, input: impl AsRef<[u8]>) -> Output {
    let output = fed(command, input);
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{talk}");
    output
}

/// Runs a command that must succeed, and returns what it wrote to its standard output.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    String::from_utf8_lossy(&exits(command, 0).stdout).into_owned()
}

/// A directory of this test's own, removed at its end.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("eci-")
        .tempdir()
        .expect("a scratch directory")
}

/// A file of golden data below `tests/data`.
pub fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(path)
}

/// Test data that are not the repository's to hand on: `path` in the folder `shared` beside the checkout. Where
/// that is absent the test says SKIPPED, in CI too, and the caller returns.
#[must_use]
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let file = root.expect("a parent folder").join("shared").join(path);
    if file.exists() {
        return Some(file);
    }
    eprintln!("SKIPPED: ../shared/{path} is not beside this checkout");
    None
}
