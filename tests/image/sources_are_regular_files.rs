//! Which files are opened, and which are refused with what words.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use base::storage::ReadAt;
use image::{Error, FileIdentity, Lock, Source};

use crate::{message, support};

#[test]
fn a_regular_file_is_opened_through_links_and_known_by_all_its_names() {
    let folder = support::scratch();
    let name = |name: &str| folder.path().join(name);
    fs::write(name("file"), b"content").unwrap();
    fs::set_permissions(name("file"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("file", name("link")).unwrap();
    fs::hard_link(name("file"), name("hard")).unwrap();
    fs::write(name("other"), b"content").unwrap();

    let source = Source::open(&name("link"), Lock::Shared).unwrap();
    assert_eq!(source.storage().read_vec(0, 7).unwrap(), b"content");
    assert_eq!(source.mode(), 0o640);
    let metadata = fs::metadata(name("file")).unwrap();
    assert_eq!(source.owner(), (metadata.uid(), metadata.gid()));
    assert_eq!(
        FileIdentity::at(&name("hard")).unwrap(),
        Some(source.identity())
    );
    for same in ["file", "link", "hard"] {
        let error = source.refuse_as_output(&name(same)).unwrap_err();
        assert_eq!(message(&error), "the output is the source itself");
    }
    source.refuse_as_output(&name("other")).unwrap();
    source.refuse_as_output(&name("missing")).unwrap();
}

#[test]
fn other_kinds_of_files_are_named() {
    let folder = support::scratch();
    let fifo = folder.path().join("fifo");
    support::run(support::command("mkfifo").arg(&fifo));
    let socket = folder.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    for (path, kind) in [
        (folder.path(), "a directory"),
        (&fifo, "a named pipe"),
        (&socket, "a socket"),
        (Path::new("/dev/null"), "a character device"),
    ] {
        assert_eq!(
            message(&Source::open(path, Lock::Shared).unwrap_err()),
            format!("it is {kind}; only image files and block devices are read")
        );
    }
}

#[test]
fn what_is_wrong_with_a_device_is_told_with_the_way_out() {
    let path = Path::new("/dev/sdx");
    let errors = [
        (
            Error::InUse,
            "the device is in use: it, or a partition of it, is mounted or part of another volume",
            Some("unmount it first, and close what else uses it"),
        ),
        (
            Error::DeviceNotBlank,
            "the device is not blank",
            Some("--overwrite writes over what stands there, which is lost with the first write"),
        ),
        (
            Error::DeviceTooShort {
                device_bytes: 512,
                needed_bytes: 1024,
            },
            "the device has 512 bytes, and the disk takes 1024",
            None,
        ),
        (
            Error::DeviceSectors {
                device_bytes: 4096,
                table_bytes: 512,
            },
            "the device has sectors of 4096 bytes, and the partition table is one for sectors of 512: nobody would \
             find it there",
            None,
        ),
    ];
    for (error, text, hint) in errors {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.hint(path).as_deref(), hint);
    }
}

#[test]
fn a_missing_file_is_an_error_with_the_systems_words() {
    let folder = support::scratch();
    let error = Source::open(&folder.path().join("missing"), Lock::Shared).unwrap_err();
    assert_eq!(
        message(&error),
        "cannot open the file: No such file or directory (os error 2)"
    );
}

#[test]
fn a_file_that_another_program_has_locked_is_refused() {
    let folder = support::scratch();
    let path = folder.path().join("file");
    fs::write(&path, b"content").unwrap();
    let first = Source::open(&path, Lock::Shared).unwrap();
    let second = Source::open(&path, Lock::Shared).unwrap();
    let error = Source::open(&path, Lock::Exclusive).unwrap_err();
    assert_eq!(
        message(&error),
        "the file is locked: another program works with it"
    );
    drop((first, second));
    let third = Source::open(&path, Lock::Exclusive).unwrap();
    assert!(matches!(
        Source::open(&path, Lock::Shared),
        Err(Error::Locked)
    ));
    drop(third);

    let lock = File::open(&path).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert!(matches!(
        Source::open(&path, Lock::Shared),
        Err(Error::Locked)
    ));
}
