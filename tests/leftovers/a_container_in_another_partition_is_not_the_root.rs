//! A disk held an encrypted image, and what is on it now has, where that one's root was, another partition. The
//! container there is never taken for the root, and nothing is sealed to it.

use crate::past::{BINDING, Past, Root, ready};
use crate::support::disk::{self, Disk};
use crate::support::workshop::give_away;
use crate::support::{command, exits, files, run};

const MIB: u64 = 1 << 20;
/// Types of partitions that are no root: LVM, swap, home, Microsoft's data, BIOS boot.
const TYPES: [&str; 5] = ["8E00", "8200", "8302", "0700", "EF02"];

/// A folder with `disk.img`: the disk `image` with one partition more, of this type, which holds the old container.
fn beside(past: &Past, image: &str, kind: &str) {
    let old = past.workshop.path("old.img");
    if !old.exists() {
        std::fs::rename(&past.disk, &old).unwrap();
    }
    let _ = std::fs::remove_file(&past.disk);
    std::fs::copy(past.workshop.path(image), &past.disk).unwrap();
    files::open_to_write(&past.disk).set_len(128 * MIB).unwrap();
    run(command("sgdisk").arg("-e").arg(&past.disk));
    run(command("sgdisk")
        .arg("--new=3:64M:+56M")
        .arg(format!("--typecode=3:{kind}"))
        .arg(&past.disk));
    let root = disk::read(&old).byte_range(2);
    let (from, _) = files::open(&old);
    files::copy(&from, root, &files::open_to_write(&past.disk), 64 * MIB);
    give_away(&past.disk);
}

fn guids(disk: &Disk, root: u32) -> [String; 2] {
    let guid = |number| disk.partitions[&number].unique_guid();
    [
        format!("--root-partition-uuid={}", guid(root)),
        format!("--efi-partition-uuid={}", guid(1)),
    ]
}

#[test]
fn beside_a_plain_root() {
    if !ready() {
        return;
    }
    let past = Past::encrypted(Root::Free);
    let deploy = [&BINDING[..], &["disk.img"]].concat();
    for kind in TYPES {
        beside(&past, "plain.img", kind);
        assert_eq!(
            past.refused("deploy", &deploy),
            "error: disk.img: partition 3 holds a container, and the root is partition 2 by its type, which holds none: the container may be left over from what the disk was before\n\
             hint: encrypt the root first: encrypt-cloud-image encrypt; or, where the container is the root, name both partitions: --root-partition-uuid GUID --efi-partition-uuid GUID\n"
        );
        let inspect = exits(&mut past.command("inspect", &["disk.img"]), 0);
        let told = String::from_utf8(inspect.stdout).unwrap();
        assert!(told.contains("plain: the root is not encrypted"), "{told}");
        assert_eq!(
            String::from_utf8(inspect.stderr).unwrap(),
            "warning: partition 3 holds a container, and the root is partition 2 by its type, which holds none: the container may be left over from what the disk was before\n"
        );
    }
    let warning = "warning: partition 3 holds a container of encrypt as well, which may be left over from what the disk was before: a guest may take it for its root\n";
    let provision = [&BINDING[..], &["-o", "guest.img", "disk.img"]].concat();
    for (name, arguments, output) in [
        (
            "encrypt",
            &["-o", "output.img", "disk.img"][..],
            "output.img",
        ),
        ("provision", &provision, "guest.img"),
        ("encrypt", &["--in-place", "disk.img"], "disk.img"),
    ] {
        let said = past.run(name, arguments);
        assert!(said.contains(warning), "{name}: {said}");
        if name == "encrypt" {
            past.decrypted(output);
        }
    }
    // Whoever names the root gets it.
    let named = guids(&disk::read(&past.disk), 2);
    let deploy = [&[&*named[0], &*named[1]], &deploy[..]].concat();
    past.run("deploy", &deploy);
    let output = exits(
        &mut past.command("inspect", &[&*named[0], &*named[1], "disk.img"]),
        0,
    );
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("\nstate         deployed"), "{told}");
}

#[test]
fn beside_an_encrypted_root() {
    if !ready() {
        return;
    }
    let past = Past::encrypted(Root::Free);
    past.run("encrypt", &["-o", "encrypted.img", "plain.img"]);
    let deploy = [&BINDING[..], &["disk.img"]].concat();
    let several = "error: disk.img: several partitions hold a container to deploy: 2, 3\n\
                   hint: name both partitions: --root-partition-uuid GUID --efi-partition-uuid GUID\n";
    for kind in TYPES {
        beside(&past, "encrypted.img", kind);
        assert_eq!(past.refused("deploy", &deploy), several);
        assert_eq!(past.refused("inspect", &["disk.img"]), several);
    }
    let named = guids(&disk::read(&past.disk), 2);
    let named = [&*named[0], &*named[1]];
    past.run("deploy", &[&named[..], &deploy].concat());
    // Once it is deployed, the old container is still not what is meant.
    assert_eq!(past.refused("deploy", &deploy), several);
    assert_eq!(past.refused("inspect", &["disk.img"]), several);
    let inspect = [&named[..], &["disk.img"]].concat();
    let output = exits(&mut past.command("inspect", &inspect), 0);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("deployed"), "{told}");
}

/// Where the types tell no root, `encrypt` asks for names, and so does `deploy`.
#[test]
fn in_a_second_partition_of_a_roots_type() {
    if !ready() {
        return;
    }
    let past = Past::encrypted(Root::Free);
    beside(&past, "plain.img", "8300");
    let deploy = [&BINDING[..], &["disk.img"]].concat();
    let said = past.refused("deploy", &deploy);
    assert!(
        said.starts_with("error: disk.img: several partitions could be the root partition: 2 ("),
        "{said}"
    );
    assert_eq!(
        past.refused("encrypt", &["-o", "output.img", "disk.img"]),
        said
    );
    let named = guids(&disk::read(&past.disk), 3);
    past.run("deploy", &[&[&*named[0], &*named[1]], &deploy[..]].concat());
}
