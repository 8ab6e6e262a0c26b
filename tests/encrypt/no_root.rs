//! A filesystem that nothing boots from is no root, whatever its partition's type: where the root is a volume of LVM, an
//! ext4 `/boot` is the only candidate.

use std::path::Path;

use crate::refusal::sgdisk;
use crate::support::image::{ESP_GUID, ROOT, ROOT_GUID, Shape, change_partition, image};
use crate::support::workshop::{Workshop, refused, state};
use crate::support::{command, exits, run, scratch};

/// `source.img`, whose root has these directories at its top.
fn with_root_of(folders: &[&str]) -> Workshop {
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    change_partition(&source, &image(Shape::Tiny).table, ROOT, |root| {
        make(root, folders);
    });
    workshop
}

fn make(root: &Path, folders: &[&str]) {
    let tree = scratch();
    for folder in folders {
        std::fs::create_dir(tree.path().join(folder)).unwrap();
    }
    let mut mke2fs = command("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "1024", "-J", "size=1"]);
    run(mke2fs.arg("-d").arg(tree.path()).arg(root));
}

const BOOT: [&str; 4] = ["grub2", "efi", "loader", "extlinux"];
const NO_ROOT: &str = "error: source.img: partition 1 is no root: its filesystem has neither /etc nor /usr, as a /boot has";
const NAME_IT: &str = "hint: name the root: --root-partition-uuid GUID --efi-partition-uuid GUID\n";

#[test]
fn a_boot_partition_is_never_encrypted_as_the_root() {
    if !crate::can_judge() {
        return;
    }
    let named = [
        "--root-partition-uuid",
        ROOT_GUID,
        "--efi-partition-uuid",
        ESP_GUID,
    ];
    let workshop = with_root_of(&BOOT);
    let before = state(&workshop.path("source.img"));
    let to = ["-o", "output.img", "source.img"];
    for arguments in [
        to.to_vec(),
        [&["--make-room", "shrink"], &to[..]].concat(),
        [&["--profile", "generic", "--grow-root"], &to[..]].concat(),
        [&named[..], &to].concat(),
        vec!["--in-place", "source.img"],
        vec!["--dry-run", "-o", "output.img", "source.img"],
    ] {
        let message = refused(workshop.encrypt().args(&arguments));
        assert_eq!(message, format!("{NO_ROOT}\n{NAME_IT}"), "{arguments:?}");
        assert_eq!(state(&workshop.path("source.img")), before);
        assert_eq!(workshop.names(), ["source.img"]);
    }
}

#[test]
fn where_a_volume_of_lvm_is_it_is_named() {
    if !crate::can_judge() {
        return;
    }
    let workshop = with_root_of(&BOOT);
    sgdisk(&workshop.path("source.img"), &["-t", "14:8e00"]);
    let to = ["--make-room", "shrink", "-o", "output.img", "source.img"];
    assert_eq!(
        refused(workshop.encrypt().args(to)),
        format!(
            "{NO_ROOT}; the root may be a volume of LVM in partition 14, which is not read\n\
             hint: take an image whose root is a partition of its own, as those for confidential VMs are\n"
        )
    );
    assert_eq!(workshop.names(), ["source.img"]);
}

/// `/usr` on a partition of its own, an `/etc` that is made at boot, and a root of ostree, which has both in its deployments.
#[test]
fn roots_that_lack_one_of_both_are_taken() {
    if !crate::can_judge() {
        return;
    }
    for folders in [&["etc"][..], &["usr"], &["ostree", "boot"]] {
        let workshop = with_root_of(folders);
        let to = ["-o", "output.img", "source.img"];
        exits(workshop.encrypt().args(to), 0);
    }
}
