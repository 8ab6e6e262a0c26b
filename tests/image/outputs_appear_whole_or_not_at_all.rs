//! An output has no name until it is complete, replaces only what it was told to, and leaves no temporary.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use base::storage::{ReadAt, WriteAt};
use image::{Error, Output, PublishStep, Replace, Temporary, free_bytes};

use crate::{message, names, scratch_with_unnamed_files, support};

const BOTH: [Temporary; 2] = [Temporary::UnnamedIfPossible, Temporary::Named];

fn create(path: &Path, replace: Replace, temporary: Temporary) -> Output {
    let output = Output::create(path, 8192, replace, temporary).unwrap();
    output.storage().write_all_at(b"new", 4096).unwrap();
    output
}

fn publish(output: Output) -> Vec<PublishStep> {
    let mut steps = Vec::new();
    let published = output.publish(&mut |step| {
        steps.push(step);
        ControlFlow::Continue(())
    });
    published.unwrap();
    steps
}

#[track_caller]
fn refusal(path: &Path, replace: Replace) -> String {
    let errors =
        BOTH.map(|temporary| message(&Output::create(path, 1, replace, temporary).unwrap_err()));
    assert_eq!(errors[0], errors[1]);
    errors.into_iter().next().unwrap()
}

/// The file systems that tests reach: the scratch directory's and a tmpfs.
fn folders() -> Vec<tempfile::TempDir> {
    let tmpfs = Path::new("/dev/shm");
    let tmpfs = tmpfs.is_dir().then(|| tempfile::tempdir_in(tmpfs).unwrap());
    [scratch_with_unnamed_files()]
        .into_iter()
        .chain(tmpfs)
        .collect()
}

#[test]
fn an_output_appears_at_the_end_with_mode_0600() {
    for (folder, temporary) in folders()
        .iter()
        .flat_map(|folder| BOTH.map(|kind| (folder, kind)))
    {
        let path = folder.path().join("disk.img");
        let output = create(&path, Replace::Never, temporary);
        assert!(!path.exists());
        assert_eq!(names(folder.path()).is_empty(), output.is_unnamed());
        assert_eq!(
            output.is_unnamed(),
            temporary == Temporary::UnnamedIfPossible
        );
        let steps = publish(output);
        assert_eq!(
            steps,
            [
                PublishStep::BeforeLink,
                PublishStep::BeforeDirectorySync,
                PublishStep::Published
            ]
        );
        assert_eq!(names(folder.path()), ["disk.img"]);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.mode() & 0o7777), (8192, 0o600));
        assert_eq!(fs::read(&path).unwrap()[4096..4099], *b"new");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_dropped_output_leaves_nothing() {
    for temporary in BOTH {
        let folder = support::scratch();
        drop(create(
            &folder.path().join("disk.img"),
            Replace::Never,
            temporary,
        ));
        assert_eq!(names(folder.path()), [""; 0]);
    }
}

#[test]
fn an_existing_file_is_replaced_in_one_step_where_that_is_wanted() {
    for (folder, temporary) in folders()
        .iter()
        .flat_map(|folder| BOTH.map(|kind| (folder, kind)))
    {
        let path = folder.path().join("disk.img");
        fs::write(&path, b"old").unwrap();
        let output = create(&path, Replace::Existing, temporary);
        let mut between = Vec::new();
        let published = output.publish(&mut |step| {
            if step == PublishStep::BeforeLink || step == PublishStep::BetweenLinkAndRename {
                assert_eq!(fs::read(&path).unwrap(), b"old");
            }
            if step == PublishStep::BetweenLinkAndRename {
                between = names(folder.path());
            }
            ControlFlow::Continue(())
        });
        published.unwrap();
        assert_eq!(fs::read(&path).unwrap()[4096..4099], *b"new");
        assert_eq!(names(folder.path()), ["disk.img"]);
        if temporary == Temporary::UnnamedIfPossible {
            let [beside, old] = between.try_into().unwrap();
            assert_eq!(old, "disk.img");
            assert!(
                beside.starts_with(".disk.img.encrypt-cloud-image."),
                "{beside}"
            );
            assert!(beside.ends_with(".finished"), "{beside}");
        } else {
            assert_eq!(between, [""; 0]);
        }
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn replacing_what_is_not_there_links_it_at_once() {
    let folder = scratch_with_unnamed_files();
    let output = create(
        &folder.path().join("a"),
        Replace::Existing,
        Temporary::default(),
    );
    assert!(!publish(output).contains(&PublishStep::BetweenLinkAndRename));
}

#[test]
fn a_file_that_appears_meanwhile_is_not_replaced() {
    for temporary in BOTH {
        let folder = support::scratch();
        let path = folder.path().join("disk.img");
        let output = create(&path, Replace::Never, temporary);
        let error = output.publish(&mut |step| {
            if step == PublishStep::BeforeLink {
                fs::write(&path, b"somebody else's").unwrap();
            }
            ControlFlow::Continue(())
        });
        assert_eq!(message(&error.unwrap_err()), "the output exists already");
        assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
        assert_eq!(names(folder.path()), ["disk.img"]);
    }
}

#[test]
fn a_name_that_cannot_be_taken_any_more_leaves_nothing() {
    for temporary in BOTH {
        let folder = support::scratch();
        let path = folder.path().join("disk.img");
        fs::write(&path, b"old").unwrap();
        let output = create(&path, Replace::Existing, temporary);
        let error = output.publish(&mut |step| {
            if step == PublishStep::BeforeLink {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }
            ControlFlow::Continue(())
        });
        assert_eq!(
            message(&error.unwrap_err()),
            "cannot give the finished output its name: Is a directory (os error 21)"
        );
        assert_eq!(names(folder.path()), ["disk.img"]);
    }
}

#[test]
fn a_publishing_that_is_called_off_leaves_nothing() {
    for temporary in BOTH {
        for stop_at in [PublishStep::BeforeLink, PublishStep::BetweenLinkAndRename] {
            let folder = support::scratch();
            let path = folder.path().join("disk.img");
            fs::write(&path, b"old").unwrap();
            let output = create(&path, Replace::Existing, temporary);
            let mut stopped = false;
            let published = output.publish(&mut |step| {
                stopped |= step == stop_at;
                if stopped {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            if stopped {
                let error = message(&published.unwrap_err());
                assert_eq!(error, "stopped before the output got its name");
                assert_eq!(fs::read(&path).unwrap(), b"old");
            }
            assert_eq!(names(folder.path()), ["disk.img"]);
        }
    }
}

#[test]
fn a_symbolic_link_stays_and_its_file_is_replaced() {
    for temporary in BOTH {
        let folder = support::scratch();
        let name = |name: &str| folder.path().join(name);
        fs::create_dir(name("real")).unwrap();
        fs::write(name("real/disk.img"), b"old").unwrap();
        symlink("real/disk.img", name("link")).unwrap();
        publish(create(&name("link"), Replace::Existing, temporary));
        assert!(name("link").is_symlink());
        assert_eq!(
            fs::read(name("real/disk.img")).unwrap()[4096..4099],
            *b"new"
        );
        assert_eq!(names(&name("real")), ["disk.img"]);

        symlink("nowhere", name("dangling")).unwrap();
        for replace in [Replace::Existing, Replace::Never] {
            assert_eq!(
                refusal(&name("dangling"), replace),
                "the output is a symbolic link that leads to no file"
            );
        }
        assert_eq!(
            refusal(&name("link"), Replace::Never),
            "the output exists already"
        );
    }
}

#[test]
fn paths_that_cannot_become_an_output_are_refused_at_once() {
    let folder = support::scratch();
    let name = |name: &str| folder.path().join(name);
    let shown = |path: PathBuf| path.display().to_string();
    fs::write(name("file"), b"old").unwrap();
    fs::create_dir(name("folder")).unwrap();
    symlink("folder", name("link")).unwrap();
    let _listener = UnixListener::bind(name("socket")).unwrap();
    let (never, existing) = (Replace::Never, Replace::Existing);

    assert_eq!(refusal(&name("file"), never), "the output exists already");
    let missing = format!(
        "the output's directory {} does not exist",
        shown(name("missing"))
    );
    assert_eq!(refusal(&name("missing/disk.img"), never), missing);
    let no_directory = format!("{} is not a directory", shown(name("file")));
    assert_eq!(refusal(&name("file/disk.img"), never), no_directory);
    for (path, kind) in [
        (name("folder"), "a directory"),
        (name("link"), "a directory"),
        (name("socket"), "a socket"),
        (PathBuf::from("/dev/null"), "a character device"),
    ] {
        assert_eq!(
            refusal(&path, existing),
            format!("the output is {kind}, which is not replaced")
        );
    }
    for path in ["/", "..", "", "new/"] {
        assert_eq!(
            refusal(Path::new(path), existing),
            "the output's path names no file"
        );
    }
    assert_eq!(
        refusal(&name(&"n".repeat(256)), never),
        "cannot look up the output's name: File name too long (os error 36)"
    );
    assert_eq!(names(folder.path()), ["file", "folder", "link", "socket"]);
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    // Even root cannot make files there.
    let path = Path::new("/proc/self/disk.img");
    let error = refusal(path, Replace::Never);
    assert!(
        error.starts_with("cannot make a file in the directory /proc/self: "),
        "{error}"
    );

    if rustix::process::geteuid().is_root() {
        return;
    }
    let folder = support::scratch();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(
        refusal(&folder.path().join("disk.img"), Replace::Never),
        format!(
            "cannot make a file in the directory {}: Permission denied (os error 13)",
            folder.path().display()
        )
    );
}

#[test]
fn the_longest_name_can_be_published_over_an_old_file() {
    for temporary in BOTH {
        let folder = support::scratch();
        let path = folder.path().join("n".repeat(255));
        fs::write(&path, b"old").unwrap();
        publish(create(&path, Replace::Existing, temporary));
        assert_eq!(names(folder.path()), ["n".repeat(255)]);
    }
}

#[test]
fn mode_and_owner_are_set_before_the_file_has_its_name() {
    let folder = support::scratch();
    let path = folder.path().join("disk.img");
    let output = create(&path, Replace::Never, Temporary::default());
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    output.set_owner(user.as_raw(), group.as_raw()).unwrap();
    output.set_mode(0o640).unwrap();
    publish(output);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    let error = Error::Attributes(std::io::ErrorKind::PermissionDenied.into());
    assert_eq!(
        message(&error),
        "cannot set the output's mode or owner: permission denied"
    );
}

#[test]
fn a_new_output_is_a_hole_of_its_length() {
    let folder = scratch_with_unnamed_files();
    let len_bytes = 1 << 40;
    let path = folder.path().join("disk.img");
    let output = Output::create(&path, len_bytes, Replace::Never, Temporary::default()).unwrap();
    assert_eq!(output.storage().len_bytes(), len_bytes);
    assert_eq!(output.storage().next_data(0).unwrap(), None);
}

#[test]
fn the_room_in_a_directory_is_told() {
    let folder = support::scratch();
    let df = support::run(
        support::command("df")
            .args(["-B1", "--output=avail"])
            .arg(folder.path()),
    );
    let df: u64 = df.lines().nth(1).unwrap().trim().parse().unwrap();
    let ours = free_bytes(folder.path()).unwrap();
    assert!(ours.abs_diff(df) < 4 << 30, "{ours} and {df}"); // other programs write meanwhile
    let missing = folder.path().join("missing");
    assert_eq!(
        message(&free_bytes(&missing).unwrap_err()),
        format!(
            "cannot learn how much room there is in {}: No such file or directory (os error 2)",
            missing.display()
        )
    );
}

#[test]
fn a_directory_that_cannot_be_flushed_is_told_apart() {
    let error = Error::SyncDirectory(std::io::ErrorKind::Other.into());
    assert_eq!(
        message(&error),
        "the output is complete, but its directory could not be flushed: other error"
    );
}
