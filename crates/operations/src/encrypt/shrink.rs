//! `--make-room shrink`: the one case in which a process is started, and plain data written.
//!
//! The edited filesystem is copied into an unnamed file in the output's directory, `resize2fs` shrinks it
//! there, and the data pass then reads that copy, which vanishes when it is closed. The program gets the
//! file, which has no name, as its standard input, and opens that by name: what is open in this process no other may open
//! while it forbids dumps.

use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Error;
use crate::common::data_pass::{self, FreeSpace, Part, Pass};
use crate::common::observer::{Observer, Phase, StopFlag};
use base::storage::{self, FileStorage, Overlay, ReadAt};
use filesystem::ext4::{BlockBitmap, Filesystem};
use image::Output;

/// The program that shrinks a filesystem.
const PROGRAM: &str = "resize2fs";

/// The standard input of the program itself.
const STDIN: &str = "/proc/self/fd/0";

/// Where the program may lie besides the folders of `PATH`; an ordinary user's `PATH` often lacks them.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// A filesystem that was shrunk, in a file without a name.
pub struct Shrunk {
    /// The filesystem.
    pub filesystem: FileStorage,
    /// Which of its bytes are in use.
    pub used: BlockBitmap,
    /// Removed with this, where it has a name.
    _temporary: Output,
}

/// The path of `resize2fs`.
pub fn find_program() -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(PROGRAM))
        .find(|program| program.is_file())
        .ok_or(Error::NoResize2fs)
}

/// Shrinks the filesystem in `root` to so many blocks, in `copy`, a file of its own and of its length.
pub fn shrink(
    root: impl ReadAt,
    used: &BlockBitmap,
    blocks: u64,
    copy: Output,
    threads: usize,
    observer: &dyn Observer,
    stop: &StopFlag,
) -> Result<Shrunk, Error> {
    let program = find_program()?;
    let part = Part {
        source: Box::new(root),
        used: Some(used),
        range: 0..copy.storage().len_bytes(),
        output_bytes: 0,
        encryption: None,
        free_space: FreeSpace::Encrypt,
    };
    observer.begin(Phase::CopyFilesystem, copy.storage().len_bytes());
    let pass = Pass::new(std::slice::from_ref(&part), copy.storage());
    data_pass::run_one(pass, threads, observer, stop)?;
    observer.begin(Phase::ShrinkFilesystem, 0);
    let file = copy.storage().file();
    let minimum_blocks = minimum_blocks(&run(&program, file, ["-P", STDIN])?)?;
    if blocks < minimum_blocks {
        return Err(Error::CannotShrink {
            wanted_blocks: blocks,
            minimum_blocks,
        });
    }
    // Without -f the program refuses every filesystem that was mounted since its last check. What such a
    // check would find is covered by the checks that came before.
    run(&program, file, ["-f", STDIN, &blocks.to_string()])?;
    if stop.is_raised() {
        return Err(Error::Interrupted);
    }
    // resize2fs cut the file to the filesystem's new length.
    let file = file
        .try_clone()
        .map_err(|error| Error::Source(storage::Error::Extent(error)))?;
    let filesystem = FileStorage::new(file).map_err(Error::Source)?;
    let used = used_blocks(&filesystem)?;
    Ok(Shrunk {
        filesystem,
        used,
        _temporary: copy,
    })
}

/// The bitmap of the shrunk filesystem, whose blocks are not where they were.
fn used_blocks(filesystem: &FileStorage) -> Result<BlockBitmap, Error> {
    let problem = |problem| Error::RootFilesystem {
        problem,
        partition: 0..filesystem.len_bytes(),
    };
    let overlay = Overlay::new(filesystem);
    let opened = Filesystem::open(&overlay, 0).map_err(problem)?;
    opened.used_blocks().map_err(problem)
}

/// Runs the program, with a file as its standard input, and returns what it said on its standard output.
fn run<const N: usize>(
    program: &PathBuf,
    file: &File,
    arguments: [&str; N],
) -> Result<String, Error> {
    let not_started = |error: std::io::Error| Error::Resize2fs {
        status: None,
        output: error.to_string(),
    };
    let mut command = Command::new(program);
    command
        .args(arguments.map(OsStr::new))
        .env("LC_ALL", "C")
        .stdin(Stdio::from(file.try_clone().map_err(not_started)?));
    let output = command.output().map_err(not_started)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Resize2fs {
        status: Some(output.status),
        output: one_line(&output.stderr),
    })
}

fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The number behind the colon of "Estimated minimum size of the filesystem: N".
fn minimum_blocks(output: &str) -> Result<u64, Error> {
    output
        .lines()
        .find_map(|line| line.rsplit_once(": ")?.1.trim().parse().ok())
        .ok_or_else(|| Error::Resize2fs {
            status: None,
            output: one_line(output.as_bytes()),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_is_the_number_behind_the_colon() {
        let output = "Estimated minimum size of the filesystem: 5678\n";
        assert_eq!(minimum_blocks(output).ok(), Some(5678));
        assert!(matches!(
            minimum_blocks("nothing\nof use"),
            Err(Error::Resize2fs { status: None, output }) if output == "nothing of use"
        ));
    }
}
