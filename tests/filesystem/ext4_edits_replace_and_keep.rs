//! What a replaced file leaves behind, what a new one takes over, and what happens where there is no room.

use std::thread;

use base::storage::{Fault, Overlay, ReadAt, Recorder};
use filesystem::Error;
use filesystem::ext4::Filesystem;

use crate::ext4_image::{Image, NOW, image, ready};
use crate::faults::every_fault_is_an_error;
use crate::support::{command, run};

fn small() -> Image {
    image(&["-t", "ext4", "-b", "1024"], "16M")
}

/// A value of dumpe2fs's header.
fn count(image: &Image, name: &str) -> u64 {
    let report = run(command("dumpe2fs").arg("-h").arg(&image.path));
    let line = report
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    line.trim_start_matches(':').trim().parse().unwrap()
}

#[test]
fn a_replaced_file_gives_its_blocks_back() {
    if !ready() {
        return;
    }
    let image = small();
    let edited = image.edited(|filesystem| filesystem.write_file("/usr/bin/program", b"x", 0o755));
    edited.assert_clean();
    // 293 KiB of data in blocks of 1 KiB, and one for the new data.
    let gained = count(&edited, "Free blocks") - count(&image, "Free blocks");
    assert_eq!(gained, 293 - 1);
    assert_eq!(count(&edited, "Free inodes"), count(&image, "Free inodes"));
}

#[test]
fn a_file_with_another_name_keeps_its_bytes() {
    if !ready() {
        return;
    }
    let edited = small().edited(|filesystem| filesystem.write_file("/etc/os-release", b"x", 0o600));
    edited.assert_clean();
    assert_eq!(edited.cat("/usr/os-release"), b"ID=test\n");
    assert_eq!(edited.cat("/etc/os-release"), b"x");
}

#[test]
fn extended_attributes_of_a_replaced_file_are_freed_with_it() {
    if !ready() {
        return;
    }
    let image = small();
    let value = "v".repeat(800);
    image.debugfs(&[
        &format!("ea_set /etc/empty user.large {value}"),
        "ea_set /etc/os-release user.small x",
    ]);
    image.assert_clean();
    let edited = image.edited(|filesystem| {
        filesystem.write_file("/etc/empty", b"", 0o644)?;
        filesystem.write_file("/usr/os-release", b"", 0o644)
    });
    edited.assert_clean();
    assert_eq!(
        count(&edited, "Free blocks"),
        count(&image, "Free blocks") + 1
    );
    assert!(!edited.stat("/etc/empty").contains("user.large"));
    assert!(edited.stat("/etc/os-release").contains("user.small"));
}

#[test]
fn values_in_inodes_of_their_own_are_not_left_behind() {
    if !ready() {
        return;
    }
    let image = image(&["-t", "ext4", "-b", "1024", "-O", "ea_inode"], "16M");
    image.debugfs(&[&format!(
        "ea_set /etc/empty user.large {}",
        "v".repeat(3000)
    )]);
    let error = image
        .try_edited(|filesystem| filesystem.write_file("/etc/empty", b"", 0o644))
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the ext4 filesystem cannot be used: A file with extended attributes cannot be replaced where the feature ea_inode is set (writing /etc/empty)"
    );
}

#[test]
fn the_label_of_the_directory_becomes_that_of_the_file() {
    if !ready() {
        return;
    }
    let image = image(&["-t", "ext4"], "16M");
    image.debugfs(&["ea_set /etc security.selinux system_u:object_r:etc_t:s0"]);
    let edited = image.edited(|filesystem| {
        filesystem.write_file("/etc/new", b"x", 0o644)?;
        filesystem.symlink("/etc/link", "x")?;
        filesystem.mkdir("/etc/folder")?;
        filesystem.write_file("/home/new", b"x", 0o644)
    });
    edited.assert_clean();
    for path in ["/etc/new", "/etc/link", "/etc/folder"] {
        let stat = edited.stat(path);
        assert!(
            stat.contains("security.selinux (26) = \"system_u:object_r:etc_t:s0"),
            "{stat}"
        );
    }
    assert!(!edited.stat("/home/new").contains("selinux"));
}

#[test]
fn an_indexed_directory_stays_indexed_and_sound() {
    if !ready() {
        return;
    }
    let image = small();
    let names: Vec<String> = (0..400)
        .map(|i| format!("a-name-of-some-length-{i}"))
        .collect();
    let made: Vec<String> = names
        .iter()
        .map(|name| format!("mkdir /many/{name}"))
        .collect();
    image.debugfs(&made.iter().map(String::as_str).collect::<Vec<_>>());
    // e2fsck -D builds the index, as it lies in directories that a kernel filled.
    let _ = command("e2fsck")
        .args(["-fyD"])
        .arg(&image.path)
        .output()
        .unwrap();
    image.assert_clean();
    assert!(
        image.stat("/many").contains("Flags: 0x81000"),
        "not indexed"
    );
    let edited = image.edited(|filesystem| {
        for i in 0..300 {
            filesystem.write_file(
                format!("/many/another-name-of-some-length-{i}"),
                b"x",
                0o644,
            )?;
        }
        filesystem.write_file("/many/another-name-of-some-length-7", b"again", 0o644)
    });
    edited.assert_clean();
    assert!(
        edited.stat("/many").contains("Flags: 0x81000"),
        "no longer indexed"
    );
    assert_eq!(edited.cat("/many/another-name-of-some-length-299"), b"x");
    assert_eq!(edited.cat("/many/another-name-of-some-length-7"), b"again");
    assert_eq!(edited.ask("ls /many").matches("length-").count(), 700);
}

#[test]
fn a_full_filesystem_says_how_much_is_missing() {
    if !ready() {
        return;
    }
    let image = small();
    let free_bytes = count(&image, "Free blocks") * 1024;
    let too_much = vec![1; usize::try_from(free_bytes).unwrap() + 1];
    let overlay = Overlay::new(image.storage());
    let filesystem = Filesystem::open(&overlay, NOW).unwrap();
    let error = filesystem
        .write_file("/etc/new", &too_much, 0o644)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "no room in the ext4 filesystem for /etc/new: {} bytes are needed, {free_bytes} are free",
            free_bytes + 1024
        )
    );
    // Noticed before the first write: the handle works on.
    filesystem.write_file("/etc/new", b"x", 0o644).unwrap();
    filesystem.close().unwrap();
    // The data would fit, its extent tree does not: noticed while writing.
    let overlay = Overlay::new(image.storage());
    let filesystem = Filesystem::open(&overlay, NOW).unwrap();
    let all = &too_much[..too_much.len() - 1];
    let error = filesystem
        .write_file("/etc/new", all, 0o644)
        .map(|()| filesystem.mkdir("/etc/one"));
    assert!(
        matches!(
            error,
            Err(Error::NoSpace { .. }) | Ok(Err(Error::NoSpace { .. }))
        ),
        "{error:?}"
    );
}

#[test]
fn a_filesystem_without_a_free_inode_says_so_and_is_to_be_thrown_away() {
    if !ready() {
        return;
    }
    let image = image(&["-t", "ext4", "-b", "1024", "-N", "64"], "16M");
    let free = count(&image, "Free inodes");
    let overlay = Overlay::new(image.storage());
    let filesystem = Filesystem::open(&overlay, NOW).unwrap();
    for i in 0..free {
        filesystem
            .write_file(format!("/etc/{i}"), b"", 0o644)
            .unwrap();
    }
    let error = filesystem.write_file("/etc/more", b"", 0o644).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no free inode in the ext4 filesystem for /etc/more"
    );
    let again = filesystem.write_file("/etc/0", b"", 0o644).unwrap_err();
    let message = "an edit of the filesystem failed before, its storage must be thrown away";
    assert_eq!(again.to_string(), message);
    assert_eq!(filesystem.close().unwrap_err().to_string(), message);
}

#[test]
fn a_name_for_an_inode_that_the_filesystem_needs_is_not_taken_away() {
    if !ready() {
        return;
    }
    let image = small();
    image.debugfs(&["link <8> /etc/journal"]);
    let error = image
        .try_edited(|filesystem| filesystem.write_file("/etc/journal", b"", 0o644))
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the ext4 filesystem cannot be used: Inode is corrupted (writing /etc/journal)"
    );
}

#[test]
fn the_same_edits_at_the_same_time_give_the_same_bytes() {
    if !ready() {
        return;
    }
    let image = small();
    let edit = || image.edited(|filesystem| filesystem.write_file("/etc/new", b"x", 0o644));
    let (one, two) = (edit(), edit());
    assert!(std::fs::read(&one.path).unwrap() == std::fs::read(&two.path).unwrap());
}

#[test]
fn times_behind_2038_are_kept() {
    if !ready() {
        return;
    }
    let image = image(&["-t", "ext4"], "16M");
    let overlay = Overlay::new(image.storage());
    let filesystem = Filesystem::open(&overlay, 4_102_444_800).unwrap(); // 2100-01-01
    filesystem.write_file("/etc/new", b"x", 0o644).unwrap();
    filesystem.close().unwrap();
    let changed = std::fs::File::options()
        .write(true)
        .open(&image.path)
        .unwrap();
    for range in overlay.changed_ranges() {
        let bytes = overlay.read_vec(
            range.start,
            usize::try_from(range.end - range.start).unwrap(),
        );
        std::os::unix::fs::FileExt::write_all_at(&changed, &bytes.unwrap(), range.start).unwrap();
    }
    image.assert_clean();
    for path in ["/etc/new", "/etc"] {
        let stat = image.stat(path);
        assert!(
            stat.contains("mtime: 0xf48656ff") || stat.contains("Fri Jan  1 00:00:00 2100"),
            "{stat}"
        );
    }
}

#[test]
fn every_failing_read_and_write_below_is_an_error_above() {
    if !ready() {
        return;
    }
    let image = small();
    let edit = |fault: Fault| {
        let recorder = Recorder::with_fault(Overlay::new(image.storage()), fault);
        let filesystem = Filesystem::open(&recorder, NOW)?;
        filesystem.write_file("/etc/os-release", b"x", 0o644)?;
        filesystem.mkdir("/etc/new")?;
        filesystem.close()
    };
    every_fault_is_an_error(&edit);
}

#[test]
fn handles_in_several_threads_do_not_disturb_each_other() {
    if !ready() {
        return;
    }
    let image = small();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let overlay = Overlay::new(image.storage());
                    let filesystem = Filesystem::open(&overlay, NOW).unwrap();
                    filesystem.write_file("/etc/new", b"x", 0o644).unwrap();
                    let error = filesystem.read_file("/etc/none", 1).unwrap_err();
                    assert_eq!(error.to_string(), "/etc/none is not there");
                    assert_eq!(filesystem.read_file("/etc/new", 1).unwrap(), b"x");
                    filesystem.close().unwrap();
                }
            });
        }
    });
}

#[test]
fn a_panic_of_the_storage_below_comes_out_above() {
    struct Panics<S>(S);
    impl<S: ReadAt> ReadAt for Panics<S> {
        fn len_bytes(&self) -> u64 {
            self.0.len_bytes()
        }
        fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> base::storage::Result<()> {
            assert!(offset_bytes < 4096, "a panic of the test");
            self.0.read_exact_at(buffer, offset_bytes)
        }
    }
    if !ready() {
        return;
    }
    let storage = Panics(small().storage());
    let panic = thread::scope(|scope| {
        scope
            .spawn(|| Filesystem::open_read_only(&storage).map(|_| ()))
            .join()
            .unwrap_err()
    });
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"a panic of the test"));
}
