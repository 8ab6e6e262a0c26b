//! The library is C and trusts its image. Images that lie end in a typed error, or work; never in a crash.

use std::sync::OnceLock;

use base::storage::{MemoryStorage, Overlay, ReadAt, WriteAt};
use filesystem::ext4::Filesystem;
use proptest::prelude::*;

use crate::ext4_image::{NOW, crc32c, image, ready};

/// Small images: their bytes are in memory.
fn images() -> &'static [Vec<u8>] {
    static IMAGES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let kinds: [&[&str]; 4] = [
            &["-t", "ext4", "-b", "1024", "-O", "^has_journal"],
            &[
                "-t",
                "ext4",
                "-b",
                "1024",
                "-O",
                "^has_journal,^metadata_csum,inline_data",
                "-I",
                "256",
            ],
            &["-t", "ext2", "-b", "1024"],
            &[
                "-t",
                "ext4",
                "-b",
                "1024",
                "-O",
                "^has_journal,^metadata_csum,bigalloc",
                "-C",
                "4096",
            ],
        ];
        kinds
            .iter()
            .map(|kind| {
                let storage = image(kind, "3M").storage();
                let len = usize::try_from(storage.len_bytes()).unwrap();
                storage.read_vec(0, len).unwrap()
            })
            .collect()
    })
}

/// The offsets of bytes behind the superblock that say something: not zero, and not in a file's blocks.
fn structures() -> &'static [Vec<usize>] {
    static OFFSETS: OnceLock<Vec<Vec<usize>>> = OnceLock::new();
    OFFSETS.get_or_init(|| {
        let offsets = |bytes: &Vec<u8>| {
            let block_says = |block: &[u8]| block.iter().filter(|byte| **byte != 0).count() < 900;
            (2..bytes.len() / 1024 - 1)
                .filter(|number| block_says(&bytes[number * 1024..][..1024]))
                .flat_map(|number| number * 1024..(number + 1) * 1024)
                .filter(|offset| bytes[*offset] != 0)
                .collect()
        };
        images().iter().map(offsets).collect()
    })
}

/// Everything that we do with an image. An error is an answer as good as success.
fn use_it(bytes: &[u8]) {
    let storage = MemoryStorage::new(bytes.to_vec());
    if let Ok(filesystem) = Filesystem::open_read_only(&storage) {
        let _ = filesystem.list_dir("/");
        let _ = filesystem.read_file("/usr/bin/program", 1 << 20);
        let _ = filesystem.read_link("/home/a/long-link");
        let _ = filesystem.used_blocks().map(|map| map.used_bytes());
    }
    let overlay = Overlay::new(&storage);
    let Ok(filesystem) = Filesystem::open(&overlay, NOW) else {
        return;
    };
    let _ = filesystem.read_file("/etc/os-release", 100);
    let _ = filesystem.write_file("/usr/bin/program", &[7; 3000], 0o600);
    let _ = filesystem.symlink("/etc/systemd/system/x.service", "/dev/null");
    let _ = filesystem.mkdir("/etc/new");
    let _ = filesystem.used_blocks().map(|map| map.used_bytes());
    let _ = filesystem.close();
}

fn fix_checksum(bytes: &mut [u8]) {
    let checksum = crc32c(&bytes[1024..2044]);
    bytes[2044..2048].copy_from_slice(&checksum.to_le_bytes());
}

/// Values that sit on edges.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u32::MAX),
        (0_u32..32).prop_map(|bit| 1 << bit),
        (0_u32..32).prop_map(|bit| (1 << bit) - 1),
        0_u32..70_000,
        any::<u32>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn superblocks_with_any_fields_are_refused_or_work(
        which in 0_usize..4,
        fields in prop::collection::vec((0_usize..0x290, number(), 1_usize..=4), 1..4),
    ) {
        if !ready() {
            return Ok(());
        }
        let mut bytes = images()[which].clone();
        for (offset, value, len) in fields {
            bytes[1024 + offset..1024 + offset + len].copy_from_slice(&value.to_le_bytes()[..len]);
        }
        fix_checksum(&mut bytes);
        use_it(&bytes);
    }

    #[test]
    fn images_with_any_damage_behind_the_superblock_are_refused_or_work(
        which in 1_usize..4,
        damage in prop::collection::vec((any::<prop::sample::Index>(), number(), 1_usize..=4), 1..12),
        sown in prop::collection::vec((2048_usize..600_000, number()), 0..10),
    ) {
        if !ready() {
            return Ok(());
        }
        let mut bytes = images()[which].clone();
        let structures = &structures()[which];
        for (index, value, len) in damage {
            let offset = *index.get(structures);
            bytes[offset..offset + len].copy_from_slice(&value.to_le_bytes()[..len]);
        }
        for (offset, value) in sown {
            bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        }
        use_it(&bytes);
    }
}

#[test]
fn a_storage_in_memory_is_written_like_any_other() {
    if !ready() {
        return;
    }
    let storage = MemoryStorage::new(images()[0].clone());
    let filesystem = Filesystem::open(&storage, NOW).unwrap();
    filesystem.write_file("/etc/new", b"x", 0o644).unwrap();
    filesystem.close().unwrap();
    storage.flush().unwrap();
    let filesystem = Filesystem::open_read_only(&storage).unwrap();
    assert_eq!(filesystem.read_file("/etc/new", 1).unwrap(), b"x");
}
