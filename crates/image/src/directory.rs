//! When a name is durable: the directory that it stands in has been flushed.

use std::fs::File;
use std::io;

use rustix::io::Errno;

/// What file systems answer that know no flushing of directories. `EBADF` is not among them: on Linux it says that the
/// descriptor is not open.
const KNOW_NO_FLUSHING: [Errno; 3] = [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS];

/// Makes the names in a directory durable, as far as its file system does that. Where it knows no flushing of directories
/// there is nothing to wait for, and nothing failed.
pub fn flush_directory(directory: &File) -> io::Result<()> {
    match directory.sync_all() {
        Err(error) if is_unknown(&error) => Ok(()),
        flushed => flushed,
    }
}

fn is_unknown(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    KNOW_NO_FLUSHING
        .iter()
        .any(|known| number == Some(known.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_the_call_is_told_from_a_disk_that_fails() {
        let is_unknown = |errno: Errno| is_unknown(&errno.into());
        assert!(is_unknown(Errno::INVAL) && is_unknown(Errno::OPNOTSUPP));
        assert!(is_unknown(Errno::NOTSUP) && is_unknown(Errno::NOSYS));
        for failed in [
            Errno::IO,
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::ROFS,
            Errno::BADF,
            Errno::PERM,
            Errno::ACCESS,
        ] {
            assert!(!is_unknown(failed), "{failed}");
        }
    }
}
