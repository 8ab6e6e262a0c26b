//! A run that is killed or interrupted leaves no output, no temporary and an untouched source.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::image::{Shape, image};
use crate::support::trace::Trace;
use crate::support::workshop::{Workshop, state};
use crate::support::{exits, files, programs};

/// Starts a run that tells its progress on a pipe.
fn start(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends a signal when so many lines of progress were told, and waits for the end. Returns what was told;
/// `None` where the run ended before.
fn signal_after(
    mut child: Child,
    lines: usize,
    signal: Signal,
) -> (Option<ExitStatus>, Vec<String>) {
    let pid = Pid::from_child(&child);
    let mut told = Vec::new();
    let mut talk = BufReader::new(child.stderr.take().unwrap()).lines();
    while told.len() < lines {
        let Some(line) = talk.next() else {
            child.wait().unwrap();
            return (None, told);
        };
        told.push(line.unwrap());
    }
    let _ = kill_process(pid, signal);
    told.extend(talk.map_while(Result::ok));
    (Some(child.wait().unwrap()), told)
}

/// How many lines a whole run tells.
fn lines_of_a_run(workshop: &Workshop) -> usize {
    let output = exits(
        workshop.encrypt().args(["-o", "output.img", "source.img"]),
        0,
    );
    std::fs::remove_file(workshop.path("output.img")).unwrap();
    crate::support::workshop::stderr(&output).lines().count()
}

fn is_whole(output: &Path) -> bool {
    let table = crate::support::disk::read(output);
    let container =
        crate::support::container::Container::open(output, &table, crate::support::image::ROOT);
    let key = container.unlock_key();
    container.test_key(0, &key) == 0
}

#[test]
fn sigkill_at_every_line_of_progress() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Stock));
    let before = state(&source);
    let lines = lines_of_a_run(&workshop);
    assert!(lines >= 10, "progress is told in tenths");
    let mut left_nothing = 0;
    for after in 0..=lines {
        let child = start(workshop.encrypt().args(["-o", "output.img", "source.img"]));
        let (status, _) = signal_after(child, after, Signal::KILL);
        assert_eq!(state(&source), before, "after {after} lines");
        let output = workshop.path("output.img");
        if output.exists() {
            // The signal came when the output had its name.
            assert!(is_whole(&output), "after {after} lines");
            std::fs::remove_file(&output).unwrap();
        } else {
            assert_eq!(
                status.and_then(|status| status.signal()),
                Some(9),
                "after {after} lines"
            );
            left_nothing += 1;
        }
        assert_eq!(workshop.names(), ["source.img"], "after {after} lines");
    }
    assert!(
        left_nothing * 2 >= lines,
        "{left_nothing} of {lines} runs were killed in time"
    );
}

/// At random calls, by strace: they are spread over the whole run, whatever the machine's speed.
#[test]
fn sigkill_at_random_calls() {
    if !crate::can_judge() || !programs(&["strace"]) {
        return;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = u64::from(now.unwrap().subsec_nanos());
    eprintln!("seed {seed}"); // shown where the test fails
    let mut random = seed;
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Tiny));
    let before = state(&source);
    let arguments = ["encrypt", "--threads=1", "-o", "output.img", "source.img"];
    let (trace, output) = Trace::of(&workshop, &["-s", "0"], &workshop.program(), &arguments);
    assert_eq!(output.status.code(), Some(0));
    std::fs::remove_file(workshop.path("output.img")).unwrap();
    let calls = trace.calls().count();
    assert!(calls > 100, "{calls}");
    // strace counts each thread's calls by themselves: a number that none reaches makes the range smaller.
    let mut range = calls;
    let mut left_nothing = 0;
    for _ in 0..20 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let number = 2 + (random >> 33) as usize % (range - 2); // the first starts the program
        let mut strace = workshop.command("strace");
        strace
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("inject=all:signal=KILL:when={number}"))
            .arg(workshop.program())
            .args(arguments);
        let killed = strace.output().unwrap();
        let what = format!("call {number} of {calls}, {:?}", killed.status);
        assert_eq!(state(&source), before, "{what}");
        let output = workshop.path("output.img");
        if output.exists() {
            assert!(is_whole(&output), "{what}");
            std::fs::remove_file(&output).unwrap();
            range = number.max(3);
        } else {
            left_nothing += 1;
        }
        assert_eq!(workshop.names(), ["source.img"], "{what}");
    }
    assert!(
        left_nothing >= 10,
        "{left_nothing} of 20 runs were killed in time"
    );
}

#[test]
fn sigkill_in_place_leaves_the_source_or_the_whole_output() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Stock));
    let lines = lines_of_a_run(&workshop);
    let mut left_nothing = 0;
    for after in (0..=lines).step_by(2).chain([lines]) {
        std::fs::remove_file(workshop.path("source.img")).unwrap();
        let source = workshop.source(image(Shape::Stock));
        let before = state(&source);
        signal_after(
            start(workshop.encrypt().arg("source.img")),
            after,
            Signal::KILL,
        );
        assert_eq!(workshop.names(), ["source.img"], "after {after} lines");
        if state(&source) == before {
            left_nothing += 1;
        } else {
            assert!(is_whole(&source), "after {after} lines");
        }
    }
    assert!(
        left_nothing * 4 >= lines,
        "{left_nothing} runs were killed in time"
    );
}

#[test]
fn an_interruption_ends_the_run_by_its_signal_and_leaves_nothing() {
    if !crate::can_judge() {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Stock));
    let before = state(&source);
    // Within the data pass. On a busy machine a run may end before the signal comes: then again.
    let interrupt = |after: usize, signal: Signal| {
        for _ in 0..10 {
            let child = start(workshop.encrypt().args(["-o", "output.img", "source.img"]));
            let (status, told) = signal_after(child, after, signal);
            match status {
                Some(status) if !status.success() => return (status, told),
                _ => std::fs::remove_file(workshop.path("output.img")).unwrap(),
            }
        }
        panic!("ten runs ended before {signal:?}");
    };
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15), (Signal::HUP, 1)] {
        for after in [3, 4, 6] {
            let (status, told) = interrupt(after, signal);
            assert_eq!(status.signal(), Some(number), "{told:?}");
            let error = told
                .iter()
                .find(|line| line.starts_with("error: "))
                .map(String::as_str);
            // Before the data pass there is nothing to take back, and nothing to say.
            let has_begun = told.iter().any(|line| line.starts_with("encrypting"));
            let said = Some("error: interrupted; nothing was left behind");
            assert!(error == said || error.is_none() && !has_begun, "{told:?}");
            assert_eq!(state(&source), before);
            assert_eq!(workshop.names(), ["source.img"]);
        }
    }
}

#[test]
fn shrinking_that_is_killed_or_interrupted_leaves_nothing_either() {
    if !crate::can_judge() || !programs(&["resize2fs"]) {
        return;
    }
    let workshop = Workshop::new();
    let source = workshop.source(image(Shape::Followed));
    let before = state(&source);
    let arguments = ["--make-room", "shrink", "-o", "output.img", "source.img"];
    for signal in [Signal::KILL, Signal::TERM] {
        // From the copying of the plain filesystem to the data pass.
        for after in (3..=20).step_by(3) {
            let child = start(workshop.encrypt().args(arguments));
            let (_, told) = signal_after(child, after, signal);
            let output = workshop.path("output.img");
            if output.exists() {
                assert!(is_whole(&output), "{told:?}");
                std::fs::remove_file(&output).unwrap();
            }
            assert_eq!(state(&source), before, "{told:?}");
            assert_eq!(workshop.names(), ["source.img"], "{told:?}");
        }
    }
}

mod at_a_step {
    use std::sync::Mutex;

    use operations::encrypt::{Choices, Job};
    use operations::{Observer, Phase, PublishStep, StopFlag, SystemEntropy};

    use super::*;

    const STEP: &str = "ECI_TEST_KILL_AT";
    const JOB: &str = "ECI_TEST_KILL_JOB";

    struct KillAt(PublishStep, Mutex<Vec<PublishStep>>);

    impl Observer for KillAt {
        fn begin(&self, _: Phase, _: u64) {}
        fn advance(&self, _: u64) {}
        fn publishing(&self, step: PublishStep) {
            self.1.lock().unwrap().push(step);
            if step == self.0 {
                kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
            }
        }
    }

    const STEPS: [(&str, PublishStep); 4] = [
        ("before-link", PublishStep::BeforeLink),
        ("between-link-and-rename", PublishStep::BetweenLinkAndRename),
        ("before-directory-sync", PublishStep::BeforeDirectorySync),
        ("published", PublishStep::Published),
    ];

    /// The child: runs a job through the library and kills itself. As a test of its own it does nothing.
    #[test]
    fn child() {
        let (Ok(step), Ok(job)) = (std::env::var(STEP), std::env::var(JOB)) else {
            return;
        };
        let step = STEPS.iter().find(|(name, _)| *name == step).unwrap().1;
        let (source, output) = job.split_once('\n').unwrap();
        let job = Job {
            source: source.into(),
            backing_files: Vec::new(),
            output: (!output.is_empty()).then(|| output.into()),
            overwrite: !output.is_empty(),
            output_format: None,
            choices: Choices::default(),
            kernel_efi: None,
            threads: None,
        };
        let (observer, flag) = (KillAt(step, Mutex::default()), StopFlag::new());
        let ready = job
            .prepare(&mut SystemEntropy::new(), 1_700_000_000, &observer, &flag)
            .unwrap();
        ready.run(&observer, &flag).unwrap();
        eprintln!("steps: {:?}", observer.1.lock().unwrap());
    }

    #[track_caller]
    fn kill_at(workshop: &Workshop, step: &str, source: &Path, output: &str) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([
            "--exact",
            "killed::at_a_step::child",
            "--nocapture",
            "--test-threads=1",
        ]);
        child
            .env(STEP, step)
            .env(JOB, format!("{}\n{output}", source.display()));
        let output = child.current_dir(workshop.folder()).output().unwrap();
        assert_eq!(
            output.status.signal(),
            Some(9),
            "{step}: {}",
            crate::support::workshop::stderr(&output)
        );
    }

    #[test]
    fn a_new_output_is_there_after_the_link_and_not_before() {
        if !crate::can_judge() {
            return;
        }
        let workshop = Workshop::new();
        let source = workshop.source(image(Shape::Tiny));
        let before = state(&source);
        kill_at(&workshop, "before-link", &source, "output.img");
        assert_eq!(workshop.names(), ["source.img"]);
        for step in ["before-directory-sync", "published"] {
            kill_at(&workshop, step, &source, "output.img");
            assert_eq!(workshop.names(), ["output.img", "source.img"]);
            assert!(is_whole(&workshop.path("output.img")), "{step}");
            std::fs::remove_file(workshop.path("output.img")).unwrap();
        }
        assert_eq!(state(&source), before);
    }

    #[test]
    fn a_replaced_output_is_the_old_one_until_the_rename() {
        if !crate::can_judge() {
            return;
        }
        let workshop = Workshop::new();
        let source = workshop.source(image(Shape::Tiny));
        let old = workshop.write("output.img", b"old");
        kill_at(&workshop, "before-link", &source, "output.img");
        assert_eq!(workshop.names(), ["output.img", "source.img"]);
        assert_eq!(std::fs::read(&old).unwrap(), b"old");

        kill_at(&workshop, "between-link-and-rename", &source, "output.img");
        assert_eq!(std::fs::read(&old).unwrap(), b"old");
        let names = workshop.names();
        let [finished, output, _] = &names[..] else {
            panic!("{names:?}")
        };
        assert_eq!(output, "output.img");
        assert!(
            finished.starts_with(".output.img.encrypt-cloud-image."),
            "{finished}"
        );
        assert!(finished.ends_with(".finished"), "{finished}");
        assert!(is_whole(&workshop.path(finished)));
        std::fs::remove_file(workshop.path(finished)).unwrap();

        kill_at(&workshop, "before-directory-sync", &source, "output.img");
        assert_eq!(workshop.names(), ["output.img", "source.img"]);
        assert!(is_whole(&old));
    }

    #[test]
    fn a_source_in_place_is_the_old_one_until_the_rename() {
        if !crate::can_judge() {
            return;
        }
        let workshop = Workshop::new();
        let source = workshop.source(image(Shape::Tiny));
        let before = state(&source);
        kill_at(&workshop, "before-link", &source, "");
        assert_eq!(
            (workshop.names(), state(&source)),
            (vec!["source.img".to_owned()], before)
        );
        let digest = files::digest(&source);
        kill_at(&workshop, "between-link-and-rename", &source, "");
        assert_eq!(files::digest(&source), digest);
        assert_eq!(workshop.names().len(), 2);
        kill_at(&workshop, "before-directory-sync", &source, "");
        assert!(is_whole(&source));
    }
}
