//! A sparse copy in blocks of 512 bytes leaves what lay in the sectors beside ext4's superblock: the head of another
//! filesystem, of LVM, of swap space. Nothing of the filesystem is lost, and nothing of what the disk was comes back.

use crate::all;
use crate::past::{BINDING, Past, ROOT, Root, ready};
use crate::support::former_life::{HEADS, Head, PROGRAMS, verdicts};
use crate::support::{command, exits, files, kill, programs, run};

/// The plain image over a disk of which this is left.
fn over(head: Head) -> Past {
    let past = Past::encrypted(Root::Free);
    std::fs::copy(&past.plain, &past.disk).unwrap();
    head.beside_ext4(&past.disk, ROOT);
    assert_is_whole(&past);
    past
}

#[track_caller]
fn assert_is_whole(past: &Past) {
    let partition = past.partition("disk.img");
    exits(command("e2fsck").arg("-fn").arg(partition), 0);
}

/// The two of which one is left over, where that is in the way.
fn in_the_way(head: Head) -> Option<String> {
    let what = match head {
        Head::Luks1 => "a LUKS1 container",
        Head::Luks2 => "a LUKS2 container",
        Head::Xfs => "an XFS filesystem",
        Head::WipedLuks2 | Head::Fat | Head::Lvm | Head::Swap => return None,
    };
    Some(format!(
        "error: disk.img: partition 2 holds the magic numbers of {what} at 0x0 and of an ext2, ext3 or ext4 filesystem at \
         0x438: one of the two is left over\n\
         hint: a sparse copy (dd conv=sparse, bmaptool) leaves in its holes what the disk held before: write the image \
         again in full, or onto a device that was cleared (blkdiscard)\n"
    ))
}

/// libblkid calls the root partition of an image a LUKS container, and nothing else.
#[track_caller]
fn assert_is_a_container(past: &Past, image: &str) {
    let partition = past.partition(image);
    let kind = run(command("blkid")
        .args(["-p", "-o", "value", "-s", "TYPE"])
        .arg(partition));
    assert_eq!(kind.trim(), "crypto_LUKS");
    past.decrypted(image);
}

#[test]
fn to_any_command() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    for head in HEADS {
        let past = over(head);
        let deploy = [&BINDING[..], &["disk.img"]].concat();
        let said = past.refused("deploy", &deploy);
        let provision = [&BINDING[..], &["-o", "guest.img", "disk.img"]].concat();
        if let Some(message) = in_the_way(head) {
            assert!(said == message || head == Head::Xfs, "{said}");
            for (command, arguments) in [
                ("encrypt", &["-o", "output.img", "disk.img"][..]),
                ("encrypt", &["disk.img"]),
                ("encrypt", &["--in-place", "disk.img"]),
                ("provision", &provision),
            ] {
                assert_eq!(past.refused(command, arguments), message, "{arguments:?}");
            }
            continue;
        }
        assert!(
            said.contains("no partition holds a LUKS2 container"),
            "{said}"
        );
        past.run("encrypt", &["-o", "output.img", "disk.img"]);
        assert_is_a_container(&past, "output.img");
        past.run("provision", &provision);
        past.run("encrypt", &["--in-place", "disk.img"]);
        assert_is_a_container(&past, "disk.img");
    }
}

/// Where a conversion is killed, it is resumed, and until then no program finds what the disk was.
#[test]
fn to_a_conversion_that_is_killed() {
    if !ready() || !programs(&PROGRAMS) || !programs(&["strace"]) {
        return;
    }
    for head in [Head::WipedLuks2, Head::Fat, Head::Lvm, Head::Swap] {
        let past = over(head);
        let before = past.workshop.path("before.img");
        std::fs::rename(&past.disk, &before).unwrap();
        let mut resumed = 0;
        // Behind record and tail: with the first sector, and with the rest of its block.
        let writes = if all() { 1..=12 } else { 5..=7 };
        for write in writes {
            let _ = std::fs::remove_file(&past.disk);
            past.workshop.put(&before, "disk.img");
            let arguments = [
                "encrypt",
                "--profile=generic",
                "--threads=1",
                "--in-place",
                "disk.img",
            ];
            assert!(kill::at(&past.workshop, ("pwrite64", write), &arguments));
            let root = past.root();
            let bytes = files::read(&past.disk, root.start, 16 << 20);
            if bytes.starts_with(b"LUKS") {
                let verdicts = verdicts(&bytes, root.end - root.start);
                let new = String::from_utf8(bytes[168..204].to_vec()).unwrap();
                let found = verdicts.cryptsetup.iter().chain([&verdicts.blkid]);
                for uuid in found.flatten() {
                    assert_eq!(*uuid, new, "{head:?}, {write}: {verdicts:?}");
                }
            } else {
                assert_is_whole(&past);
            }
            let output = past.command("encrypt", &["--resume", "disk.img"]).output();
            resumed += u64::from(kill::resumed(&output.unwrap(), || {
                past.run("encrypt", &["--in-place", "disk.img"]);
            }));
            assert_is_a_container(&past, "disk.img");
        }
        assert!(resumed >= 2, "{resumed}");
    }
}
