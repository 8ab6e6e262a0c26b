//! A plain image is written sparsely over a disk that held an encrypted one, and the old secondary LUKS2 header survives
//! in a block that the filesystem does not use. The disk is plain to every command.

use crate::past::{BINDING, Past, Root, SECONDARY, ready};
use crate::support::{command, exits, files};

const NO_CONTAINER: &str = "error: disk.img: no partition holds a LUKS2 container: the table has ";

/// The disk, of which the programs say that it is plain and sound, and that an old header is there.
fn plain_over_encrypted(root: Root) -> Past {
    let past = Past::under(root, 4096);
    let partition = past.partition("disk.img");
    assert_eq!(files::read(&partition, SECONDARY, 6), b"SKUL\xba\xbe");
    assert_eq!(files::read(&partition, 0, 6), [0; 6]);
    exits(command("e2fsck").arg("-fn").arg(&partition), 0);
    let mut test = command("debugfs");
    let output = exits(
        test.arg("-R")
            .arg(format!("testb {}", SECONDARY / 4096))
            .arg(&partition),
        0,
    );
    let is_used = String::from_utf8(output.stdout)
        .unwrap()
        .contains("marked in use");
    assert_eq!(is_used, matches!(root, Root::Journal));
    // cryptsetup refuses it, and libblkid takes it for encrypted.
    let dump = exits(command("cryptsetup").arg("luksDump").arg(&partition), 1);
    let said = String::from_utf8(dump.stderr).unwrap();
    assert!(said.contains("ambiguous signatures"), "{said}");
    let blkid = exits(command("blkid").arg("-p").arg(&partition), 0);
    let said = String::from_utf8(blkid.stdout).unwrap();
    assert!(said.contains("crypto_LUKS"), "{said}");
    past
}

#[test]
fn inspect_calls_the_disk_plain_and_warns() {
    if !ready() {
        return;
    }
    let past = plain_over_encrypted(Root::Free);
    let output = exits(&mut past.command("inspect", &["disk.img"]), 0);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("plain: the root is not encrypted"), "{told}");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "warning: partition 2 holds an ext2, ext3 or ext4 filesystem and, of an earlier container, a copy of a LUKS2 \
         header at 0x80000 bytes from its start, in blocks that the filesystem does not use: programs that look for it \
         there (libblkid) take the partition for an \
         encrypted one\n"
    );
}

#[test]
fn deploy_finds_no_container() {
    if !ready() {
        return;
    }
    let past = plain_over_encrypted(Root::Free);
    for more in [&["disk.img"][..], &["--output", "copy.img", "disk.img"]] {
        let said = past.refused("deploy", &[&BINDING[..], more].concat());
        assert!(said.starts_with(NO_CONTAINER), "{said}");
        assert!(said.ends_with("hint: encrypt it first: encrypt-cloud-image encrypt\n"));
    }
    let guid = |number| {
        let table = crate::support::disk::read(&past.disk);
        table.partitions[&number].unique_guid()
    };
    let named = [
        format!("--root-partition-uuid={}", guid(crate::past::ROOT)),
        format!("--efi-partition-uuid={}", guid(crate::past::ESP)),
    ];
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    let said = past.refused("deploy", &[&BINDING[..], &named, &["disk.img"]].concat());
    assert!(said.starts_with(NO_CONTAINER), "{said}");
}

#[test]
fn encrypt_and_provision_carry_nothing_of_it_along() {
    if !ready() {
        return;
    }
    let past = plain_over_encrypted(Root::Free);
    let warning = "the root partition holds a filesystem and, of an earlier container, a copy of a LUKS2 header at \
                   0x80000 bytes from its start: the filesystem does not use these blocks, and nothing of them stays";
    let old = files::read(&past.partition("disk.img"), SECONDARY, 4096);
    let old_uuid = &old[168..204];
    for free_space in ["encrypt", "skip"] {
        let said = past.run(
            "encrypt",
            &[
                "--overwrite",
                "--free-space",
                free_space,
                "-o",
                "output.img",
                "disk.img",
            ],
        );
        assert!(said.contains(warning), "{said}");
        let output = past.workshop.path("output.img");
        assert_eq!(files::find(&output, old_uuid), None);
        if free_space == "encrypt" {
            let plain = past.decrypted("output.img");
            assert_eq!(files::find(&plain, old_uuid), None);
            assert!(files::is_zero(&files::read(&plain, SECONDARY, 4096)));
        } else {
            let segment = past.root().start + (16 << 20);
            let hole = files::read(&output, segment + SECONDARY, 4096);
            assert!(files::is_zero(&hole));
        }
    }
    let arguments = [&BINDING[..], &["-o", "guest.img", "disk.img"]].concat();
    let said = past.run("provision", &arguments);
    assert!(said.contains(warning), "{said}");
    assert_eq!(
        files::find(&past.workshop.path("guest.img"), old_uuid),
        None
    );
}

/// Blocks that the filesystem uses belong to it, whatever lies in them.
#[test]
fn what_the_filesystem_uses_is_encrypted_with_it() {
    if !ready() {
        return;
    }
    let past = plain_over_encrypted(Root::Journal);
    let said = past.run("encrypt", &["-o", "output.img", "disk.img"]);
    assert!(
        said.contains(
            "a copy of a LUKS2 header at 0x80000 bytes from its start: the filesystem uses these blocks, and they are \
             encrypted with it"
        ),
        "{said}"
    );
    let plain = past.decrypted("output.img");
    assert_eq!(files::read(&plain, SECONDARY, 6), b"SKUL\xba\xbe");
}
