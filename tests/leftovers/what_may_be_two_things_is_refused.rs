//! A sparse copy in blocks of 512 bytes leaves the first sectors of an old primary LUKS2 header in front of ext4's
//! superblock, where the image has zeros. Nobody can tell which of the two is left over, so nothing is done.

use crate::past::{BINDING, Past, Root, ready};
use crate::support::{command, exits, files};

const MESSAGE: &str = "error: disk.img: partition 2 holds the magic numbers of a LUKS2 container at 0x0 and of an ext2, ext3 \
     or ext4 filesystem at 0x438: one of the two is left over\n\
     hint: a sparse copy (dd conv=sparse, bmaptool) leaves in its holes what the disk held before: write the image again \
     in full, or onto a device that was cleared (blkdiscard)\n";

#[test]
fn by_every_command() {
    if !ready() {
        return;
    }
    let past = Past::under(Root::Free, 512);
    let partition = past.partition("disk.img");
    assert_eq!(files::read(&partition, 0, 8), b"LUKS\xba\xbe\0\x02");
    exits(command("e2fsck").arg("-fn").arg(&partition), 0);
    let dump = exits(command("cryptsetup").arg("luksDump").arg(&partition), 1);
    let said = String::from_utf8(dump.stderr).unwrap();
    assert!(said.contains("ambiguous signatures"), "{said}");

    let names = past.workshop.names();
    let binding = |more: &[&'static str]| [&BINDING[..], more].concat();
    for (command, arguments) in [
        ("encrypt", vec!["-o", "output.img", "disk.img"]),
        ("encrypt", vec!["disk.img"]),
        ("encrypt", vec!["--dry-run", "-o", "output.img", "disk.img"]),
        ("encrypt", vec!["--in-place", "disk.img"]),
        ("encrypt", vec!["--resume", "disk.img"]),
        ("deploy", binding(&["disk.img"])),
        ("deploy", binding(&["-o", "output.img", "disk.img"])),
        ("provision", binding(&["-o", "output.img", "disk.img"])),
        ("inspect", vec!["disk.img"]),
    ] {
        assert_eq!(
            past.refused(command, &arguments),
            MESSAGE,
            "{command} {arguments:?}"
        );
    }
    assert_eq!(past.workshop.names(), names);

    // What the hint says helps.
    std::fs::copy(&past.plain, &past.disk).unwrap();
    past.run("encrypt", &["-o", "output.img", "disk.img"]);
    past.decrypted("output.img");
}

/// The first kibibyte alone, without a secondary copy anywhere.
#[test]
fn without_a_secondary_copy_as_well() {
    if !ready() {
        return;
    }
    let past = Past::encrypted(Root::Free);
    let sectors = files::read(&past.disk, past.root().start, 1024);
    std::fs::copy(&past.plain, &past.disk).unwrap();
    files::write(&past.disk, past.root().start, &sectors);
    let said = past.refused("encrypt", &["-o", "output.img", "disk.img"]);
    assert_eq!(said, MESSAGE);
    let said = past.refused("deploy", &[&BINDING[..], &["disk.img"]].concat());
    assert_eq!(said, MESSAGE);
}
