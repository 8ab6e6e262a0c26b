//! Disks in files, judged by qemu-img and by the programs that made them; outputs, judged by what is left.

#![allow(missing_docs, clippy::unwrap_used, clippy::missing_panics_doc)]

#[path = "../support/mod.rs"]
mod support;

mod a_killed_process_leaves_what_is_documented;
mod backing_files;
mod dynamic_vhd;
mod fixed_vhd;
mod mapped_formats;
mod other_formats_are_named;
mod outputs_appear_whole_or_not_at_all;
mod packed;
mod sources_are_regular_files;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use base::storage::FileStorage;
use gpt::disk_end_bytes;
use image::{Detected, Error, detect};
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

pub const MIB: usize = 1 << 20;

/// Tells the form of a file as the use cases do.
pub fn detected(path: &Path) -> Result<Detected, Error> {
    let file = FileStorage::new(File::open(path).unwrap()).unwrap();
    detect(&file, disk_end_bytes(&file).unwrap())
}

/// A raw disk of 4 MiB with a GPT by sfdisk and some bytes in its partition.
pub fn raw_disk(folder: &Path) -> PathBuf {
    let path = folder.join("disk.img");
    let script = folder.join("script");
    fs::write(&path, vec![0; 4 * MIB]).unwrap();
    fs::write(&script, "label: gpt\nfirst-lba: 34\nstart=2048\n").unwrap();
    let mut sfdisk = support::command("sfdisk");
    support::run(sfdisk.arg(&path).stdin(File::open(&script).unwrap()));
    fs::remove_file(script).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[2 * MIB..2 * MIB + 9].copy_from_slice(b"some text");
    fs::write(&path, bytes).unwrap();
    path
}

/// A directory of the test's own on a file system that knows unnamed files; not every `/tmp` does.
pub fn scratch_with_unnamed_files() -> TempDir {
    let folder = support::scratch();
    let flags = OFlags::TMPFILE | OFlags::RDWR;
    match rustix::fs::open(folder.path(), flags, Mode::RUSR | Mode::WUSR) {
        Ok(_) => folder,
        Err(_) => tempfile::tempdir_in("/dev/shm").unwrap(),
    }
}

/// The message of an error and of all its causes.
pub fn message(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").unwrap();
        cause = error.source();
    }
    text
}

/// The names in a directory, hidden ones too, in order.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}
