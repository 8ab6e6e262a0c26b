//! Paths of an image as texts: their parts, and how messages show them.

use crate::{Error, Result};

pub(super) const LONGEST_NAME: usize = 255;

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
pub(super) fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
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
