//! Headers with random damage to their text and a correct checksum; the fuzz target's little brother.

use base::storage::MemoryStorage;
use luks2::Error;
use proptest::prelude::*;

use crate::containers::{base_text, copy, unlock_key};
use crate::support::header_of;

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
    let Ok(header) = header_of(storage) else {
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
    let header = header_of(&storage).ok().unwrap();
    assert!(header.unlock(None, &unlock_key(), &storage).is_err());
}

/// A header of 512 KiB, filled with what is slow to look at. A reader whose time grows with the square of the
/// length needs minutes for some of these.
#[test]
fn a_header_full_of_one_thing_is_judged_in_time() {
    const HEADER: usize = 512 << 10;
    let room = HEADER - 4096 - 2000;
    let text = base_text();
    let filled = |text: &str, before: &str, filling: &dyn Fn(usize) -> String, behind: &str| {
        let (start, end) = text.split_once(before).unwrap();
        let mut long = format!("{start}{before}");
        for index in 11.. {
            if long.len() + end.len() > room {
                break;
            }
            long.push_str(&filling(index));
        }
        format!("{long}{behind}{end}")
    };
    let deep = format!("\"x\":{}0", "[".repeat(29));
    let nested = format!("{{{deep}{},{}", "]".repeat(29), &text[1..]);
    let member = |index: usize| format!("\"{index}\":{{}},");
    for (name, text, expected) in [
        ("members", filled(&text, "{", &member, ""), "taken"),
        (
            "tokens",
            filled(&text, "\"tokens\":{", &member, ""),
            "tokens has more than 32 members",
        ),
        (
            "segments",
            filled(&text, "\"segments\":{", &member, ""),
            "segments has more than 32 members",
        ),
        (
            "references",
            filled(&text, "\"keyslots\":[\"0\"", &|_| ",\"0\"".to_owned(), ""),
            "taken",
        ),
        (
            "escapes",
            filled(&text, "{", &|index| format!("\"{index}\":\"\\u0001\","), ""),
            "taken",
        ),
        (
            "levels",
            filled(&nested, &deep, &|_| ",0".to_owned(), ""),
            "taken",
        ),
    ] {
        assert!(text.len() > room, "{name}: {}", text.len());
        let copies = [false, true].map(|second| copy(second, HEADER, text.as_bytes(), &|_| {}));
        let mut bytes = copies.concat();
        bytes.extend(vec![0; 15 << 20]);
        let begin = std::time::Instant::now();
        let verdict = match header_of(&MemoryStorage::new(bytes)) {
            Ok(_) => "taken".to_owned(),
            Err(Error::NoValidCopy { primary, .. }) => primary.to_string(),
            Err(Error::Refused { source, .. }) => source.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(verdict, expected, "{name}");
        assert!(
            begin.elapsed().as_secs() < 20,
            "{name}: {:?}",
            begin.elapsed()
        );
    }
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
