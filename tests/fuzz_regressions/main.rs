//! What the fuzz targets start from and what they found, through the same functions, on stable Rust.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]
// The harness is written for the fuzzer, where a panic is the answer.
#![allow(
    clippy::many_single_char_names,
    clippy::large_stack_arrays,
    clippy::manual_assert
)]

#[path = "../../fuzz/harness/mod.rs"]
mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::TARGETS;

/// The files of a folder below the project's; none where there is no such folder.
fn files(folder: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(target);
    let mut files: Vec<_> = match fs::read_dir(&folder) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    files.sort();
    files
}

fn replay(target: harness::Target, file: &Path) -> bool {
    println!("{}", file.display()); // shown where the test fails
    let input = fs::read(file).unwrap();
    let begin = Instant::now();
    let accepted = target(&input);
    let passed = begin.elapsed();
    assert!(passed < Duration::from_secs(10), "{passed:?}");
    accepted
}

#[test]
fn every_target_has_a_seed_that_its_parser_accepts() {
    for (name, target) in TARGETS {
        let seeds = files("fuzz/seeds", name);
        let accepted = seeds.iter().filter(|seed| replay(target, seed)).count();
        assert!(accepted > 0, "{name}: {} seeds", seeds.len());
    }
}

#[test]
fn what_fuzzing_found_does_no_harm_any_more() {
    for (name, target) in TARGETS {
        for found in files("tests/data/fuzz-found", name) {
            replay(target, &found);
        }
    }
}

#[test]
fn no_input_is_too_short_for_a_target() {
    for (_, target) in TARGETS {
        for length in 0..20 {
            target(&vec![0; length]);
            target(&vec![0xff; length]);
        }
    }
}

/// `cargo xtask fuzz` and the folders of seeds go by these names.
#[test]
fn every_target_has_its_file_and_the_other_way_round() {
    let mut names: Vec<_> = files("fuzz", "fuzz_targets")
        .iter()
        .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, TARGETS.map(|(name, _)| name));
}
