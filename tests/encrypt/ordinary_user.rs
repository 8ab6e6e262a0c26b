//! An ordinary user without capabilities converts an image; no process is started, no socket made, and
//! nothing outside of the output's folder is written.

use std::path::{Path, PathBuf};

use crate::support::image::{Image, Shape, image};
use crate::support::programs;
use crate::support::trace::Trace;
use crate::support::workshop::{Workshop, stderr};

/// Runs `encrypt` under strace; the output's folder is not the source's.
fn traced(source: &Image, options: &[&str]) -> (Workshop, Trace, PathBuf, String) {
    let workshop = Workshop::new();
    workshop.put(&source.raw, "source.img");
    let folder = workshop.path("made");
    let made = workshop.command("mkdir").arg(&folder).status().unwrap();
    assert!(made.success());
    let mut arguments = vec!["encrypt"];
    arguments.extend(options);
    arguments.extend(["-o", "made/output.img", "source.img"]);
    let (trace, output) = Trace::of(&workshop, &["-s", "4096"], &workshop.program(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    (workshop, trace, folder, stderr(&output))
}

fn outside(paths: impl IntoIterator<Item = PathBuf>, folder: &Path) -> Vec<String> {
    paths
        .into_iter()
        .filter(|path| !path.starts_with(folder))
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn no_process_is_started_and_nothing_written_elsewhere() {
    if !crate::can_judge() || !programs(&["strace"]) {
        return;
    }
    let (workshop, trace, folder, _) = traced(image(Shape::Demo), &["-v", "--threads", "3"]);
    assert_eq!(trace.programs(), [workshop.program().to_str().unwrap()]);
    assert_eq!(trace.forks(), [""; 0]);
    assert_eq!(trace.sockets(), 0);
    let changed = trace.changed_paths(workshop.folder());
    assert!(
        changed.iter().any(|path| path.starts_with(&folder)),
        "the output is in the trace: {changed:?}"
    );
    assert_eq!(outside(changed, &folder), [""; 0]);
    assert_eq!(workshop.names(), ["made", "source.img"]);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
}

#[test]
fn shrinking_starts_resize2fs_alone_and_writes_nothing_elsewhere() {
    if !crate::can_judge() || !programs(&["strace", "resize2fs"]) {
        return;
    }
    let (workshop, trace, folder, talk) =
        traced(image(Shape::Followed), &["--make-room", "shrink"]);
    let warning = "warning: --make-room shrink: the plain filesystem is written to the output's disk, into an unnamed temporary\n";
    assert!(talk.contains(warning), "{talk}");
    let started = trace.programs();
    assert_eq!(started[0], workshop.program().to_str().unwrap());
    assert!(
        started.len() > 1 && started[1..].iter().all(|path| path.ends_with("/resize2fs")),
        "{started:?}"
    );
    let mut changed = trace.changed_paths(workshop.folder());
    // Which file descriptor it is, is told by the name of the process.
    changed.retain(|path| !path.starts_with("/proc") && path != Path::new("/dev/null"));
    assert_eq!(outside(changed, &folder), [""; 0]);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
}

#[test]
fn the_trace_shows_processes_and_writes_where_there_are_some() {
    if !programs(&["strace"]) {
        return;
    }
    let workshop = Workshop::new();
    let elsewhere = Workshop::new();
    let script = format!(
        "cp /etc/passwd copy && mv copy moved && echo > {}",
        elsewhere.path("new").display()
    );
    let (trace, output) = Trace::of(
        &workshop,
        &["-s", "4096"],
        Path::new("/bin/sh"),
        &["-c", &script],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(trace.programs().len() >= 3, "{:?}", trace.programs());
    assert!(trace.forks().len() >= 2);
    let changed = trace.changed_paths(workshop.folder());
    for path in [
        workshop.path("copy"),
        workshop.path("moved"),
        elsewhere.path("new"),
    ] {
        assert!(changed.contains(&path), "{changed:?}");
    }
    assert_eq!(
        outside(changed, workshop.folder()),
        [elsewhere.path("new").display().to_string()]
    );
}
