//! Headers with random damage to their text and a correct checksum; the fuzz target's little brother.

use encrypt_cloud_image::luks2::Header;
use encrypt_cloud_image::storage::MemoryStorage;
use proptest::prelude::*;

use crate::containers::{base_text, copy, unlock_key};

const SIZE: usize = 16 << 10;

/// The vectors' metadata, for a header of 16 KiB.
fn small_text() -> String {
    base_text()
        .replace("\"1048576\"", "\"32768\"")
        .replace("\"1306624\"", "\"290816\"")
        .replace("\"520192\"", "\"12288\"")
        .replace("\"15728640\"", "\"516096\"")
}

fn container(text: &[u8], header: &[(u16, u8)]) -> MemoryStorage {
    let edit = |bytes: &mut [u8]| {
        for (at, value) in header {
            bytes[usize::from(*at) % 448] = *value;
        }
    };
    let mut bytes = [false, true]
        .map(|second| copy(second, SIZE, text, &edit))
        .concat();
    bytes.resize(32768 + 516_096, 0);
    MemoryStorage::new(bytes)
}

fn exercise(storage: &MemoryStorage) -> bool {
    let Ok(header) = Header::read(storage) else {
        return false;
    };
    for copy in header.valid_copies() {
        assert!(copy.to_bytes().unwrap().len() == SIZE);
        let _ = copy.metadata().clear_key();
    }
    if let Ok(mut update) = header.update() {
        let _ = update.remove_keyslot(0);
        let _ = update.remove_token(0);
    }
    true
}

#[test]
fn the_header_that_is_damaged_below_is_sound() {
    let storage = container(small_text().as_bytes(), &[]);
    assert!(exercise(&storage));
    let header = Header::read(&storage).ok().unwrap();
    assert!(header.unlock(None, &unlock_key(), &storage).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn damage_to_the_text(
        changes in proptest::collection::vec((any::<u16>(), prop_oneof![any::<u8>(), proptest::sample::select(&b"{}[]\",:\\0u1-e "[..])]), 1..6),
    ) {
        let mut text = small_text().into_bytes();
        for (at, value) in changes {
            let at = usize::from(at) % text.len();
            text[at] = value;
        }
        exercise(&container(&text, &[]));
    }

    #[test]
    fn damage_to_the_binary_header(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4)) {
        exercise(&container(small_text().as_bytes(), &changes));
    }

    #[test]
    fn pieces_moved_about(from in 0_usize..1150, to in 0_usize..1150, len in 1_usize..80) {
        let mut text = small_text();
        let from = from.min(text.len() - 1);
        let len = len.min(text.len() - from);
        let piece = text[from..from + len].to_owned();
        text.insert_str(to.min(text.len()), &piece);
        exercise(&container(text.as_bytes(), &[]));
    }
}
