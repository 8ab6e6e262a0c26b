//! `--dry-run` says what a run does, and writes nothing; a run says what it chose.

use crate::layout::places;
use crate::support::image::{ROOT, Shape, image};
use crate::support::trace::Trace;
use crate::support::workshop::{Workshop, state, stderr, stdout};
use crate::support::{disk, exits, files, programs};

#[test]
fn the_plan_is_what_the_run_then_does() {
    if !crate::can_judge() {
        return;
    }
    for (shape, options) in [
        (Shape::Stock, &["--override-datasources", "NoCloud"][..]),
        (Shape::Azure, &["--output-format", "vhd"]),
        (Shape::LargeSectors, &["--grow-root"]),
    ] {
        let workshop = Workshop::new();
        workshop.source(image(shape));
        let arguments = [options, &["-o", "output.img", "source.img"]].concat();
        let plan = exits(workshop.encrypt().arg("--dry-run").args(&arguments), 0);
        assert_eq!(workshop.names(), ["source.img"]);
        exits(workshop.encrypt().args(&arguments), 0);
        let output = workshop.path("output.img");
        let table = disk::read(&output);
        let root = table.byte_range(ROOT);
        let place = |name: &str| {
            let places = places(&plan);
            let found = places
                .iter()
                .find(|(what, _, _)| what == name)
                .unwrap_or_else(|| panic!("{name}"));
            (found.1, found.2)
        };
        assert_eq!(place("LUKS2 header"), (root.start, 16 << 20));
        assert_eq!(files::read(&output, root.start, 6), b"LUKS\xba\xbe");
        let (backup, bytes) = place("copied, backup GPT");
        assert_eq!((backup, backup + bytes), (root.end, table.len_bytes));
        let container = crate::support::container::Container::open(&output, &table, ROOT);
        let text = stdout(&plan);
        for fact in [
            format!(
                "sectors of {} bytes, aes-xts-plain64",
                container.sector_bytes()
            ),
            format!("{} in the output", table.len_bytes / table.sector_bytes),
            "label cloudimg-rootfs-enc".to_owned(),
        ] {
            assert!(text.contains(&fact), "{fact}: {text}");
        }
        let has_growpart = container.metadata["keyslots"].get("10").is_some();
        assert_eq!(text.contains("keyslot 10"), has_growpart, "{text}");
        assert_eq!(
            text.contains("/cc_growpart_keydata"),
            has_growpart,
            "{text}"
        );
        assert!(
            text.contains("/etc/systemd/system/secureboot-db.service"),
            "{text}"
        );
    }
}

#[test]
fn the_table_is_the_only_thing_on_standard_output() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    let plan = exits(workshop.encrypt().args(["--dry-run", "source.img"]), 0);
    assert!(stdout(&plan).contains("LUKS2"));
    let run = exits(
        workshop.encrypt().args(["-o", "output.img", "source.img"]),
        0,
    );
    assert_eq!(stdout(&run), "");
    let talk = stderr(&run);
    assert!(
        talk.contains("root: partition 1 (Linux filesystem"),
        "{talk}"
    );
    assert!(
        !talk.contains('\r') && !talk.contains('\x1b'),
        "no bar where there is no terminal"
    );
    let tenths: Vec<_> = talk.lines().filter(|line| line.ends_with('%')).collect();
    assert!((1..=11).contains(&tenths.len()), "{talk}");
}

#[test]
fn v_tells_the_whole_plan_and_what_the_work_took() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Stock));
    let arguments = ["--threads", "2", "-o", "output.img", "source.img"];
    let plan = exits(workshop.encrypt().arg("--dry-run").args(arguments), 0);
    let run = exits(workshop.encrypt().arg("-v").args(arguments), 0);
    assert_eq!(stdout(&run), "");
    let talk = stderr(&run);
    assert!(talk.contains(&stdout(&plan)), "{talk}");
    for detail in [
        "DEBUG the root filesystem uses ",
        "DEBUG 2 threads encrypt\n",
        "\nencrypting took ",
        "\nflushing took ",
    ] {
        assert!(talk.contains(detail), "{detail}: {talk}");
    }
    std::fs::remove_file(workshop.path("output.img")).unwrap();
    let talk = stderr(&exits(workshop.encrypt().args(arguments), 0));
    for detail in ["LUKS2 header  ", "DEBUG", "took"] {
        assert!(!talk.contains(detail), "{detail}: {talk}");
    }
}

#[test]
fn on_a_terminal_a_bar_tells_the_progress() {
    if !crate::can_judge() || !programs(&["script"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Stock));
    // `script` runs it on a terminal of its own and gives us what that shows.
    let mut script = workshop.command("script");
    script.env("TERM", "xterm").args(["-qec"]);
    script.arg(format!(
        "stty cols 100; {} encrypt -o output.img source.img",
        workshop.program().display()
    ));
    let shown = stdout(&exits(script.arg("/dev/null"), 0));
    assert!(shown.contains("encrypting ["), "{shown:?}");
    assert!(shown.contains('\r') && shown.contains('\x1b'), "{shown:?}");
    assert!(
        shown.lines().all(|line| line.trim() != "encrypting: 10%"),
        "{shown:?}"
    );
    let last = shown.lines().last().unwrap();
    assert!(last.contains("output.img: encrypted in "), "{shown:?}");
}

#[test]
fn nothing_is_opened_for_writing() {
    if !crate::can_judge() || !programs(&["strace"]) {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    let before = state(&source);
    for arguments in [
        &["encrypt", "--dry-run", "source.img"][..],
        &["encrypt", "--dry-run", "-o", "new.img", "source.img"],
    ] {
        let (trace, output) = Trace::of(&workshop, &["-s", "4096"], &workshop.program(), arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(
            trace.changed_paths(workshop.folder()).is_empty(),
            "{:?}",
            trace.changed_paths(workshop.folder())
        );
    }
    assert_eq!(state(&source), before);
    assert_eq!(workshop.names(), ["source.img"]);
}
