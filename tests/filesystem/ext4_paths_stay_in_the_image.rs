//! Symbolic links of an image lead to files of the image; the last part of what is written is never followed.

use base::storage::Overlay;
use filesystem::Error;
use filesystem::ext4::{Filesystem, Kind, Warning};

use crate::ext4_image::{Image, NOW, image, ready};

/// A tree full of links that would leave it.
fn hostile() -> Image {
    let image = image(&["-t", "ext4"], "16M");
    image.debugfs(&[
        "symlink /cc_growpart_keydata /etc/shadow",
        "symlink /etc/cloud/cloud.cfg.d/99_x.cfg ../../../../../../../../etc/os-release",
        "mkdir /escape",
        "symlink /escape/up ../../../../../../../..",
        "symlink /escape/abs /etc",
        "symlink /escape/loop loop",
        "symlink /escape/a b",
        "symlink /escape/b a",
        "symlink /escape/dangling /not/there",
        "symlink /escape/file /etc/os-release",
    ]);
    for links in 0..45 {
        let target = if links == 0 {
            "/etc".to_owned()
        } else {
            format!("chain{}", links - 1)
        };
        image.debugfs(&[&format!("symlink /escape/chain{links} {target}")]);
    }
    image
}

#[test]
fn a_link_in_place_of_the_file_is_replaced_not_followed() {
    if !ready() {
        return;
    }
    let image = hostile();
    let edited = image.edited(|filesystem| {
        filesystem.write_file("/cc_growpart_keydata", b"mine", 0o600)?;
        filesystem.write_file("/etc/cloud/cloud.cfg.d/99_x.cfg", b"mine too", 0o644)?;
        filesystem.write_file("/escape/loop", b"no loop", 0o644)
    });
    edited.assert_clean();
    assert_eq!(edited.cat("/cc_growpart_keydata"), b"mine");
    assert_eq!(edited.cat("/etc/cloud/cloud.cfg.d/99_x.cfg"), b"mine too");
    assert_eq!(edited.cat("/escape/loop"), b"no loop");
    assert_eq!(edited.cat("/etc/os-release"), b"ID=test\n");
}

#[test]
fn links_on_the_way_are_followed_within_the_image() {
    if !ready() {
        return;
    }
    let image = hostile();
    let edited = image.edited(|filesystem| {
        filesystem.write_file("/escape/abs/one", b"1", 0o644)?;
        filesystem.write_file("/escape/up/etc/two", b"2", 0o644)?;
        filesystem.write_file("/../../escape/chain39/three", b"3", 0o644)?;
        filesystem.write_file("/bin/four", b"4", 0o755)?;
        filesystem.write_file("escape/abs/../five", b"5", 0o644)
    });
    edited.assert_clean();
    for (path, bytes) in [
        ("/etc/one", b"1"),
        ("/etc/two", b"2"),
        ("/etc/three", b"3"),
        ("/usr/bin/four", b"4"),
    ] {
        assert_eq!(edited.cat(path), bytes, "{path}");
    }
    // As the kernel has it: `..` of what a link led to.
    assert_eq!(edited.cat("/five"), b"5");
}

#[test]
fn links_that_lead_nowhere_or_in_circles_end_in_an_error() {
    if !ready() {
        return;
    }
    let image = hostile();
    let overlay = Overlay::new(image.storage());
    let filesystem = Filesystem::open(&overlay, NOW).unwrap();
    let read = |path: &str| filesystem.read_file(path, 100).unwrap_err().to_string();
    assert_eq!(
        read("/escape/loop"),
        "/escape/loop leads through more than 40 symbolic links"
    );
    assert_eq!(
        read("/escape/a/b"),
        "/escape/a/b leads through more than 40 symbolic links"
    );
    assert_eq!(read("/escape/dangling"), "/escape/dangling is not there");
    assert_eq!(read("/escape/chain39"), "/escape/chain39 is a directory");
    assert_eq!(
        read("/escape/chain40/os-release"),
        "/escape/chain40/os-release leads through more than 40 symbolic links"
    );
    assert_eq!(
        filesystem
            .read_file("/escape/chain39/os-release", 8)
            .unwrap(),
        b"ID=test\n"
    );
    assert_eq!(
        filesystem.read_file("/escape/file", 8).unwrap(),
        b"ID=test\n"
    );
    assert_eq!(read("/escape/file/x"), "/escape/file/x is not a directory");
    assert_eq!(read("/escape/file/"), "/escape/file/ is not a directory");
    let dangling = filesystem
        .write_file("/escape/dangling/x", b"", 0o644)
        .unwrap_err();
    assert_eq!(dangling.to_string(), "/escape/dangling/ is not there");
    // Refusals before the first write leave the handle as it was.
    filesystem.close().unwrap();
    assert_eq!(overlay.changed_bytes(), 0);
}

#[test]
fn what_cannot_be_written_is_refused_with_its_reason() {
    if !ready() {
        return;
    }
    let image = hostile();
    let overlay = Overlay::new(image.storage());
    let filesystem = Filesystem::open(&overlay, NOW).unwrap();
    let message = |result: Result<(), Error>| result.unwrap_err().to_string();
    assert_eq!(
        message(filesystem.write_file("/etc/cloud", b"", 0o644)),
        "/etc/cloud is a directory"
    );
    assert_eq!(
        message(filesystem.symlink("/etc/cloud", "x")),
        "/etc/cloud is a directory"
    );
    assert_eq!(
        message(filesystem.mkdir("/etc/cloud")),
        "/etc/cloud is there already"
    );
    assert_eq!(
        message(filesystem.mkdir("/escape/loop")),
        "/escape/loop is there already"
    );
    assert_eq!(
        message(filesystem.mkdir("/etc/..")),
        "/etc/.. cannot name a file: a name is 1 to 255 bytes without NUL, and neither . nor .."
    );
    assert_eq!(
        message(filesystem.symlink("/etc/x", "")),
        "a symbolic link's target is 1 to 1023 bytes without NUL, /etc/x would get 0"
    );
    assert_eq!(
        message(filesystem.symlink("/etc/x", "y".repeat(1024))),
        "a symbolic link's target is 1 to 1023 bytes without NUL, /etc/x would get 1024"
    );
    assert_eq!(
        message(filesystem.write_file("/etc/os-release/x", b"", 0o644)),
        "/etc/os-release/ is not a directory"
    );
    let read = |path: &str, limit| filesystem.read_file(path, limit).unwrap_err().to_string();
    assert_eq!(
        read("/etc/os-release", 7),
        "/etc/os-release has 8 bytes, more than the 7 that are read of it"
    );
    assert_eq!(
        filesystem.read_link("/etc").unwrap_err().to_string(),
        "/etc is not a symbolic link"
    );
    assert_eq!(
        filesystem
            .list_dir("/etc/os-release")
            .unwrap_err()
            .to_string(),
        "/etc/os-release is not a directory"
    );
    filesystem.close().unwrap();
    assert_eq!(overlay.changed_bytes(), 0);
}

#[test]
fn directories_with_rules_of_their_own_are_refused_or_warned_about() {
    if !ready() {
        return;
    }
    let image = image(
        &[
            "-t",
            "ext4",
            "-O",
            "casefold,encrypt",
            "-E",
            "encoding=utf8",
        ],
        "16M",
    );
    // Flags: extents 0x80000, casefold 0x40000000, encrypted 0x800. The ACL: version 1, rwx for the owner.
    image.debugfs(&[
        "set_inode_field /etc/cloud flags 0x40080000",
        "set_inode_field /home/a flags 0x80800",
        "ea_set /usr/bin system.posix_acl_default \\002\\000\\000\\000\\001\\000\\007\\000\\377\\377\\377\\377",
    ]);
    let overlay = Overlay::new(image.storage());
    let filesystem = Filesystem::open(&overlay, NOW).unwrap();
    let message = |result: Result<(), Error>| result.unwrap_err().to_string();
    assert_eq!(
        message(filesystem.write_file("/etc/cloud/x", b"", 0o644)),
        "the directory /etc/cloud/ ignores case (casefold), no file can be put there from outside"
    );
    assert_eq!(
        message(filesystem.write_file("/home/a/x", b"", 0o644)),
        "/home/a/ is encrypted by the filesystem and cannot be used without its key"
    );
    assert_eq!(
        filesystem.metadata("/etc/cloud").unwrap().unwrap().kind,
        Kind::Directory
    );
    filesystem.write_file("/usr/bin/x", b"", 0o644).unwrap();
    filesystem.write_file("/usr/bin/y", b"", 0o644).unwrap();
    let directory = "/usr/bin/".to_owned();
    assert_eq!(filesystem.warnings(), [Warning::DefaultAcl { directory }]);
    assert_eq!(
        filesystem.warnings()[0].to_string(),
        "the directory /usr/bin/ has a default ACL, which what is written there does not inherit"
    );
    filesystem.close().unwrap();
}

#[test]
fn a_directory_with_links_enough_takes_no_other() {
    if !ready() {
        return;
    }
    let image = image(&["-t", "ext4"], "16M");
    image.debugfs(&["set_inode_field /home links_count 64998"]);
    let overlay = Overlay::new(image.storage());
    let filesystem = Filesystem::open(&overlay, NOW).unwrap();
    assert_eq!(
        filesystem.mkdir("/home/b").unwrap_err().to_string(),
        "the directory /home/ has 64998 links and takes no further directory"
    );
}

#[test]
fn missing_directories_are_made_on_the_way() {
    if !ready() {
        return;
    }
    let edited = image(&["-t", "ext4"], "16M").edited(|filesystem| {
        filesystem.create_dir_all("/etc/systemd/system")?;
        filesystem.create_dir_all("/bin/new/deep//er")?;
        filesystem.create_dir_all("opt")?;
        filesystem.write_file("/bin/new/deep/er/x", b"x", 0o644)
    });
    edited.assert_clean();
    assert_eq!(edited.cat("/usr/bin/new/deep/er/x"), b"x");
    assert!(edited.stat("/opt").contains("Mode:  0755"));
}
