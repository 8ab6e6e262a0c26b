//! What is written into the root filesystem, exactly; everything else in it stays.

use crate::conversion::{Conversion, Edited, encrypt_edited};
use crate::oracle::Choice;
use crate::support::ext4::{self, Change};
use crate::support::image::{Shape, image};
use crate::support::judge::{self, MASKED};
use crate::support::workshop::{Workshop, refused};

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
    let Edited { before, after, .. } = encrypt_edited(script, &options);
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
    let Edited { before, after, .. } = encrypt_edited(script, &[]);
    assert_eq!(ext4::differences(&before, &after, &made, false), [""; 0]);
    let masked = [
        ("/etc/systemd/system", Change::Touched),
        (MASKED, Change::Link("/dev/null")),
    ];
    for script in [
        "cd /etc/systemd/system\nsymlink secureboot-db.service /lib/other\n",
        "cd /etc/systemd/system\nwrite /etc/passwd secureboot-db.service\n",
    ] {
        let Edited { before, after, .. } = encrypt_edited(script, &[]);
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
    let Edited { before, after, .. } = encrypt_edited(script, &[]);
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
    let Edited { talk, .. } = encrypt_edited(script, &[]);
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
