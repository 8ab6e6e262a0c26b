//! Paths of an image, resolved within it.
//!
//! The library has a resolver of its own, which trusts lengths in the image; and a mount would follow an absolute
//! link into the file system of the machine that it runs on. This one keeps the directories on the way on a stack,
//! so `..` is the directory that it came from, whatever the image's own `..` entries say.

use super::Filesystem;
use super::binding::Failure;
use super::handle::Kind;
use super::path::{Follow, LONGEST_NAME, parts, shown};
use crate::{Error, Result};

/// The kernel's limit on symbolic links in one path.
const MOST_LINKS: usize = 40;
const ROOT_INODE: u32 = 2;

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
