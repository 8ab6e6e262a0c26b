//! What is written into the root filesystem, exactly; everything else in it stays.

use std::path::Path;

use crate::conversion::Conversion;
use crate::oracle::Choice;
use crate::support::ext4::{self, Change, Content};
use crate::support::image::{ROOT, Shape, change_partition, image};
use crate::support::judge::{self, MASKED};
use crate::support::root::debugfs;
use crate::support::workshop::{Workshop, refused, stderr};
use crate::support::{exits, scratch};

/// Changes the root filesystem of an image.
fn edit_root(file: &Path, shape: Shape, script: &str) {
    change_partition(file, &image(shape).table, ROOT, |root| {
        debugfs(root, script);
        exits(crate::support::command("e2fsck").arg("-fn").arg(root), 0);
    });
}

/// Encrypts an edited Tiny image and returns the decrypted tree before and after, and the messages.
#[track_caller]
fn encrypt_edited(script: &str, options: &[&str]) -> (ext4::Tree, ext4::Tree, String) {
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    edit_root(&source, Shape::Tiny, script);
    let output = exits(
        workshop
            .encrypt()
            .args(options)
            .args(["-o", "output.img", "source.img"]),
        0,
    );
    let folder = scratch();
    let root = folder.path().join("root");
    judge::extract(&source, &image(Shape::Tiny).table, ROOT, &root);
    let before = ext4::read(&root);
    let file = workshop.path("output.img");
    let container =
        crate::support::container::Container::open(&file, &crate::support::disk::read(&file), ROOT);
    let plain = folder.path().join("plain");
    container.decrypt(&plain);
    ext4::check(&plain);
    (before, ext4::read(&plain), stderr(&output))
}

#[test]
fn datasources_are_one_line_in_flow_style() {
    if !crate::can_judge() {
        return;
    }
    Conversion::new(
        Shape::Stock,
        Choice {
            grow_root: true,
            ..Choice::default()
        },
    )
    .with(
        &["--override-datasources", "NoCloud,Azure,None"],
        |expected| {
            expected.datasources = Some("NoCloud, Azure, None");
        },
    )
    .run();
    Conversion::new(Shape::Tiny, Choice::default())
        .with(&["--override-datasources=ConfigDrive"], |expected| {
            expected.datasources = Some("ConfigDrive");
        })
        .run();
}

#[test]
fn files_that_are_there_already_are_replaced_by_new_inodes() {
    if !crate::can_judge() {
        return;
    }
    let script = "cd /etc/cloud/cloud.cfg.d\n\
                  symlink 99_datasources_override.cfg /etc/shadow\n\
                  ln 90_dpkg.cfg 99_disable_growpart.cfg\n\
                  set_inode_field 90_dpkg.cfg links_count 2\n";
    let options = ["--grow-root", "--override-datasources", "NoCloud"];
    let (before, after, _) = encrypt_edited(script, &options);
    let changes = [
        ("/etc/systemd/system", Change::Touched),
        (MASKED, Change::Link("/dev/null")),
        ("/etc/cloud/cloud.cfg.d", Change::Touched),
        (judge::DATASOURCES, Change::File(0o644)),
        (judge::GROWPART_OFF, Change::File(0o644)),
    ];
    let mut problems = ext4::differences(&before, &after, &changes, false);
    // The file that shared its inode with the replaced one keeps all but the count of its links.
    problems
        .retain(|problem| !problem.starts_with("hard links") && !problem.contains("\"Links: 2 "));
    assert_eq!(problems, [""; 0]);
}

#[test]
fn the_mask_is_kept_where_it_is_there_and_replaces_what_has_its_name() {
    if !crate::can_judge() {
        return;
    }
    let growpart = ["/", "/cc_growpart_keydata"];
    let made = [
        (growpart[0], Change::Touched),
        (growpart[1], Change::File(0o600)),
    ];
    let script = "cd /etc/systemd/system\nsymlink secureboot-db.service /dev/null\n";
    let (before, after, _) = encrypt_edited(script, &[]);
    assert_eq!(ext4::differences(&before, &after, &made, false), [""; 0]);
    let masked = [
        ("/etc/systemd/system", Change::Touched),
        (MASKED, Change::Link("/dev/null")),
    ];
    for script in [
        "cd /etc/systemd/system\nsymlink secureboot-db.service /lib/other\n",
        "cd /etc/systemd/system\nwrite /etc/passwd secureboot-db.service\n",
    ] {
        let (before, after, _) = encrypt_edited(script, &[]);
        let changes = [&made[..], &masked].concat();
        assert_eq!(
            ext4::differences(&before, &after, &changes, false),
            [""; 0],
            "{script}"
        );
    }
}

#[test]
fn a_missing_unit_folder_is_made() {
    if !crate::can_judge() {
        return;
    }
    let script =
        "rm /etc/systemd/system/some.service\nrmdir /etc/systemd/system\nrmdir /etc/systemd\n";
    let (before, after, _) = encrypt_edited(script, &[]);
    let changes = [
        ("/", Change::Touched),
        (judge::GROWPART_KEY, Change::File(0o600)),
        ("/etc", Change::Touched),
        ("/etc/systemd", Change::Directory),
        ("/etc/systemd/system", Change::Directory),
        (MASKED, Change::Link("/dev/null")),
    ];
    assert_eq!(ext4::differences(&before, &after, &changes, false), [""; 0]);
}

#[test]
fn missing_programs_of_the_guest_are_told() {
    if !crate::can_judge() {
        return;
    }
    let script = "rm /usr/sbin/cryptsetup\nrm /usr/bin/growpart\n";
    let (_, _, talk) = encrypt_edited(script, &[]);
    for program in ["cryptsetup", "growpart"] {
        let warning = format!(
            "warning: the image has no {program}: cloud-init cannot grow the encrypted root, and keyslot 10 stays\n"
        );
        assert!(talk.contains(&warning), "{talk}");
    }
    assert!(!talk.contains("no dmsetup"), "{talk}");
}

#[test]
fn datasources_for_an_image_without_cloud_init_are_refused() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Bare));
    let mut command = workshop.encrypt();
    command.args([
        "--override-datasources",
        "NoCloud",
        "-o",
        "output.img",
        "source.img",
    ]);
    assert_eq!(
        refused(&mut command),
        "error: source.img: --override-datasources: the image has no /etc/cloud/cloud.cfg.d, hence no \
         cloud-init to configure\n"
    );
    assert_eq!(workshop.names(), ["source.img"]);
}

/// A host file that an image's links point at, and the image.
struct Hostile {
    workshop: Workshop,
    host: std::path::PathBuf,
}

#[test]
fn links_of_the_image_lead_nowhere_outside_of_it() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let host = workshop.write("host-file", b"of the host");
    let folder = workshop.path("host-folder");
    workshop.command("mkdir").arg(&folder).status().unwrap();
    let hostile = Hostile { workshop, host };
    let source = hostile.workshop.source(image(Shape::Tiny));
    // The key's name, a folder on the way, and a way out by `..`, all to places that the host has.
    let script = format!(
        "cd /\nsymlink cc_growpart_keydata {}\n\
         rm /etc/systemd/system/some.service\nrmdir /etc/systemd/system\ncd /etc/systemd\nsymlink system {}\n\
         rm /etc/cloud/cloud.cfg.d/90_dpkg.cfg\nrmdir /etc/cloud/cloud.cfg.d\n\
         cd /etc/cloud\nsymlink cloud.cfg.d ../../../../../../../var/lib\n",
        hostile.host.display(),
        folder.display(),
    );
    edit_root(&source, Shape::Tiny, &script);
    let mut command = hostile.workshop.encrypt();
    command.args([
        "--override-datasources",
        "NoCloud",
        "-o",
        "output.img",
        "source.img",
    ]);
    // The unit's folder leads to one that the image does not have: it is an error or is made within the image.
    let output = command.output().unwrap();
    assert_eq!(std::fs::read(&hostile.host).unwrap(), b"of the host");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{}",
        stderr(&output)
    );

    // With the folder there, the same conversion works, within the image.
    let made: Vec<_> = folder
        .components()
        .skip(1)
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    let mut script = String::new();
    for length in 1..=made.len() {
        script.push_str(&format!("mkdir /{}\n", made[..length].join("/")));
    }
    edit_root(&source, Shape::Tiny, &script);
    exits(
        hostile.workshop.encrypt().args([
            "--overwrite",
            "--override-datasources",
            "NoCloud",
            "-o",
            "output.img",
            "source.img",
        ]),
        0,
    );
    let file = hostile.workshop.path("output.img");
    let container =
        crate::support::container::Container::open(&file, &crate::support::disk::read(&file), ROOT);
    let scratch = scratch();
    let plain = scratch.path().join("plain");
    container.decrypt(&plain);
    ext4::check(&plain);
    let tree = ext4::read(&plain);
    assert_eq!(std::fs::read(&hostile.host).unwrap(), b"of the host");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    let masked = format!("{}/secureboot-db.service", folder.display());
    assert_eq!(
        tree.entries[&masked].content,
        Content::Link(b"/dev/null".to_vec())
    );
    assert!(
        judge::small_file(&tree, "/var/lib/99_datasources_override.cfg").contains("[ NoCloud ]")
    );
    judge::growpart_key(&tree);
}

#[test]
fn a_chain_of_links_ends_after_forty() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    let mut script = String::from(
        "rm /etc/systemd/system/some.service\nrmdir /etc/systemd/system\ncd /etc/systemd\n",
    );
    script.push_str("symlink system /etc/systemd/system\n");
    edit_root(&source, Shape::Tiny, &script);
    let message = refused(workshop.encrypt().args(["-o", "output.img", "source.img"]));
    assert_eq!(
        message,
        "error: source.img: the root filesystem: /etc/systemd/system leads through more than 40 symbolic links\n"
    );
}
