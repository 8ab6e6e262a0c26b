//! After a deploy nobody finds the clear key, and everything else is as it was.

use crate::encrypted::{Encrypted, FLAGS, ROOT, SEALED_KEY, TEMPLATE, disguises, find_key, ready};
use crate::support::workshop::stderr;
use crate::support::{disk, exits, files};

#[test]
fn the_clear_key_is_nowhere_in_the_image() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let key = encrypted.clear_key.clone();
    assert!(
        find_key(&encrypted.image, &key).is_some(),
        "it is there before"
    );
    let deployed = encrypted.deployed(&FLAGS);
    assert_eq!(find_key(&deployed.image, &key), None);
}

/// The search itself: what is planted in any form and at any kind of place is found.
#[test]
fn a_planted_key_is_found() {
    if !ready() {
        return;
    }
    let deployed = Encrypted::new().deployed(&FLAGS);
    let key = &deployed.clear_key;
    let table = deployed.table();
    let root = table.byte_range(ROOT);
    let esp = table.byte_range(crate::encrypted::ESP);
    // Header copies, keyslots area, free clusters, between the partitions, the last bytes.
    let places = [
        root.start + 5000,
        root.start + 524_288 + 5000,
        root.start + (8 << 20) + 7,
        esp.end - 100_001,
        (1 << 20) - 100,
        table.len_bytes - 64,
    ];
    for (place, text) in places.into_iter().zip(disguises(key).into_iter().cycle()) {
        let before = files::read(&deployed.image, place, text.len());
        files::write(&deployed.image, place, &text);
        assert_eq!(find_key(&deployed.image, key), Some(place));
        files::write(&deployed.image, place, &before);
    }
}

#[test]
fn the_token_is_gone_and_the_other_keys_still_open() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let before = encrypted.container();
    let key = encrypted.clear_key.clone();
    let recovery_key = *b"0123456789abcdef";
    encrypted.workshop.write("recovery.key", &recovery_key);
    let flags = [&FLAGS[..], &["--recovery-key-file", "recovery.key"]].concat();
    let deployed = encrypted.deployed(&flags);
    let after = deployed.container();
    let dump = after.dump();
    assert!(!dump.contains("ubuntu-fde-cloudimg-key"), "{dump}");
    assert_eq!(after.test_key(0, &key), 0);
    assert_eq!(after.test_key(1, &recovery_key), 0);
    assert_eq!(after.test_key(1, &key), 2);
    // The growpart key's keyslot is the very same, area and all.
    for (member, number) in [("keyslots", "0"), ("keyslots", "10"), ("segments", "0")] {
        assert_eq!(
            after.metadata[member][number], before.metadata[member][number],
            "{member} {number}"
        );
    }
    assert!(after.metadata["keyslots"]["10"].is_object());
    let table = deployed.table();
    assert_eq!(disk::problems(&deployed.image, table.sector_bytes), "");
}

#[test]
fn both_header_copies_are_alike_and_valid() {
    if !ready() {
        return;
    }
    let deployed = Encrypted::new().deployed(&FLAGS);
    let start = deployed.table().byte_range(ROOT).start;
    let copy = |at: u64| files::read(&deployed.image, start + at, 524_288);
    let (primary, secondary) = (copy(0), copy(524_288));
    assert_eq!(primary[4096..], secondary[4096..]);
    assert_eq!(primary[16..24], secondary[16..24]);
    // cryptsetup mends a copy that is not; it has nothing to do here.
    let container = deployed.container();
    container.dump();
    assert!(files::read(&container.header, 0, 524_288) == primary);
    assert!(files::read(&container.header, 524_288, 524_288) == secondary);
}

#[test]
fn only_two_files_are_new_on_the_esp() {
    if !ready() {
        return;
    }
    let encrypted = Encrypted::new();
    let mut expected = encrypted.esp().files();
    let deployed = encrypted.deployed(&FLAGS);
    let esp = deployed.esp();
    esp.assert_clean();
    let files = esp.files();
    for path in [SEALED_KEY, TEMPLATE] {
        expected.insert(path.to_owned(), files[path].clone());
    }
    assert!(files == expected);
    assert!((131_000..133_100).contains(&files[SEALED_KEY].len()));
}

#[test]
fn a_second_deploy_says_that_there_is_nothing_to_do() {
    if !ready() {
        return;
    }
    let deployed = Encrypted::new().deployed(&FLAGS);
    let before = files::digest(&deployed.image);
    let output = exits(deployed.deploy(&FLAGS).arg("disk.img"), 1);
    assert_eq!(
        stderr(&output),
        "error: disk.img: the image is deployed already: partition 1 holds no clear key, in no header copy\n\
         hint: --unlock-with FILE seals it again, with a recovery key or a passphrase; or deploy a copy of the encrypted image, with --output\n"
    );
    assert_eq!(files::digest(&deployed.image), before);
}
