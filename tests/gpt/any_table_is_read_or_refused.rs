//! Whatever a header claims under a right checksum: no panic, and what is accepted is written consistently.

use base::storage::MemoryStorage;
use gpt::Table;
use proptest::prelude::*;

use crate::{Disk, support};

/// Values that sit at the edges of a disk of 2048 sectors, and any other.
fn edge() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![
        0_u64..70,
        1980_u64..2060,
        (0_u64..4).prop_map(|less| u64::MAX - less),
        Just(1 << 32),
        any::<u64>(),
    ]
}

#[test]
fn headers_and_entries_with_hostile_fields() {
    if !support::programs(&["sfdisk"]) {
        return;
    }
    let script = "label: gpt\nfirst-lba: 34\nstart=40, size=1000\nstart=1100, size=900\n";
    let whole = Disk::by_sfdisk(1 << 20, script);
    let field = (
        prop::sample::select(&[8_usize, 12, 24, 32, 40, 48, 72, 80, 84]),
        edge(),
    );
    let entry = (prop::sample::select(&[32_usize, 40]), edge());
    let strategy = (
        prop::collection::vec(field.clone(), 0..3),
        prop::collection::vec(field, 0..3),
        prop::option::of(entry),
        edge(),
    );
    let read = std::cell::Cell::new(0);
    proptest!(ProptestConfig::with_cases(2000), |((first, second, entry, sectors) in strategy)| {
        let mut disk = Disk::empty(0);
        disk.bytes.clone_from(&whole.bytes);
        if let Some((offset, value)) = entry {
            disk.put_in_entry(2, offset, &value.to_le_bytes());
        }
        for (header, fields) in [(512, first), (disk.backup(), second)] {
            for (offset, value) in fields {
                let len = if matches!(offset, 8 | 12 | 80 | 84) { 4 } else { 8 };
                disk.put(header + offset, &value.to_le_bytes()[..len]);
            }
            if disk.u32_at(header + 12) <= 512 {
                disk.seal_header(header);
            }
        }
        let storage = MemoryStorage::new(disk.bytes.clone());
        if let Ok((mut table, _)) = Table::read(&storage) {
            read.set(read.get() + 1);
            table.write(&storage).unwrap();
            let (again, warnings) = Table::read(&storage).unwrap();
            prop_assert!(warnings.len() <= 1, "{:?}", warnings); // the backup may lie elsewhere
            prop_assert!(again.partitions().eq(table.partitions()));
            if table.resize_disk(sectors).is_ok() {
                prop_assert_eq!(table.disk_sectors(), sectors);
                table.write_ranges();
            }
        }
    });
    assert!(read.get() > 100, "only {} tables were read", read.get());
}
