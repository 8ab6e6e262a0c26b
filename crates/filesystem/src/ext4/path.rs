//! Paths of an image, resolved within it.
//!
//! The library has a resolver of its own, which trusts lengths in the image; and a mount would follow an absolute
//! link into the file system of the machine that it runs on. This one keeps the directories on the way on a stack,
//! so `..` is the directory that it came from, whatever the image's own `..` entries say.

use super::Filesystem;
use super::binding::Failure;
use super::handle::Kind;
use crate::{Error, Result};

/// The kernel's limit on symbolic links in one path.
const MOST_LINKS: usize = 40;
const ROOT_INODE: u32 = 2;
const LONGEST_NAME: usize = 255;

/// Whether a symbolic link that is the last part of a path is followed; others always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    Yes,
    No,
}

/// A path as messages show it: from the root of the image on.
pub(super) fn shown(path: &[u8]) -> String {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    format!("/{}", path.escape_ascii())
}

/// The parts of a path, empty ones and `.` left out.
fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
}

/// The directory part and the last part of the path of something to be made.
pub(super) fn split_last(path: &[u8]) -> Result<(&[u8], &[u8])> {
    let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => path.split_at(slash + 1),
        None => (&b""[..], path),
    };
    let fits = (1..=LONGEST_NAME).contains(&name.len()) && !name.contains(&0);
    if fits && name != b"." && name != b".." {
        Ok((directory, name))
    } else {
        Err(Error::InvalidName { path: shown(path) })
    }
}

impl Filesystem<'_> {
    /// The inode that `path` leads to.
    pub(super) fn find(&self, path: &[u8], follow: Follow) -> Result<u32> {
        let not_found = || Error::NotFound { path: shown(path) };
        // What is still to be walked, the next part last.
        let mut ahead: Vec<Vec<u8>> = parts(path).rev().map(<[u8]>::to_vec).collect();
        let must_be_directory = path.ends_with(b"/") || path.ends_with(b"/.");
        let mut behind: Vec<u32> = Vec::new();
        let mut here = ROOT_INODE;
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            let stat = self.stat(here, path)?;
            if Kind::of_mode(stat.mode) != Kind::Directory {
                return Err(Error::NotADirectory { path: shown(path) });
            }
            if part == b".." {
                here = behind.pop().unwrap_or(ROOT_INODE);
                continue;
            }
            self.refuse_encrypted(here, path)?;
            if part.len() > LONGEST_NAME || part.contains(&0) {
                return Err(not_found());
            }
            let found = self
                .handle
                .lookup(here, &part)
                .map_err(|failure| match failure {
                    Failure::NotFound => not_found(),
                    failure => failure.while_doing(format!("looking for {}", shown(path))),
                })?;
            let stat = self.stat(found, path)?;
            let last = ahead.is_empty() && !must_be_directory;
            if Kind::of_mode(stat.mode) != Kind::Symlink || (last && follow == Follow::No) {
                behind.push(here);
                here = found;
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(Error::TooManyLinks { path: shown(path) });
            }
            let target = self.target_of(found, &stat, path)?;
            if target.is_empty() {
                return Err(not_found());
            }
            if target.starts_with(b"/") {
                behind.clear();
                here = ROOT_INODE;
            }
            ahead.extend(parts(&target).rev().map(<[u8]>::to_vec));
        }
        if must_be_directory && Kind::of_mode(self.stat(here, path)?.mode) != Kind::Directory {
            return Err(Error::NotADirectory { path: shown(path) });
        }
        Ok(here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_is_a_name_or_refused() {
        assert_eq!(
            split_last(b"/etc/motd").unwrap(),
            (&b"/etc/"[..], &b"motd"[..])
        );
        assert_eq!(split_last(b"motd").unwrap(), (&b""[..], &b"motd"[..]));
        for bad in ["", "/", "/etc/", "/etc/.", "..", "/a\0b"] {
            let Err(Error::InvalidName { path }) = split_last(bad.as_bytes()) else {
                panic!("{bad:?} was taken");
            };
            assert_eq!(path, shown(bad.as_bytes()));
        }
        assert!(split_last(&[b'a'; 255]).is_ok());
        assert!(split_last(&[b'a'; 256]).is_err());
    }

    #[test]
    fn a_path_is_shown_from_the_root_with_odd_bytes_escaped() {
        assert_eq!(shown(b"etc/motd"), "/etc/motd");
        assert_eq!(shown(b"/a\x1b\xff"), "/a\\x1b\\xff");
    }
}
