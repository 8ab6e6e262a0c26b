//! Every file of an ext4 filesystem with all that belongs to it, for comparing two of them.
//!
//! The crate `ext4-view` walks the tree and reads contents; `debugfs` tells what an inode holds: mode, owner,
//! times, links, device numbers, extended attributes and the blocks where the content lies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ext4_view::{Ext4, Ext4Read};
use sha2::{Digest as _, Sha256};

use super::workshop::NOW;
use super::{command, exits, run, scratch};

/// A filesystem's tree: everything in it by its path.
#[derive(Debug, Clone)]
pub struct Tree {
    /// `/` is the root directory.
    pub entries: BTreeMap<String, Entry>,
    /// What `dumpe2fs -h` prints, line by line.
    pub superblock: Vec<String>,
    /// Block size in bytes.
    pub block_bytes: u64,
    /// Length of the filesystem in blocks.
    pub blocks: u64,
    /// Ranges of free blocks, as `dumpe2fs` prints them.
    pub free_blocks: Vec<Range<u64>>,
}

/// What one path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Inode number.
    pub inode: u32,
    /// What `debugfs` prints for the inode, without its number, checksum and the places of its content.
    pub facts: Vec<String>,
    /// Where its content lies.
    pub places: Vec<String>,
    /// The content: a digest for a regular file, the target of a symbolic link, the names in a directory.
    pub content: Content,
}

/// A file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Digest and, for a small file, the bytes.
    File([u8; 32], Vec<u8>),
    /// The target.
    Link(Vec<u8>),
    /// Names in order.
    Directory(BTreeSet<String>),
    /// A device or a named pipe.
    Special,
}

/// A filesystem in a file.
struct Storage(File);

impl Ext4Read for Storage {
    fn read(
        &mut self,
        start_byte: u64,
        bytes: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.read_exact_at(bytes, start_byte)?)
    }
}

/// Reads a filesystem that lies at the start of a file.
#[track_caller]
pub fn read(file: &Path) -> Tree {
    let ext4 = Ext4::load(Box::new(Storage(super::files::open(file).0))).unwrap();
    let mut contents = BTreeMap::new();
    walk(&ext4, "/", &mut contents);
    let mut script = String::new();
    for path in contents.keys() {
        script.push_str(&format!("stat \"{path}\"\n"));
    }
    let folder = scratch();
    let commands = folder.path().join("commands");
    std::fs::write(&commands, script).unwrap();
    let text = run(command("debugfs").arg("-f").arg(&commands).arg(file));
    let mut stats = BTreeMap::new();
    for block in text.split("debugfs: stat ").skip(1) {
        let (path, facts) = block.split_once('\n').unwrap();
        stats.insert(path.trim_matches('"').to_owned(), facts.to_owned());
    }
    let entries = contents
        .into_iter()
        .map(|(path, content)| {
            let facts = stats
                .remove(&path)
                .unwrap_or_else(|| panic!("debugfs says nothing of {path}"));
            let entry = entry(&facts, content);
            (path, entry)
        })
        .collect();
    let dump = run(command("dumpe2fs").arg(file));
    let header = dump.split("\n\n\nGroup 0:").next().unwrap();
    let field = |name: &str| {
        let line = header.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().last()?.parse().ok())
            .unwrap()
    };
    Tree {
        entries,
        superblock: header.lines().map(str::to_owned).collect(),
        block_bytes: field("Block size:"),
        blocks: field("Block count:"),
        free_blocks: dump
            .lines()
            .filter_map(|line| line.strip_prefix("  Free blocks: "))
            .flat_map(ranges)
            .collect(),
    }
}

fn ranges(text: &str) -> Vec<Range<u64>> {
    let words = text.split(", ").filter(|word| !word.is_empty());
    words
        .map(|word| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            first.parse().unwrap()..last.parse::<u64>().unwrap() + 1
        })
        .collect()
}

fn entry(text: &str, content: Content) -> Entry {
    let mut facts = Vec::new();
    let mut places = Vec::new();
    let mut inode = 0;
    let mut is_place = false;
    for line in text.lines().filter(|line| !line.is_empty()) {
        is_place |= line == "EXTENTS:" || line == "BLOCKS:";
        if let Some((number, rest)) = line
            .strip_prefix("Inode: ")
            .and_then(|line| line.split_once(' '))
        {
            inode = number.parse().unwrap();
            facts.push(rest.trim().to_owned());
        } else if is_place || line.starts_with("File ACL:") {
            places.push(line.to_owned());
        } else if !line.starts_with("Inode checksum:") {
            facts.push(line.to_owned());
        }
    }
    assert_ne!(inode, 0, "{text}");
    Entry {
        inode,
        facts,
        places,
        content,
    }
}

fn walk(ext4: &Ext4, path: &str, contents: &mut BTreeMap<String, Content>) {
    let kind = ext4.symlink_metadata(path).unwrap();
    let content = if kind.is_dir() {
        let names: BTreeSet<_> = ext4
            .read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().as_str().unwrap().to_owned())
            .filter(|name| name != "." && name != "..")
            .collect();
        for name in &names {
            walk(
                ext4,
                &format!("{}/{name}", path.trim_end_matches('/')),
                contents,
            );
        }
        Content::Directory(names)
    } else if kind.is_symlink() {
        Content::Link(ext4.read_link(path).unwrap().as_ref().to_vec())
    } else if kind.file_type().is_regular_file() {
        let mut bytes = ext4.read(path).unwrap();
        let digest = Sha256::digest(&bytes).into();
        bytes.truncate(if bytes.len() > 4096 { 0 } else { bytes.len() });
        Content::File(digest, bytes)
    } else {
        Content::Special
    };
    contents.insert(path.to_owned(), content);
}

/// What a path is expected to be, where it differs from the source.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new regular file, of root's, with this mode; the bytes are for the caller to look at.
    File(u32),
    /// A new symbolic link.
    Link(&'static str),
    /// A new directory, mode 0755.
    Directory,
    /// A directory of the source in which names came or went.
    Touched,
}

/// Checks that a filesystem has no error.
#[track_caller]
pub fn check(file: &Path) {
    exits(command("e2fsck").arg("-fn").arg(file), 0);
}

/// All differences between a source and a result but for the expected changes; empty where there are none.
///
/// `relocated` allows that `resize2fs` gave files other blocks and inode numbers.
pub fn differences(
    source: &Tree,
    result: &Tree,
    changes: &[(&str, Change)],
    relocated: bool,
) -> Vec<String> {
    let mut found = Vec::new();
    let wanted: BTreeMap<_, _> = changes.iter().cloned().collect();
    let paths: BTreeSet<_> = source.entries.keys().chain(result.entries.keys()).collect();
    for path in paths {
        let was = source.entries.get(path);
        let Some(is) = result.entries.get(path) else {
            found.push(format!("{path} is lost"));
            continue;
        };
        let differs = match (wanted.get(path.as_str()), was) {
            (None, None) => Some("is new".to_owned()),
            (None, Some(was)) => unchanged(was, is, relocated),
            (Some(Change::Touched), Some(was)) => touched(was, is),
            (Some(change), _) => new(change, is),
        };
        found.extend(differs.map(|how| format!("{path} {how}")));
    }
    for (path, _) in changes {
        if !result.entries.contains_key(*path) {
            found.push(format!("{path} was not made"));
        }
    }
    // Hard links: the same paths share an inode.
    let groups = |tree: &Tree| {
        let mut groups: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
        for (path, entry) in &tree.entries {
            groups.entry(entry.inode).or_default().insert(path.clone());
        }
        groups
            .into_values()
            .filter(|group| group.len() > 1)
            .collect::<BTreeSet<_>>()
    };
    if groups(source) != groups(result) {
        found.push(format!(
            "hard links: {:?} became {:?}",
            groups(source),
            groups(result)
        ));
    }
    found.extend(superblock_differences(source, result, relocated));
    found
}

fn unchanged(was: &Entry, is: &Entry, relocated: bool) -> Option<String> {
    if was.content != is.content {
        return Some("has other content".to_owned());
    }
    if let Some(fact) = first_other(&was.facts, &is.facts) {
        return Some(fact);
    }
    if !relocated && (was.inode, &was.places) != (is.inode, &is.places) {
        return Some(format!("moved: {:?} became {:?}", was.places, is.places));
    }
    None
}

fn first_other(was: &[String], is: &[String]) -> Option<String> {
    let length = was.len().max(is.len());
    (0..length)
        .find(|index| was.get(*index) != is.get(*index))
        .map(|index| {
            let line = |lines: &[String]| lines.get(index).cloned().unwrap_or_default();
            format!("changed: {:?} became {:?}", line(was), line(is))
        })
}

/// A directory may get other times, a new block, and links of new directories; nothing else.
fn touched(was: &Entry, is: &Entry) -> Option<String> {
    let kept = |entry: &Entry| {
        let words = |line: &str| {
            let line = line.trim();
            if line.starts_with("ctime") || line.starts_with("mtime") {
                return None;
            }
            // Size at the end of the owner's line, the counts of links and blocks.
            let line = line.split("   Size:").next().unwrap_or(line);
            if line.starts_with("Links:") {
                None
            } else {
                Some(line.to_owned())
            }
        };
        entry
            .facts
            .iter()
            .filter_map(|line| words(line))
            .collect::<Vec<_>>()
    };
    if let Some(fact) = first_other(&kept(was), &kept(is)) {
        return Some(fact);
    }
    time_other_than_now(is, &["ctime", "mtime"])
}

fn new(change: &Change, is: &Entry) -> Option<String> {
    let (kind, mode) = match change {
        Change::File(mode) => ("regular", *mode),
        Change::Link(_) => ("symlink", 0o777),
        Change::Directory | Change::Touched => ("directory", 0o755),
    };
    let expected = format!("Type: {kind}    Mode:  {mode:04o}   Flags: ");
    if !is.facts[0].starts_with(&expected) {
        return Some(format!("is {:?}, expected {expected:?}", is.facts[0]));
    }
    if !is.facts[2].starts_with("User:     0   Group:     0   Project:     0   Size: ") {
        return Some(format!("is not root's: {:?}", is.facts[2]));
    }
    if let Change::Link(target) = change
        && is.content != Content::Link(target.as_bytes().to_vec())
    {
        return Some(format!("leads to {:?}", is.content));
    }
    if !matches!(change, Change::Directory)
        && !is.facts.iter().any(|line| line.starts_with("Links: 1 "))
    {
        return Some(format!("has other links: {:?}", is.facts));
    }
    if is
        .facts
        .iter()
        .any(|line| line.starts_with("Extended attributes"))
    {
        return Some(format!("has extended attributes: {:?}", is.facts));
    }
    time_other_than_now(is, &["ctime", "atime", "mtime", "crtime"])
}

fn time_other_than_now(entry: &Entry, names: &[&str]) -> Option<String> {
    let expected = format!(": 0x{NOW:08x}:00000000 ");
    names.iter().find_map(|name| {
        let line = entry
            .facts
            .iter()
            .find(|line| line.trim().starts_with(name))?;
        (!line.contains(&expected)).then(|| format!("has another time: {line:?}"))
    })
}

/// What may differ between two superblocks: counts and the time of the write; with `resize2fs` sizes, too.
fn superblock_differences(source: &Tree, result: &Tree, relocated: bool) -> Vec<String> {
    let counts = [
        "Free blocks:",
        "Free inodes:",
        "Last write time:",
        "Lifetime writes:",
        "Checksum:",
    ];
    let resized = [
        "Inode count:",
        "Block count:",
        "Reserved block count:",
        "Overhead clusters:",
        "Last checked:",
        "Filesystem features:",
        "Reserved GDT blocks:",
        "Filesystem state:",
    ];
    let kept = |tree: &Tree| {
        let lines = tree.superblock.iter().filter(|line| {
            let is = |names: &[&str]| names.iter().any(|name| line.starts_with(name));
            !(is(&counts) || relocated && is(&resized))
        });
        lines.cloned().collect::<Vec<_>>()
    };
    first_other(&kept(source), &kept(result))
        .map(|line| format!("superblock {line}"))
        .into_iter()
        .collect()
}

/// The first byte of a decrypted segment that is not zero although nothing uses it: in a free block, or
/// behind the filesystem.
pub fn first_unused_not_zero(tree: &Tree, plain: &Path, filesystem_bytes: u64) -> Option<u64> {
    let (file, len_bytes) = super::files::open(plain);
    let free = tree
        .free_blocks
        .iter()
        .map(|range| range.start * tree.block_bytes..range.end * tree.block_bytes);
    free.chain(std::iter::once(filesystem_bytes..len_bytes))
        .find_map(|range| super::files::first_not_zero(&file, range))
}
