//! `--free-space skip`: what the filesystem does not use is a hole, what it uses is as ever; `encrypt` hides which is which.

use std::os::unix::fs::MetadataExt;

use crate::can_judge;
use crate::conversion::{Conversion, Converted};
use crate::oracle::Choice;
use crate::support::files;
use crate::support::image::{ROOT, Shape};

const HEADER_BYTES: u64 = 16 << 20;

/// Blocks of file systems for files.
const PAGE: u64 = 4096;

/// Encrypts, judges used files and all else, and returns that with the output's free ranges: whole pages of the file.
fn skip(shape: Shape, choice: Choice) -> (Converted, Vec<std::ops::Range<u64>>) {
    let converted = Conversion::new(shape, choice)
        .with(&["--free-space", "skip"], |expected| {
            expected.skips_free = true;
        })
        .run();
    let judged = &converted.judged;
    let start = judged.table.byte_range(ROOT).start + HEADER_BYTES;
    let tree = &judged.tree;
    let free = tree
        .free_blocks
        .iter()
        .map(|blocks| {
            let bytes = blocks.start * tree.block_bytes..blocks.end * tree.block_bytes;
            (start + bytes.start).next_multiple_of(PAGE)..(start + bytes.end) / PAGE * PAGE
        })
        .filter(|range| range.start < range.end)
        .collect();
    (converted, free)
}

#[track_caller]
fn free_blocks_are_holes(shape: Shape, choice: Choice) {
    if !can_judge() {
        return;
    }
    let (converted, free) = skip(shape, choice);
    let (file, len_bytes) = files::open(&converted.image);
    let mut free_bytes = 0;
    for range in free {
        free_bytes += range.end - range.start;
        let data = files::data_ranges(&file, range.clone());
        assert!(data.is_empty(), "{range:?} holds {data:?}");
    }
    assert!(free_bytes > 2 << 20, "{free_bytes} bytes are free");
    let taken_bytes = file.metadata().unwrap().blocks() * 512;
    assert!(
        taken_bytes <= len_bytes - free_bytes + (1 << 20),
        "{taken_bytes} of {len_bytes}, {free_bytes} are free"
    );
}

#[test]
fn free_blocks_of_a_stock_image_are_holes() {
    free_blocks_are_holes(Shape::Stock, Choice::default());
}

#[test]
fn free_blocks_are_holes_where_sectors_and_blocks_have_other_sizes() {
    free_blocks_are_holes(Shape::SmallBlocks, Choice::default());
    free_blocks_are_holes(Shape::LargeSectors, Choice::default());
}

#[test]
fn free_blocks_are_holes_in_a_vhd_of_a_shrunk_filesystem() {
    if !can_judge() {
        return;
    }
    // Shrunk, it has few of them; what matters is that all that is used is there.
    let shrunk = Choice {
        make_room: "shrink",
        to_vhd: true,
        ..Choice::default()
    };
    let (converted, free) = skip(Shape::Followed, shrunk);
    let file = files::open(&converted.image).0;
    for range in free {
        assert!(files::data_ranges(&file, range).is_empty());
    }
}

#[test]
fn without_it_every_block_of_the_root_is_written() {
    if !can_judge() {
        return;
    }
    let converted = Conversion::new(Shape::Stock, Choice::default()).run();
    let (file, _) = files::open(&converted.image);
    let root = converted.judged.table.byte_range(ROOT);
    let root = root.start.next_multiple_of(PAGE)..root.end / PAGE * PAGE;
    let data = files::data_ranges(&file, root.clone());
    let data_bytes: u64 = data.iter().map(|range| range.end - range.start).sum();
    assert_eq!(data_bytes, root.end - root.start);
}
