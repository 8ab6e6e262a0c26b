//! `inspect --against` with several configurations tells of each what it tells of it alone.

use serde_json::Value;

use crate::encrypted::{Encrypted, FLAGS, ready};
use crate::support::exits;
use crate::support::workshop::{refused, stderr, stdout};
use crate::systemd_guest::{KEY_OBJECT, SRKS, all_ready, two_kernels};
use crate::{data, inspect, judged, ways};

/// What the guest may have: the first two are sealed to, the third has a grown dbx.
const CONFIGURATIONS: [&str; 3] = ["std", "hash-and-cert", "dbx-hash"];
const NAMES: [&str; 3] = ["std.json", "hash-and-cert.json", "dbx-hash.json"];

fn with_configurations(image: Encrypted) -> Encrypted {
    for name in CONFIGURATIONS {
        let bytes = data::content(&format!("vectors/uefi/{name}.json"));
        image.workshop.write(&format!("{name}.json"), &bytes);
    }
    image
}

fn options(names: &[&'static str]) -> Vec<&'static str> {
    let options = names.iter().flat_map(|name| ["--uefi-config", name]);
    options.collect()
}

/// What is told of a configuration, without what other ones bring to it.
fn of(name: &str, document: &Value) -> Vec<Value> {
    let mut ways = ways(document);
    ways.retain(|way| way["configuration"] == name);
    for way in &mut ways {
        for member in ["blamed_pcrs", "would_unlock_as_in", "reason"] {
            way[member].take();
        }
    }
    ways
}

fn assert_each_is_told(image: &Encrypted) {
    let all = judged(image, &options(&NAMES));
    let against = &all["against"];
    assert_eq!(against["unlocks"], false);
    assert_eq!(against["configurations"], serde_json::json!(NAMES));
    assert_eq!(against["firmware"], NAMES.join(", "));
    for (name, expected) in NAMES.into_iter().zip([true, true, false]) {
        let alone = judged(image, &options(&[name]));
        assert_eq!(alone["against"]["unlocks"], expected);
        assert_eq!(alone["against"]["firmware"], name);
        assert_eq!(of(name, &all), of(name, &alone));
        assert!(!of(name, &all).is_empty());
    }
    // One that unlocks tells which PCR of the other is to blame.
    let mut locked = ways(&all);
    locked.retain(|way| way["unlocks"] == false);
    assert!(!locked.is_empty());
    for way in locked {
        assert_eq!(way["configuration"], NAMES[2]);
        assert_eq!(way["blamed_pcrs"], serde_json::json!([7]));
        let like = way["would_unlock_as_in"][0].as_str().unwrap();
        assert!(NAMES[..2].contains(&like), "{like}");
    }
    let both = judged(image, &options(&NAMES[..2]));
    assert_eq!(both["against"]["unlocks"], true);
    // The same twice is one.
    let twice = judged(image, &options(&[NAMES[0], NAMES[0]]));
    assert_eq!(twice, judged(image, &options(&NAMES[..1])));
}

#[test]
fn of_a_sealed_key_file() {
    if !ready() {
        return;
    }
    let image = Encrypted::new();
    image.boots(&two_kernels());
    let image = with_configurations(image);
    let image = image.deployed(&[&FLAGS[..2], &options(&NAMES[..2]), &FLAGS[4..]].concat());
    assert_each_is_told(&image);

    let arguments = [&["--against"][..], &options(&NAMES)].concat();
    let output = exits(&mut inspect(&image, &arguments), 3);
    let told = stdout(&output);
    let blocks: Vec<_> = told.split("\nagainst ").skip(1).collect();
    for (block, name) in blocks.iter().zip(NAMES) {
        let head = format!("{name} and the boot files in the image\n");
        assert!(block.starts_with(&head), "{told}");
        assert_eq!(block.trim_end().lines().count(), 3, "{told}");
    }
    assert_eq!(blocks.len(), 3);
    assert_eq!(
        stderr(&output).lines().last().unwrap(),
        "error: disk.img: 2 of 6 ways to boot are not known to unlock it"
    );
    image.workshop.write("broken.json", b"{}");
    let broken = [&["--against"][..], &options(&[NAMES[0], "broken.json"])].concat();
    let said = refused(&mut inspect(&image, &broken));
    assert!(said.contains("broken.json"), "{said}");
}

#[test]
fn of_tokens() {
    if all_ready().is_none() {
        return;
    }
    let image = Encrypted::new();
    image.boots(&two_kernels());
    let image = with_configurations(image);
    image.workshop.write("srk.pub", &SRKS[0].public());
    let flags = [&FLAGS[..2], &options(&NAMES[..2]), &FLAGS[4..], &KEY_OBJECT].concat();
    assert_each_is_told(&image.deployed(&flags));
}
