//! A clear key that is gone from the header that counts may stand in the other copy, where no dump shows it.

use serde_json::{Value, json};

use crate::encrypted::{Encrypted, FLAGS, ROOT, find_key, ready};
use crate::support::{exits, files};
use crate::told;

const COPY_BYTES: usize = 524_288;

/// The image as a crash between the header copies leaves it: `old` says which copy is the old one still.
fn interrupted(old: u64, flags: &[&str]) -> Encrypted {
    let encrypted = Encrypted::new();
    let start = encrypted.table().byte_range(ROOT).start;
    let at = start + old * COPY_BYTES as u64;
    let bytes = files::read(&encrypted.image, at, COPY_BYTES);
    let deployed = encrypted.deployed(flags);
    files::write(&deployed.image, at, &bytes);
    deployed
}

fn copies(document: &Value) -> Vec<(bool, &str, bool)> {
    let copies = document["luks2"]["header_copies"]
        .as_array()
        .unwrap()
        .iter();
    copies
        .map(|copy| {
            (
                copy["counts"].as_bool().unwrap(),
                copy["state"].as_str().unwrap(),
                copy["holds_clear_key"].as_bool().unwrap(),
            )
        })
        .collect()
}

#[test]
fn in_a_copy_that_is_older() {
    if !ready() {
        return;
    }
    let tokens = [&FLAGS[..], &["--key-object", "systemd-tpm2"]].concat();
    for (old, flags) in [(0, &FLAGS[..]), (1, &FLAGS), (0, &tokens), (1, &tokens)] {
        let image = interrupted(old, flags);
        // cryptsetup, on its copy, does not show the token.
        let shown = image.container().metadata["tokens"].to_string();
        assert!(!shown.contains("ubuntu-fde-cloudimg-key"), "{shown}");
        let document = told(&image, &[]);
        assert_eq!(document["state"], "interrupted");
        assert_eq!(document["clear_key"], true);
        let position = ["primary", "secondary"][usize::try_from(old).unwrap()];
        let counting = ["secondary", "primary"][usize::try_from(old).unwrap()];
        assert_eq!(
            document["warnings"],
            json!([
                format!(
                    "the {position} LUKS2 header copy is older (sequence id 1) than the other (2)"
                ),
                format!(
                    "the {position} LUKS2 header copy, which does not count, still holds the clear key: who can read this file can read the disk; run deploy again, which completes what was interrupted"
                )
            ])
        );
        let expected = if counting == "primary" {
            [(true, "valid", false), (false, "valid", true)]
        } else {
            [(false, "valid", true), (true, "valid", false)]
        };
        assert_eq!(copies(&document), expected);
        // What it advises helps.
        exits(image.deploy(flags).arg("disk.img"), 0);
        let document = told(&image, &[]);
        assert_eq!(document["state"], "deployed");
        assert_eq!(document["clear_key"], false);
        assert_eq!(document["warnings"], json!([]));
        assert_eq!(find_key(&image.image, &image.clear_key), None);
    }
}

#[test]
fn in_a_copy_that_is_torn() {
    if !ready() {
        return;
    }
    for old in [0, 1] {
        let image = interrupted(old, &FLAGS);
        let start = image.table().byte_range(ROOT).start + old * COPY_BYTES as u64;
        files::flip(&image.image, start + 450); // its checksum
        let document = told(&image, &[]);
        assert_eq!(document["state"], "interrupted");
        assert_eq!(document["clear_key"], true);
        assert!(copies(&document).contains(&(false, "damaged", true)));
        let warnings = document["warnings"].to_string();
        assert!(warnings.contains("still holds the clear key"), "{warnings}");
    }
}

/// Copies that differ without a key are told as well; a sound pair is not.
#[test]
fn copies_that_differ_are_told() {
    if !ready() {
        return;
    }
    let image = Encrypted::new().deployed(&FLAGS);
    let start = image.table().byte_range(ROOT).start;
    files::flip(&image.image, start + COPY_BYTES as u64 + 450);
    let document = told(&image, &[]);
    assert_eq!(document["state"], "interrupted");
    assert_eq!(document["clear_key"], false);
    assert_eq!(
        copies(&document),
        [(true, "valid", false), (false, "damaged", false)]
    );
    let warnings = document["warnings"].to_string();
    assert!(
        warnings.contains("the two LUKS2 header copies are not the same"),
        "{warnings}"
    );
}
