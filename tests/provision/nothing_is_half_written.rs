//! A run that fails, or is stopped at any point, leaves no image, no recovery key and no temporary.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use operations::deploy::{Binding, KeyObject, RecoverySource, SrkOptions, TemplateChoice};
use operations::encrypt::{Choices, Job};
use operations::provision::PlainImage;
use operations::{Observer, Phase, PublishStep, StopFlag, SystemEntropy};

use rustix::process::{Pid, Signal, kill_process};

use crate::encrypted::{WITHOUT_PCRS, ready};
use crate::plain::{Made, Plain};
use crate::support::programs;
use crate::support::workshop::{state, stderr};

/// Raises the flag when so many things were told.
struct StopAt {
    after: usize,
    told: AtomicUsize,
    chunks: AtomicUsize,
    steps: Mutex<Vec<String>>,
    stop: StopFlag,
}

impl StopAt {
    fn tell(&self, what: String) {
        self.steps.lock().unwrap().push(what);
        if self.told.fetch_add(1, Ordering::Relaxed) == self.after {
            self.stop.raise();
        }
    }
}

impl Observer for StopAt {
    fn begin(&self, phase: Phase, _: u64) {
        self.tell(format!("{phase:?}"));
    }
    fn advance(&self, _: u64) {
        // One of many chunks.
        if self
            .chunks
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(20)
        {
            self.tell("advance".to_owned());
        }
    }
    fn publishing(&self, step: PublishStep) {
        self.tell(format!("{step:?}"));
    }
}

/// Provisions `plain.img` through the library; what was told, and whether it is done.
fn stopped(plain: &Plain, after: usize) -> (Vec<String>, Result<(), String>) {
    let job = Job {
        source: plain.path("plain.img"),
        backing_files: Vec::new(),
        output: Some(plain.path("guest.img")),
        overwrite: false,
        output_format: None,
        choices: Choices::default(),
        kernel_efi: None,
        threads: Some(2),
    };
    let binding = Binding {
        key_object: KeyObject::Secboot,
        srk: SrkOptions {
            public: plain.path("srk.pub"),
            template: TemplateChoice::Written { unique_data: None },
        },
        guest: None,
        allow_uncovered_initrd: false,
        recovery: Some(RecoverySource::New(plain.path("new.key"))),
    };
    let stop = StopFlag::new();
    let observer = StopAt {
        after,
        told: AtomicUsize::new(0),
        chunks: AtomicUsize::new(0),
        steps: Mutex::default(),
        stop: stop.clone(),
    };
    let source = PlainImage::open(&job.source, &[], [job.clone()], &observer, &stop).unwrap();
    let batch = source.batch(1);
    let entropy = &mut SystemEntropy::new();
    let image = batch.prepare(job, &binding, entropy, 1_700_000_000);
    let images = [image.unwrap()];
    let written = batch.write(&images, &observer, &stop).pop().unwrap();
    let done = written.and_then(|written| written.publish(&observer, &stop)?.durable());
    let steps = observer.steps.into_inner().unwrap();
    (steps, done.map_err(|error| error.to_string()))
}

#[test]
fn stopped_wherever_it_tells_something() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    let before = state(&plain.path("plain.img"));
    let names = plain.workshop().names();
    let mut finished = 0;
    for after in 0.. {
        let (steps, done) = stopped(&plain, after);
        assert!(state(&plain.path("plain.img")) == before);
        if done.is_ok() {
            // The flag came when the image had its name, or not at all.
            assert!(plain.path("new.key").exists());
            Made::of(plain.path("guest.img"));
            std::fs::remove_file(plain.path("guest.img")).unwrap();
            std::fs::remove_file(plain.path("new.key")).unwrap();
            finished += 1;
            if steps.len() <= after {
                assert!(steps.contains(&"BeforeLink".to_owned()), "{steps:?}");
                break;
            }
        } else {
            assert_eq!(
                done,
                Err("interrupted; nothing was left behind".to_owned()),
                "{after}"
            );
        }
        assert_eq!(plain.workshop().names(), names, "{after}");
    }
    assert!((1..=4).contains(&finished), "{finished}");
}

/// Ctrl-C while several images are written: those that have their names are whole, nothing else is left, and the program
/// dies of the signal.
#[test]
fn ctrl_c_ends_a_run_for_many_guests() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    let line = |name| {
        format!(
            "{{\"output\": \"{name}.img\", \"srk_pub\": \"srk.pub\", \"recovery_key_out\": \"{name}.key\"}}\n"
        )
    };
    let guests: String = ["a", "b", "c"].into_iter().map(line).collect();
    plain.workshop().write("guests.jsonl", guests.as_bytes());
    let names = plain.workshop().names();
    let flags = [
        &WITHOUT_PCRS[2..],
        &["--guests", "guests.jsonl", "plain.img"],
    ];
    for wanted in ["encrypting", "encrypting: 50%", "flushing"] {
        let mut child = plain.provision(&flags.concat());
        let mut child = child.stderr(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
        let found = told.any(|line| line.unwrap().starts_with(wanted));
        let _ = kill_process(Pid::from_child(&child), Signal::INT);
        let rest: Vec<_> = told.map_while(Result::ok).collect();
        let status = child.wait().unwrap();
        assert!(found, "{wanted}");
        let mut left = names.clone();
        for name in ["a", "b", "c"] {
            let image = plain.path(&format!("{name}.img"));
            if image.exists() {
                Made::of(image);
                left.extend([format!("{name}.img"), format!("{name}.key")]);
            }
        }
        left.sort();
        assert_eq!(plain.workshop().names(), left, "{wanted}");
        if left.len() < names.len() + 6 {
            assert_eq!(status.signal(), Some(2), "{wanted}: {rest:?}");
            let last = rest.last().unwrap();
            assert!(last.contains("interrupted; "), "{rest:?}");
        }
        for name in &left[..] {
            if !names.contains(name) {
                std::fs::remove_file(plain.path(name)).unwrap();
            }
        }
    }
}

#[test]
fn a_limit_on_the_size_of_files_leaves_nothing() {
    if !ready() || !programs(&["prlimit"]) {
        return;
    }
    let plain = Plain::new();
    let before = state(&plain.path("plain.img"));
    let names = plain.workshop().names();
    for limit in [1_u64 << 20, 40 << 20] {
        let mut limited = plain.workshop().command("prlimit");
        limited
            .arg(format!("--fsize={limit}"))
            .arg(plain.workshop().program());
        limited.arg("provision").args(WITHOUT_PCRS);
        limited.args(["--recovery-key-out", "new.key", "--report", "report.json"]);
        let output = limited.args(["-o", "guest.img", "plain.img"]).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1), "{:?}", output.status);
        let talk = stderr(&output);
        assert!(talk.contains("File too large (os error 27)"), "{talk}");
        assert!(state(&plain.path("plain.img")) == before);
        assert_eq!(plain.workshop().names(), names);
    }
}
