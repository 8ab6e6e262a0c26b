//! A folder that belongs to an ordinary user without capabilities, in which the programs run as that user.
//!
//! Where the tests run as root, `setpriv` drops everything first; elsewhere the tests' own user is that
//! user.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use super::image::Image;
use super::{command, files, scratch};

/// The time of every change that the programs make in these tests: 2023-11-14.
pub const NOW: u64 = 1_700_000_000;

/// The user `nobody`.
const ORDINARY: u32 = 65534;

/// True where the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder of an ordinary user's own, removed at the end.
#[derive(Debug)]
pub struct Workshop {
    folder: tempfile::TempDir,
}

/// How a file was before something happened to it.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    digest: [u8; 32],
    modified: SystemTime,
    mode: u32,
    inode: u64,
    links: u64,
}

impl Workshop {
    /// An empty folder.
    pub fn new() -> Self {
        let folder = scratch();
        give_away(folder.path());
        Self { folder }
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A copy of a file, in the folder and owned by its user.
    pub fn put(&self, file: &Path, name: &str) -> PathBuf {
        let put = self.path(name);
        files::copy_file(file, &put);
        give_away(&put);
        put
    }

    /// A copy of a raw image as `source.img`.
    pub fn source(&self, image: &Image) -> PathBuf {
        self.put(&image.raw, "source.img")
    }

    /// A new file with this content.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let file = self.path(name);
        fs::write(&file, content).unwrap();
        give_away(&file);
        file
    }

    /// A command that runs as the ordinary user, in the folder.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = if is_root() {
            let mut setpriv = command("setpriv");
            setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            setpriv.args(["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]);
            setpriv.arg(program);
            setpriv
        } else {
            let mut plain = Command::new(program);
            plain.env("LC_ALL", "C").env("TZ", "UTC");
            plain
        };
        command
            .current_dir(self.folder())
            .env("SOURCE_DATE_EPOCH", NOW.to_string());
        command.env_remove("RUST_BACKTRACE").env_remove("RUST_LOG");
        command
    }

    /// The built program, where the ordinary user can start it.
    pub fn program(&self) -> PathBuf {
        let built = Path::new(env!("CARGO_BIN_EXE_encrypt-cloud-image"));
        if !is_root() {
            return built.to_owned();
        }
        // The build folder may lie where only root may look.
        let reachable = built
            .ancestors()
            .skip(1)
            .all(|folder| fs::metadata(folder).is_ok_and(|metadata| metadata.mode() & 0o001 != 0));
        if reachable {
            return built.to_owned();
        }
        let copy = self.path(".program");
        if !copy.exists() && fs::hard_link(built, &copy).is_err() {
            fs::copy(built, &copy).unwrap();
        }
        copy
    }

    /// `encrypt-cloud-image encrypt`, as the ordinary user.
    pub fn encrypt(&self) -> Command {
        let mut command = self.command(self.program());
        command.arg("encrypt");
        command
    }

    /// The names in the folder, in order, without the program's.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name != ".program")
            .collect();
        names.sort();
        names
    }
}

/// Makes a file the ordinary user's.
pub fn give_away(file: &Path) {
    if is_root() {
        chown(file, Some(ORDINARY), Some(ORDINARY)).unwrap();
    }
}

/// The state of a file, for comparing it with a later one.
pub fn state(file: &Path) -> State {
    let metadata = fs::metadata(file).unwrap();
    State {
        digest: files::digest(file),
        modified: metadata.modified().unwrap(),
        mode: metadata.mode(),
        inode: metadata.ino(),
        links: metadata.nlink(),
    }
}

/// What a program wrote to its standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a program wrote to its standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command that must fail with exit code 1, and returns its messages: the lines of standard error
/// from `error:` on. Nothing may be on standard output.
#[track_caller]
pub fn refused(command: &mut Command) -> String {
    let output = super::exits(command, 1);
    assert_eq!(stdout(&output), "");
    error_in(&stderr(&output)).to_owned()
}

/// What stands on standard error from `error:` on.
#[track_caller]
pub fn error_in(text: &str) -> &str {
    let start = text.find("error: ");
    &text[start.unwrap_or_else(|| panic!("no error line in {text:?}"))..]
}
