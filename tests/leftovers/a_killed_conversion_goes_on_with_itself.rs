//! A disk with an old LUKS2 header in it is converted in place: wherever the run is killed, `--resume` goes on with this
//! conversion, and never with the old container.

use crate::past::{Past, Root, SECONDARY, ready};
use crate::support::kill;
use crate::support::{command, exits, files, programs};

/// Kills a conversion at its n-th write. True where it was killed.
fn killed(past: &Past, write: usize) -> bool {
    let mut strace = past.workshop.command("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e"]);
    strace.arg(format!("inject=pwrite64:signal=KILL:when={write}"));
    strace.arg(past.workshop.program());
    strace.args([
        "encrypt",
        "--profile=generic",
        "--threads=1",
        "--in-place",
        "disk.img",
    ]);
    !strace.output().unwrap().status.success()
}

#[test]
fn a_killed_run_is_never_resumed_into_the_old_container() {
    if !ready() || !programs(&["strace"]) {
        return;
    }
    for root in [Root::Free, Root::InodeTable] {
        kill_everywhere(root);
    }
}

#[track_caller]
fn kill_everywhere(root: Root) {
    let past = Past::encrypted(root);
    let old = files::read(&past.disk, past.root().start + SECONDARY, 4096);
    past.write_sparsely(4096);
    let before = past.workshop.path("before.img");
    std::fs::rename(&past.disk, &before).unwrap();
    // Before what takes the old header's place, block 0, keyslots, header copies, a chunk; all from the tail to two chunks.
    let mut resumed = 0;
    let writes = if crate::all() { 2..=12 } else { 5..=9 };
    for write in writes {
        let _ = std::fs::remove_file(&past.disk);
        past.workshop.put(&before, "disk.img");
        assert!(killed(&past, write), "{write}");
        let output = past.command("encrypt", &["--resume", "disk.img"]).output();
        resumed += u64::from(kill::resumed(&output.unwrap(), || {
            past.run("encrypt", &["--in-place", "disk.img"]);
        }));
        past.decrypted("disk.img");
        let header = past.partition("disk.img");
        assert_eq!(files::find(&header, &old[168..204]), None, "{write}");
        let told = exits(&mut past.command("inspect", &["disk.img"]), 0);
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(told.contains("encrypted, not deployed"), "{told}");
    }
    assert!(resumed >= 5, "{resumed}");
}

/// Where no inode of a block of an inode table was ever in use, e2fsck reads it as little as a free block, with the old
/// header and without.
#[test]
fn an_inode_table_that_was_never_used_is_free() {
    if !ready() || !programs(&["dumpe2fs"]) {
        return;
    }
    let past = Past::under(Root::InodeTable, 4096);
    let partition = past.partition("disk.img");
    assert_eq!(files::read(&partition, SECONDARY, 6), b"SKUL\xba\xbe");
    let told = exits(command("dumpe2fs").arg(&partition), 0);
    let told = String::from_utf8(told.stdout).unwrap();
    let table = told
        .lines()
        .find_map(|line| line.trim().strip_prefix("Inode table at "));
    let (first, rest) = table.unwrap().split_once('-').unwrap();
    let last: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let table = first.parse::<u64>().unwrap()..=last.parse().unwrap();
    assert!(table.contains(&(SECONDARY / 4096)), "{table:?}");
    exits(command("e2fsck").arg("-fn").arg(&partition), 0);
    files::write(&partition, SECONDARY, &[0xa5; 4096]);
    exits(command("e2fsck").arg("-fn").arg(&partition), 0);
    past.run("encrypt", &["--in-place", "disk.img"]);
    past.decrypted("disk.img");

    // An inode in use, further behind.
    let past = Past::under(Root::InodeTable, 4096);
    let partition = past.partition("disk.img");
    let inode = (SECONDARY / 4096 - table.start()) * 16 + 40;
    let mut debugfs = command("debugfs");
    debugfs.args([
        "-w",
        "-R",
        &format!("set_bg 0 itable_unused {}", 4096 - inode),
    ]);
    exits(debugfs.arg(&partition), 0);
    let mut debugfs = command("debugfs");
    exits(
        debugfs
            .args(["-w", "-R", "set_bg 0 checksum calc"])
            .arg(&partition),
        0,
    );
    past.put_back(&partition);
    let said = past.refused("encrypt", &["--in-place", "disk.img"]);
    assert!(
        said.contains("in a block that the filesystem uses"),
        "{said}"
    );

    // Who keeps no count may have used them.
    let past = Past::under(Root::InodeTableWithoutChecksums, 4096);
    let said = past.refused("encrypt", &["--in-place", "disk.img"]);
    assert!(
        said.contains("in a block that the filesystem uses"),
        "{said}"
    );
}

#[test]
fn what_lies_in_a_block_of_the_filesystem_is_left_alone() {
    if !ready() {
        return;
    }
    let message = |place: u64| {
        format!(
            "error: disk.img: a copy of the LUKS2 header of an earlier container lies at {place:#x} bytes from the start \
             of the root partition, in a block that the filesystem uses: after a crash it would be taken for the new one\n\
             hint: nothing was written: write to another file or device with --output\n"
        )
    };
    let past = Past::under(Root::Journal, 4096);
    for arguments in [
        &["--in-place", "disk.img"][..],
        &["--in-place", "--dry-run", "disk.img"],
    ] {
        assert_eq!(past.refused("encrypt", arguments), message(SECONDARY));
    }
    past.run("encrypt", &["-o", "output.img", "disk.img"]);
    past.decrypted("output.img");

    // Live data behind the first 2 MiB, of which a conversion keeps no copy.
    let place = 4 << 20;
    files::write(&past.disk, past.root().start + SECONDARY, &[0; 512]);
    files::write(&past.disk, past.root().start + place, b"SKUL\xba\xbe");
    let partition = past.partition("disk.img");
    let mut test = command("debugfs");
    let output = exits(
        test.args(["-R", &format!("testb {}", place / 4096)])
            .arg(&partition),
        0,
    );
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("marked in use")
    );
    assert_eq!(
        past.refused("encrypt", &["--in-place", "disk.img"]),
        message(place)
    );
}
