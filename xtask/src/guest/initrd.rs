//! What is added to the guest's initrd without running its generator again: further archives behind it.
//!
//! The kernel unpacks cpio archives (format newc) one after the other into the same tree; a file of a later one
//! wins. A directory of an archive would replace a symbolic link of an earlier one, so paths name the link's
//! target: `usr/lib`, not `lib`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::process;

/// This file, which is part of what a cached guest depends on.
pub const SOURCE: &str = include_str!("initrd.rs");

/// A file or a symbolic link, owned by root.
pub struct Entry {
    path: &'static str,
    mode: u32,
    content: Vec<u8>,
}

impl Entry {
    pub fn text(path: &'static str, text: &str) -> Self {
        Self {
            path,
            mode: 0o100_644,
            content: text.into(),
        }
    }

    /// A copy of a program.
    pub fn program(path: &'static str, file: &Path) -> Result<Self> {
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self {
            path,
            mode: 0o100_755,
            content,
        })
    }

    pub fn link(path: &'static str, target: &str) -> Self {
        Self {
            path,
            mode: 0o120_777,
            content: target.into(),
        }
    }
}

/// Writes `entries` as `FOLDER/NAME.cpio.gz`.
pub fn write(entries: &[Entry], folder: &Path, name: &str) -> Result<PathBuf> {
    let file = folder.join(name).with_extension("cpio");
    fs::write(&file, archive(entries))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let mut gzip = process::program("gzip");
    process::quiet_output(gzip.args(["--force", "--no-name", "-6"]).arg(&file))?;
    Ok(file.with_extension("cpio.gz"))
}

/// The archive's bytes, with the folders that lead to the entries.
fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let folders: BTreeSet<_> = entries
        .iter()
        .flat_map(|entry| folders_of(entry.path))
        .collect();
    for folder in folders {
        append(&mut bytes, folder, 0o40_755, &[]);
    }
    for entry in entries {
        append(&mut bytes, entry.path, entry.mode, &entry.content);
    }
    append(&mut bytes, "TRAILER!!!", 0, &[]);
    bytes
}

fn folders_of(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

/// A header of hexadecimal numbers, the name with a zero byte, the content; the last two padded to whole words.
fn append(bytes: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    const MAGIC: &str = "070701";
    let number = |value: usize| format!("{value:08x}");
    let fields = [
        0, // inode: none is linked twice
        mode as usize,
        0, // user
        0, // group
        1, // links
        0, // time
        content.len(),
        0, // device, twice two numbers
        0,
        0,
        0,
        name.len() + 1,
        0, // no checksum in this format
    ];
    bytes.extend_from_slice(MAGIC.as_bytes());
    for field in fields {
        bytes.extend_from_slice(number(field).as_bytes());
    }
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_its_folders_first_and_whole_words() {
        let bytes = archive(&[Entry::text("a/b/c", "text"), Entry::link("a/d", "b/c")]);
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        let names: Vec<_> = text
            .split("070701")
            .skip(1)
            .map(|entry| (&entry[8..16], entry[104..].split('\0').next().unwrap()))
            .collect();
        let expected = [
            ("000041ed", "a"),
            ("000041ed", "a/b"),
            ("000081a4", "a/b/c"),
            ("0000a1ff", "a/d"),
            ("00000000", "TRAILER!!!"),
        ];
        assert_eq!(names, expected);
    }
}
