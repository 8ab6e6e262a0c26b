//! `--dry-run` plans every combination of shape and options as the rules say, or refuses it with their reason,
//! and writes nothing.

use std::process::Output;

use crate::can_judge;
use crate::oracle::{Choice, choices, expect};
use crate::support::image::{Shape, image};
use crate::support::judge::segment_bytes;
use crate::support::workshop::{Workshop, state, stderr, stdout};

/// The numbers of the table that `--dry-run` prints: what, offset, length.
pub fn places(output: &Output) -> Vec<(String, u64, u64)> {
    let text = stdout(output);
    let table = text
        .split("\n\n")
        .find(|part| part.starts_with("where "))
        .unwrap_or_default();
    table
        .lines()
        .skip(1)
        .map(|line| {
            let mut words = line
                .rsplitn(3, char::is_whitespace)
                .filter(|word| !word.is_empty());
            let bytes = words.next().unwrap().parse().unwrap();
            let rest = line
                .trim_end()
                .rsplit_once(char::is_whitespace)
                .unwrap()
                .0
                .trim_end();
            let (what, offset) = rest.rsplit_once(char::is_whitespace).unwrap();
            (what.trim().to_owned(), offset.parse().unwrap(), bytes)
        })
        .collect()
}

#[track_caller]
fn check(workshop: &Workshop, shape: Shape, choice: Choice, file: &str) {
    let source = image(shape);
    let mut command = workshop.encrypt();
    let output = command
        .args(choice.options())
        .args(["--dry-run", "-o", "output", file])
        .output()
        .unwrap();
    let expected = match expect(source, choice) {
        Ok(expected) => expected,
        Err(message) => {
            assert_eq!(output.status.code(), Some(1), "{shape:?} {choice:?}");
            let talk = stderr(&output);
            let error = talk
                .lines()
                .find(|line| line.starts_with("error: "))
                .unwrap_or_default();
            assert_eq!(
                error,
                format!("error: source: {message}"),
                "{shape:?} {choice:?}"
            );
            return;
        }
    };
    assert_eq!(
        output.status.code(),
        Some(0),
        "{shape:?} {choice:?}\n{}",
        stderr(&output)
    );
    let geometry = source.geometry;
    let start = geometry.root_first_lba * geometry.sector_bytes;
    let segment = start + (16 << 20);
    let segment_bytes = segment_bytes(source, expected.root_last_lba);
    let filesystem = expected.shrunk_bytes.unwrap_or(geometry.filesystem_bytes());
    let end = segment + segment_bytes;
    let mut wanted = vec![
        ("copied".to_owned(), 0, start),
        ("LUKS2 header".to_owned(), start, 16 << 20),
        ("encrypted filesystem".to_owned(), segment, filesystem),
        (
            "encrypted zeros".to_owned(),
            segment + filesystem,
            segment_bytes - filesystem,
        ),
        (
            "copied, backup GPT".to_owned(),
            end,
            expected.disk_bytes - end,
        ),
    ];
    wanted.retain(|(_, _, bytes)| *bytes > 0);
    assert_eq!(
        places(&output),
        wanted,
        "{shape:?} {choice:?}\n{}",
        stdout(&output)
    );
    let sectors = format!(
        "sectors of {} bytes, aes-xts-plain64",
        expected.luks_sector_bytes
    );
    assert!(
        stdout(&output).contains(&sectors),
        "{shape:?} {choice:?}\n{}",
        stdout(&output)
    );
}

#[test]
fn every_combination_is_planned_or_refused_as_the_rules_say() {
    if !can_judge() {
        return;
    }
    for shape in crate::full_shapes() {
        let workshop = Workshop::new();
        let source = workshop.put(&image(shape).raw, "source");
        let before = (state(&source), workshop.names());
        for choice in choices(false) {
            check(&workshop, shape, choice, "source");
        }
        assert_eq!(
            (state(&source), workshop.names()),
            before,
            "a dry run writes nothing"
        );
    }
}

#[test]
fn vhds_are_planned_as_whole_mebibytes() {
    if !can_judge() {
        return;
    }
    let shapes = if crate::all() {
        crate::full_shapes()
    } else {
        vec![Shape::Stock, Shape::Azure]
    };
    for shape in shapes {
        let workshop = Workshop::new();
        workshop.put(image(shape).vhd(), "source");
        for choice in choices(true) {
            check(&workshop, shape, choice, "source");
        }
    }
}
