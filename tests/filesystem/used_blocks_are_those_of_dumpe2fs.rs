//! What is called free is never read from the source: so it has to be free by the word of another program.

use std::collections::BTreeSet;

use base::storage::{Overlay, ReadAt};
use filesystem::ext4::{BlockBitmap, Filesystem};

use crate::ext4_image::{Image, NOW, image, ready};
use crate::support::{command, run};

/// The free blocks that dumpe2fs lists, and the size of a block.
fn free_blocks(image: &Image) -> (BTreeSet<u64>, u64) {
    let report = run(command("dumpe2fs").arg(&image.path));
    let block_bytes = report
        .lines()
        .find_map(|line| line.strip_prefix("Block size:"))
        .map(|size| size.trim().parse::<u64>().unwrap())
        .unwrap();
    // With bigalloc it names clusters, each by its first block.
    let cluster: u64 = report
        .lines()
        .find_map(|line| line.strip_prefix("Cluster size:"))
        .map_or(1, |size| size.trim().parse::<u64>().unwrap() / block_bytes);
    let free = report
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("Free blocks: "))
        .flat_map(|list| list.split(", "))
        .filter(|range| !range.trim().is_empty())
        .flat_map(|range| {
            let (first, last) = range
                .trim()
                .split_once('-')
                .unwrap_or((range.trim(), range.trim()));
            first.parse::<u64>().unwrap()..last.parse::<u64>().unwrap() + cluster
        })
        .collect();
    (free, block_bytes)
}

fn used_blocks(map: &BlockBitmap, block_bytes: u64) -> BTreeSet<u64> {
    let mut used = BTreeSet::new();
    let mut from = 0;
    while let Some(range) = map.next_used(from) {
        assert!(range.start >= from && range.end > range.start);
        used.extend(range.start / block_bytes..range.end.div_ceil(block_bytes));
        from = range.end;
    }
    used
}

#[track_caller]
fn check(arguments: &[&str], size: &str) {
    if !ready() {
        return;
    }
    let image = image(arguments, size);
    let overlay = Overlay::new(image.storage());
    let filesystem = Filesystem::open(&overlay, NOW).unwrap();
    let before = filesystem.used_blocks().unwrap();
    filesystem
        .write_file("/etc/new", &vec![7; 500_000], 0o644)
        .unwrap();
    let after = filesystem.used_blocks().unwrap();
    filesystem.close().unwrap();
    assert!(after.used_bytes() - before.used_bytes() >= 500_000);

    let edited =
        image.edited(|filesystem| filesystem.write_file("/etc/new", &vec![7; 500_000], 0o644));
    for (image, map) in [(&image, before), (&edited, after)] {
        let (free, block_bytes) = free_blocks(image);
        let all: BTreeSet<u64> = (0..map.len_bytes() / block_bytes).collect();
        let used: BTreeSet<u64> = all.difference(&free).copied().collect();
        let ours = used_blocks(&map, block_bytes);
        let differ: Vec<_> = ours.symmetric_difference(&used).take(10).collect();
        assert!(differ.is_empty(), "{differ:?}");
        assert_eq!(
            map.len_bytes(),
            image.storage().len_bytes() / block_bytes * block_bytes
        );
    }
}

#[test]
fn with_blocks_of_4_kib_and_uninitialised_groups() {
    check(&["-t", "ext4"], "300M");
}

#[test]
fn with_blocks_of_1_kib_whose_first_block_is_the_second() {
    check(&["-t", "ext4", "-b", "1024"], "20001K");
}

#[test]
fn with_clusters_of_16_blocks() {
    check(&["-t", "ext4", "-O", "bigalloc", "-C", "65536"], "64M");
}

#[test]
fn with_blocks_of_1_kib_in_clusters() {
    check(
        &["-t", "ext4", "-b", "1024", "-O", "bigalloc", "-C", "16384"],
        "32M",
    );
}

#[test]
fn as_ext2_without_group_checksums() {
    check(&["-t", "ext2"], "64M");
}

#[test]
fn an_unclean_bitmap_is_not_believed() {
    if !ready() {
        return;
    }
    let image = image(&["-t", "ext4"], "16M");
    image.debugfs(&["set_super_value state 0"]);
    let storage = image.storage();
    let filesystem = Filesystem::open_read_only(&storage).unwrap();
    assert_eq!(
        filesystem.read_file("/etc/os-release", 100).unwrap(),
        b"ID=test\n"
    );
    assert_eq!(
        filesystem.used_blocks().unwrap_err().to_string(),
        "the ext4 filesystem was not unmounted cleanly (state 0x0)"
    );
}

#[test]
fn the_map_of_30_gib_is_small() {
    if !ready() {
        return;
    }
    let image = image(&["-t", "ext4"], "30G");
    let storage = image.storage();
    let filesystem = Filesystem::open_read_only(&storage).unwrap();
    let map = filesystem.used_blocks().unwrap();
    assert_eq!(map.len_bytes(), 30 << 30);
    assert!(map.used_bytes() < 1 << 30);
}
