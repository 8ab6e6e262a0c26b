//! SIGKILL at each step of the publishing, in a process of its own; and a file-size limit.

use std::env;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use base::storage::WriteAt;
use image::{Output, PublishStep, Replace, Temporary};

use crate::{message, names, scratch_with_unnamed_files, support};

const SIGKILL: i32 = 9;

/// Not a test of its own: what the processes that the tests start do. The variable says how.
#[test]
fn the_child() {
    let Ok(task) = env::var("ECI_TEST_PUBLISH") else {
        return;
    };
    let task: Vec<&str> = task.split(' ').collect();
    let [replace, temporary, kill_at, len_bytes] = task[..] else {
        panic!("{task:?}")
    };
    let path = PathBuf::from(env::var_os("ECI_TEST_PATH").unwrap());
    let replace = if replace == "existing" {
        Replace::Existing
    } else {
        Replace::Never
    };
    let temporary = if temporary == "named" {
        Temporary::Named
    } else {
        Temporary::UnnamedIfPossible
    };
    let kill_if = |now: bool| {
        if now {
            let itself = rustix::process::getpid();
            rustix::process::kill_process(itself, rustix::process::Signal::KILL).unwrap();
        }
    };
    let output = match Output::create(&path, len_bytes.parse().unwrap(), replace, temporary) {
        Ok(output) => output,
        Err(error) => panic!("{}", message(&error)),
    };
    output.storage().write_all_at(b"new", 0).unwrap();
    kill_if(kill_at == "Writing");
    let published = output.publish(&mut |step| {
        kill_if(kill_at == format!("{step:?}"));
        ControlFlow::Continue(())
    });
    published.unwrap();
}

fn child(path: &Path, task: &str) -> Command {
    let mut child = Command::new(env::current_exe().unwrap());
    child
        .args([
            "--exact",
            "a_killed_process_leaves_what_is_documented::the_child",
            "--nocapture",
        ])
        .env("ECI_TEST_PUBLISH", task)
        .env("ECI_TEST_PATH", path);
    child
}

/// Kills a process at a step, and returns the names that are left.
fn left_behind(folder: &Path, task: &str) -> Vec<String> {
    let output = child(&folder.join("disk.img"), task).output().unwrap();
    assert_eq!(output.status.signal(), Some(SIGKILL), "{output:?}");
    names(folder)
}

#[test]
fn a_new_output_is_there_whole_or_not_at_all() {
    for (step, expected) in [
        ("Writing", &[][..]),
        ("BeforeLink", &[]),
        ("BeforeDirectorySync", &["disk.img"]),
        ("Published", &["disk.img"]),
    ] {
        let folder = scratch_with_unnamed_files();
        assert_eq!(
            left_behind(folder.path(), &format!("never unnamed {step} 4096")),
            expected
        );
        if !expected.is_empty() {
            let bytes = fs::read(folder.path().join("disk.img")).unwrap();
            assert_eq!((&bytes[..3], bytes.len()), (&b"new"[..], 4096));
        }
    }
}

#[test]
fn an_old_file_is_there_until_the_new_one_is() {
    for step in [
        "Writing",
        "BeforeLink",
        "BetweenLinkAndRename",
        "BeforeDirectorySync",
        "Published",
    ] {
        let folder = scratch_with_unnamed_files();
        let path = folder.path().join("disk.img");
        fs::write(&path, b"old").unwrap();
        let left = left_behind(folder.path(), &format!("existing unnamed {step} 4096"));
        let is_replaced = step == "BeforeDirectorySync" || step == "Published";
        assert_eq!(
            fs::read(&path).unwrap()[..3],
            *if is_replaced { b"new" } else { b"old" }
        );
        if step == "BetweenLinkAndRename" {
            let [beside, old] = &left[..] else {
                panic!("{left:?}")
            };
            assert!(
                beside.starts_with(".disk.img.encrypt-cloud-image."),
                "{beside}"
            );
            assert!(beside.ends_with(".finished"), "{beside}");
            assert_eq!(old, "disk.img");
            let bytes = fs::read(folder.path().join(beside)).unwrap();
            assert_eq!((&bytes[..3], bytes.len()), (&b"new"[..], 4096));
        } else {
            assert_eq!(left, ["disk.img"]);
        }
    }
}

#[test]
fn a_named_temporary_stays_behind_under_a_name_that_says_what_it_is() {
    for step in ["Writing", "BeforeLink"] {
        let folder = support::scratch();
        let left = left_behind(folder.path(), &format!("never named {step} 4096"));
        let [partial] = &left[..] else {
            panic!("{left:?}")
        };
        assert!(
            partial.starts_with(".disk.img.encrypt-cloud-image."),
            "{partial}"
        );
        assert!(partial.ends_with(".partial"), "{partial}");
    }
    let folder = support::scratch();
    assert_eq!(
        left_behind(folder.path(), "never named BeforeDirectorySync 4096"),
        ["disk.img"]
    );
}

#[test]
fn a_file_size_limit_is_told_in_the_systems_words_and_leaves_nothing() {
    for temporary in ["unnamed", "named"] {
        let folder = support::scratch();
        let path = folder.path().join("disk.img");
        let task = format!("never {temporary} Never 1048576");
        let child = child(&path, &task);
        // The program takes SIGXFSZ; here the shell has it ignored.
        let mut shell = support::command("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"]);
        shell.arg(child.get_program()).args(child.get_args());
        shell.envs(
            child
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let output = shell.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains(
                "cannot learn or set the extent of the file: File too large (os error 27)"
            ),
            "{stderr}"
        );
        assert_eq!(names(folder.path()), [""; 0]);
    }
}

#[test]
fn steps_have_the_names_that_the_child_compares() {
    assert_eq!(
        format!("{:?}", PublishStep::BetweenLinkAndRename),
        "BetweenLinkAndRename"
    );
}
