//! Without `--output` the source is converted through an unnamed file and replaced in one step.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::oracle::{Choice, expect};
use crate::support::exits;
use crate::support::image::{Shape, image};
use crate::support::judge::judge;
use crate::support::workshop::{Workshop, refused, state, stderr};

#[test]
fn the_source_is_replaced_by_the_encrypted_image() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Stock));
    let inode = source.metadata().unwrap().ino();
    std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = exits(workshop.encrypt().arg("source.img"), 0);
    assert_eq!(workshop.names(), ["source.img"]);
    let metadata = source.metadata().unwrap();
    assert_ne!(metadata.ino(), inode);
    // The mode of the source, without group and others: the file holds its own key now.
    assert_eq!(metadata.mode() & 0o7777, 0o600);
    assert!(
        stderr(&output).contains("mode"),
        "the change of the mode is told: {}",
        stderr(&output)
    );
    judge(
        image(Shape::Stock),
        &source,
        &expect(image(Shape::Stock), Choice::default()).unwrap(),
    );
}

#[test]
fn a_vhd_stays_a_vhd_and_a_mode_without_group_and_others_stays() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.put(image(Shape::Demo).vhd(), "source.vhd");
    std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o700)).unwrap();
    let output = exits(workshop.encrypt().arg("source.vhd"), 0);
    assert_eq!(source.metadata().unwrap().mode() & 0o7777, 0o700);
    assert!(!stderr(&output).contains("mode"), "{}", stderr(&output));
    let choice = Choice {
        from_vhd: true,
        to_vhd: true,
        ..Choice::default()
    };
    judge(
        image(Shape::Demo),
        &source,
        &expect(image(Shape::Demo), choice).unwrap(),
    );
}

#[test]
fn a_link_to_the_source_stays_and_what_it_leads_to_is_replaced() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    let before = state(&source);
    symlink("source.img", workshop.path("link")).unwrap();
    exits(workshop.encrypt().arg("link"), 0);
    assert!(workshop.path("link").is_symlink());
    assert_ne!(state(&source), before);
    assert_eq!(workshop.names(), ["link", "source.img"]);
}

#[test]
fn an_image_is_encrypted_once() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    exits(workshop.encrypt().arg("source.img"), 0);
    let before = state(&source);
    let message = refused(workshop.encrypt().arg("source.img"));
    assert_eq!(
        message,
        "error: source.img: the root partition is already encrypted by this program, and not deployed yet\n\
         hint: an image is encrypted once; deploy binds it to a guest\n"
    );
    assert_eq!(state(&source), before);
    assert_eq!(workshop.names(), ["source.img"]);
}

#[test]
fn a_source_that_another_program_works_with_is_left_alone() {
    use rustix::fs::{FlockOperation, flock};
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    let before = state(&source);
    let file = std::fs::File::open(&source).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    let message = "error: source.img: the file is locked: another program works with it\n";
    assert_eq!(refused(workshop.encrypt().arg("source.img")), message);
    assert_eq!(
        refused(workshop.encrypt().args(["-o", "output.img", "source.img"])),
        message
    );
    // Several may read it, and nobody may replace it meanwhile.
    flock(&file, FlockOperation::LockShared).unwrap();
    assert_eq!(refused(workshop.encrypt().arg("source.img")), message);
    assert_eq!(state(&source), before);
    exits(
        workshop.encrypt().args(["-o", "output.img", "source.img"]),
        0,
    );
}
