//! What the filesystem uses is read once; free blocks and holes are not read.

use std::ops::Range;

use crate::support::container::Container;
use crate::support::image::{ROOT, Shape, image};
use crate::support::trace::Trace;
use crate::support::workshop::{Workshop, stderr};
use crate::support::{disk, ext4, files, programs};

/// Metadata that are looked at while the run is planned: partition tables, superblock, group
/// descriptors, bitmaps, inodes, directories.
const PLANNING_BYTES: u64 = 1 << 20;

fn overlap(one: &Range<u64>, other: &Range<u64>) -> u64 {
    one.end
        .min(other.end)
        .saturating_sub(one.start.max(other.start))
}

#[test]
fn used_blocks_are_read_once_and_free_blocks_and_holes_never() {
    if !crate::can_judge() || !programs(&["strace"]) {
        return;
    }
    let source = image(Shape::Stock);
    let workshop = Workshop::new();
    let file = workshop.source(source);
    let arguments = ["encrypt", "-o", "output.img", "source.img"];
    let options = [
        "-s",
        "0",
        "-e",
        "trace=read,readv,pread64,preadv,preadv2,mmap",
    ];
    let (trace, output) = Trace::of(&workshop, &options, &workshop.program(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let reads = trace.reads(&file);
    let read_bytes =
        |range: &Range<u64>| reads.iter().map(|read| overlap(read, range)).sum::<u64>();

    let tree = source.tree();
    let root = source.table.byte_range(ROOT);
    let in_image = |range: &Range<u64>| {
        root.start + range.start * tree.block_bytes..root.start + range.end * tree.block_bytes
    };
    // Free in the output: the edits took some blocks.
    let encrypted = workshop.path("output.img");
    let plain = workshop.path("plain");
    Container::open(&encrypted, &disk::read(&encrypted), ROOT).decrypt(&plain);
    for range in &ext4::read(&plain).free_blocks {
        assert_eq!(read_bytes(&in_image(range)), 0, "free blocks {range:?}");
    }
    for name in ["/var/lib/large", "/usr/bin/sudo", "/var/lib/fragments/1"] {
        let places = &tree.entries[name].places;
        let extents = places.iter().find(|line| line.starts_with('(')).unwrap();
        for extent in extents.split(", ").filter(|extent| !extent.contains("ETB")) {
            let (_, blocks) = extent.split_once(':').unwrap();
            let (first, last) = blocks.split_once('-').unwrap_or((blocks, blocks));
            let range = in_image(&(first.parse().unwrap()..last.parse::<u64>().unwrap() + 1));
            // Blocks that are holes of the image file need not be read.
            let data: Vec<_> = files::data_ranges(&files::open(&file).0, range.clone());
            let data_bytes: u64 = data.iter().map(|data| overlap(data, &range)).sum();
            // At each place of a secondary LUKS2 header its magic number, 6 bytes, is looked for.
            let places = (14..=22).map(|power| root.start + (1 << power));
            let looked_at = 6 * places.filter(|place| range.contains(place)).count() as u64;
            let read = read_bytes(&range);
            assert_eq!(read, data_bytes + looked_at, "{name}, {extent}");
        }
    }
    let (opened, len_bytes) = files::open(&file);
    let data = files::data_ranges(&opened, 0..len_bytes);
    let data_bytes: u64 = data.iter().map(|range| range.end - range.start).sum();
    let free_bytes: u64 = tree
        .free_blocks
        .iter()
        .flat_map(|range| data.iter().map(|data| overlap(data, &in_image(range))))
        .sum();
    assert!(free_bytes > 1 << 20, "the source holds deleted data");
    let read: u64 = reads.iter().map(|range| range.end - range.start).sum();
    let needed = data_bytes - free_bytes;
    assert!(
        read <= needed + PLANNING_BYTES,
        "read {read} bytes, {needed} are used"
    );
    assert!(
        read >= needed - PLANNING_BYTES,
        "read {read} bytes, {needed} are used"
    );
}

#[test]
fn reads_are_told_apart_by_file_and_offset() {
    let trace = Trace::parse(
        "7 pread64(3</a/source.img>, \"\"..., 4096, 8192) = 4096\n\
         8 pread64(3</a/source.img>, <unfinished ...>\n\
         7 pread64(4</a/other>, \"\"..., 512, 0) = 512\n\
         8 <... pread64 resumed>\"\"..., 1000, 0) = 12\n",
    );
    assert_eq!(trace.reads("/a/source.img".as_ref()), [8192..12288, 0..12]);
}
