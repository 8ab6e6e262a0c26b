//! Damaged and lying FAT images end in a typed error, or work; never in a panic or without an end.

use std::sync::OnceLock;

use base::storage::{MemoryStorage, Overlay, ReadAt};
use filesystem::fat::{Fat, phases};
use proptest::prelude::*;

use crate::fat_image::{KINDS, NOW, image, ready};

fn images() -> &'static [Vec<u8>] {
    static IMAGES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        KINDS[..3]
            .iter()
            .map(|(arguments, len_bytes)| {
                let len_bytes = usize::try_from(*len_bytes).unwrap();
                image(arguments, len_bytes as u64)
                    .storage()
                    .read_vec(0, len_bytes)
                    .unwrap()
            })
            .collect()
    })
}

fn use_it(storage: &dyn ReadAt) {
    if let Ok(fat) = Fat::open_read_only(storage) {
        let _ = fat.label();
        let _ = fat.free_bytes();
        let _ = fat.is_dirty();
        let _ = fat.list_dir("/EFI/ubuntu");
        let _ = fat.read_file("/EFI/ubuntu/grubx64.efi", 1 << 20);
    }
    let overlay = Overlay::new(storage);
    if let Ok(fat) = Fat::open(&overlay, NOW) {
        let _ = fat.replace_file("/EFI/ubuntu/grubx64.efi", &[7; 3000]);
    }
    let overlay = Overlay::new(storage);
    if let Ok(fat) = Fat::open(&overlay, NOW) {
        let _ = fat.create_dir_all("/EFI/ubuntu/a new one/b");
        let _ = fat.replace_file("/EFI/BOOT/x.efi", &[7; 3000]);
    }
    let overlay = Overlay::new(storage);
    if let Ok(fat) = Fat::open(&overlay, NOW) {
        let _ = fat.switch_file("/EFI/ubuntu/grubx64.efi", &[7; 3000]);
        let _ = fat.remove_file("/EFI/BOOT/BOOTX64.EFI");
        let _ = fat.finish();
        let changed = overlay.changed_ranges();
        let _ = phases(fat.geometry(), storage, &overlay, &changed);
    }
}

/// Where there is something: boot sector, tables, root and first clusters of a small image.
fn place() -> impl Strategy<Value = usize> {
    prop_oneof![
        0_usize..0x60,
        0x1f0_usize..0x800,
        0_usize..0x8000,
        0_usize..0x20_0000 - 4
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(80) })]

    #[test]
    fn any_damage_is_refused_or_survived(
        which in 0_usize..3,
        damage in prop::collection::vec((place(), any::<u32>(), 1_usize..=4), 1..30),
    ) {
        if !ready() {
            return Ok(());
        }
        let overlay = Overlay::new(Bytes(&images()[which]));
        for (offset, value, len) in damage {
            use base::storage::WriteAt;
            overlay.write_all_at(&value.to_le_bytes()[..len], offset as u64).unwrap();
        }
        use_it(&overlay);
    }
}

/// Bytes that are not copied for each case.
struct Bytes<'b>(&'b [u8]);

impl ReadAt for Bytes<'_> {
    fn len_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset_bytes: u64) -> base::storage::Result<()> {
        let end_bytes = self.0.len() as u64;
        let beyond = base::storage::Error::BeyondEnd {
            offset_bytes,
            len_bytes: buffer.len() as u64,
            end_bytes,
        };
        let start = usize::try_from(offset_bytes).unwrap();
        let bytes = start
            .checked_add(buffer.len())
            .and_then(|end| self.0.get(start..end));
        buffer.copy_from_slice(bytes.ok_or(beyond)?);
        Ok(())
    }
}

#[test]
fn a_directory_whose_first_cluster_lies_before_the_first_is_refused() {
    if !ready() {
        return;
    }
    let mut bytes = images()[1].clone();
    // The entry of EFI in the root: the bytes of its short name, its cluster at 26.
    let at = bytes
        .windows(11)
        .position(|name| name == b"EFI        ")
        .unwrap();
    for first in [0_u16, 1, 0xfff0] {
        bytes[at + 26..at + 28].copy_from_slice(&first.to_le_bytes());
        let storage = MemoryStorage::new(bytes.clone());
        let fat = Fat::open(&storage, NOW).unwrap();
        assert_eq!(
            fat.replace_file("/EFI/x", b"x").unwrap_err().to_string(),
            format!(
                "the FAT filesystem is damaged: the chain that begins with cluster {first} leads in a circle or out of the filesystem"
            )
        );
    }
}
