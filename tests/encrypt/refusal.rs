//! Images that are refused: with their whole message, as a plan too, before anything is written.

use std::path::Path;

use crate::support::image::{ROOT, Shape, change_partition, image};
use crate::support::root::debugfs;
use crate::support::workshop::{Workshop, refused, state};
use crate::support::{command, exits, files};

/// A Tiny image, changed, must be refused with this message.
#[track_caller]
pub fn refuses(options: &[&str], change: impl FnOnce(&Path), message: &str) {
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    change(&source);
    let before = state(&source);
    let arguments = [options, &["-o", "output.img", "source.img"]].concat();
    assert_eq!(refused(workshop.encrypt().args(&arguments)), message);
    // A plan is refused for the same reasons.
    assert_eq!(
        refused(workshop.encrypt().arg("--dry-run").args(&arguments)),
        message
    );
    assert_eq!(state(&source), before);
    assert_eq!(workshop.names(), ["source.img"]);
}

/// The same for a change of the root partition.
#[track_caller]
pub fn refuses_root(change: impl FnOnce(&Path), message: &str) {
    let table = &image(Shape::Tiny).table;
    refuses(
        &[],
        |source| change_partition(source, table, ROOT, change),
        message,
    );
}

/// The same for commands of debugfs.
#[track_caller]
pub fn refuses_edited(script: &str, message: &str) {
    refuses_root(|root| drop(debugfs(root, script)), message);
}

pub fn mend() -> String {
    let partition = &image(Shape::Tiny).table.partitions[&ROOT];
    let (start, count) = (
        partition.first_lba,
        partition.last_lba + 1 - partition.first_lba,
    );
    format!(
        "hint: mend a copy of the partition and put it back (e2fsck may exit with 0 or 1), or boot the image \
         once and shut it down:\n\
         hint: dd if=source.img of=root.ext4 bs=512 skip={start} count={count}\n\
         hint: e2fsck -fp root.ext4\n\
         hint: dd if=root.ext4 of=source.img bs=512 seek={start} conv=notrunc\n"
    )
}

pub fn sgdisk(file: &Path, arguments: &[&str]) {
    exits(command("sgdisk").args(arguments).arg(file), 0);
}

/// Changes the entries of both copies, with their checksums.
pub fn rewrite_table(source: &Path, change: impl Fn(&mut [u8])) {
    let sectors = files::open(source).1 / 512;
    for (header_lba, entries_lba) in [(1, 2), (sectors - 1, sectors - 33)] {
        let mut entries = files::read(source, entries_lba * 512, 128 * 128);
        entries.chunks_mut(128).for_each(&change);
        files::write(source, entries_lba * 512, &entries);
        let mut header = files::read(source, header_lba * 512, 92);
        header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        header[16..20].fill(0);
        let checksum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        files::write(source, header_lba * 512, &header);
    }
}
