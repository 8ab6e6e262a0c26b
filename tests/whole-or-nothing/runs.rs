//! The commands, what they are run on, and what is left of it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use rustix::fs::OFlags;

use crate::calls::Call;
use crate::encrypted::{Encrypted, ROOT, WITHOUT_PCRS};
use crate::plain::Plain;
use crate::support::container::Container;
use crate::support::workshop::{Workshop, give_away, stderr};
use crate::support::{command, disk, exits, files};

/// A command.
pub struct Run {
    pub name: &'static str,
    pub arguments: Vec<&'static str>,
    /// Files that are there before: their name, and what they are copies of.
    pub before: &'static [(&'static str, Before)],
    /// Its images: their names, and the file of the recovery key that opens each.
    pub images: &'static [(&'static str, Option<&'static str>)],
    /// Its other files.
    pub reports: &'static [&'static str],
}

/// What a file is that a command finds.
#[derive(Clone, Copy)]
pub enum Before {
    Plain,
    Encrypted,
    Old,
    Guests,
}

/// What an image is.
#[derive(Debug, PartialEq, Eq)]
pub enum Image {
    /// There is none.
    Absent,
    /// It is what it was.
    AsBefore,
    /// It is a container that has the key, where there is one.
    Whole,
    /// It is a container without a keyslot for any recovery key.
    WithoutKeyslot,
}

const GUESTS: &str = concat!(
    r#"{"output": "a.img", "srk_pub": "srk.pub", "recovery_key_out": "a.key"}"#,
    "\n",
    r#"{"output": "b.img", "srk_pub": "srk.pub", "recovery_key_out": "b.key", "report": "b.json"}"#,
);

/// Tries every command with each of the calls that `calls` names of it.
pub fn for_each(calls: fn(&Bench, &Run) -> Vec<Call>, try_one: fn(&Bench, &Run, &Call)) {
    if !crate::ready() {
        return;
    }
    let bench = Bench::new();
    for run in all() {
        for call in calls(&bench, &run) {
            try_one(&bench, &run, &call);
        }
    }
}

/// Every command that makes an image, or files beside one.
pub fn all() -> Vec<Run> {
    let bound = |command: &'static str, more: &[&'static str]| {
        [&[command], &WITHOUT_PCRS[..], more].concat()
    };
    vec![
        Run {
            name: "encrypt",
            arguments: vec!["encrypt", "--threads=1", "-o", "new.img", "plain.img"],
            before: &[],
            images: &[("new.img", None)],
            reports: &[],
        },
        Run {
            name: "encrypt a file where it lies",
            arguments: vec!["encrypt", "--threads=1", "work.img"],
            before: &[("work.img", Before::Plain)],
            images: &[("work.img", None)],
            reports: &[],
        },
        Run {
            name: "deploy a file where it lies",
            arguments: bound(
                "deploy",
                &[
                    "--recovery-key-out=new.key",
                    "--report=new.json",
                    "work.img",
                ],
            ),
            before: &[("work.img", Before::Encrypted)],
            images: &[("work.img", Some("new.key"))],
            reports: &["new.json"],
        },
        Run {
            name: "deploy a copy, for systemd",
            arguments: bound(
                "deploy",
                &[
                    "--key-object=systemd-tpm2",
                    "--standard-srk-template",
                    "--recovery-key-out=new.key",
                    "-o",
                    "new.img",
                    "disk.img",
                ],
            ),
            before: &[],
            images: &[("new.img", Some("new.key"))],
            reports: &[],
        },
        Run {
            name: "provision",
            arguments: bound(
                "provision",
                &[
                    "--threads=1",
                    "--recovery-key-out=new.key",
                    "--report=new.json",
                    "-o",
                    "new.img",
                    "plain.img",
                ],
            ),
            before: &[],
            images: &[("new.img", Some("new.key"))],
            reports: &["new.json"],
        },
        Run {
            name: "provision over an old file",
            arguments: bound(
                "provision",
                &[
                    "--threads=1",
                    "--recovery-key-out=new.key",
                    "--overwrite",
                    "-o",
                    "old.img",
                    "plain.img",
                ],
            ),
            before: &[("old.img", Before::Old)],
            images: &[("old.img", Some("new.key"))],
            reports: &[],
        },
        Run {
            name: "provision for two guests",
            arguments: vec![
                "provision",
                "--no-pcr-policy",
                "--threads=1",
                "--guests=guests.jsonl",
                "plain.img",
            ],
            before: &[("guests.jsonl", Before::Guests)],
            images: &[("a.img", Some("a.key")), ("b.img", Some("b.key"))],
            reports: &["b.json"],
        },
    ]
}

/// A folder in which commands are run.
pub struct Bench {
    plain: Plain,
    /// Outside of it, for what the tests themselves write.
    aside: tempfile::TempDir,
    kept: Vec<String>,
}

impl Bench {
    pub fn new() -> Self {
        let plain = Plain::new();
        plain.workshop().program(); // it may have to be put there
        Self {
            kept: plain.workshop().names(),
            plain,
            aside: crate::support::scratch(),
        }
    }

    pub fn workshop(&self) -> &Workshop {
        self.plain.workshop()
    }

    /// A file of the tests' own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.aside.path().join(name)
    }

    /// Makes the files that a run finds.
    pub fn lay_out(&self, run: &Run) {
        self.clear();
        for (name, before) in run.before {
            match before {
                Before::Plain => self.workshop().put(&Encrypted::plain().image, name),
                Before::Encrypted => self.workshop().put(&Encrypted::new().image, name),
                Before::Old => self.workshop().write(name, b"old"),
                Before::Guests => self.workshop().write(name, GUESTS.as_bytes()),
            };
        }
    }

    /// Removes what is not there from the beginning.
    pub fn clear(&self) {
        for name in self.workshop().names() {
            if !self.kept.contains(&name) {
                fs::remove_file(self.workshop().path(&name)).unwrap();
            }
        }
    }

    /// Makes a pipe that is full, and gives its reader.
    pub fn full_pipe(&self, name: &str) -> fs::File {
        let path = self.workshop().path(name);
        exits(command("mkfifo").arg(&path), 0);
        give_away(&path);
        let reader = fs::File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .unwrap();
        while (&reader).write(&[b' '; 4096]).is_ok() {}
        reader
    }

    /// Starts a command in a folder of a file system that has no unnamed files. strace keeps out of the way: the process is
    /// the program's own.
    pub fn start_without_unnamed_files(&self, arguments: &[&str]) -> Child {
        let mut strace = self.workshop().command("strace");
        strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-P"]);
        strace.arg(self.workshop().folder());
        strace.args(["-e", "inject=openat:error=EOPNOTSUPP"]);
        strace.arg(self.workshop().program()).args(arguments);
        strace.stdout(Stdio::piped()).stderr(Stdio::piped());
        strace.spawn().unwrap()
    }

    /// Runs a command under strace, with further options for it.
    pub fn traced(&self, run: &Run, trace: &Path, options: &[String]) -> Output {
        // strace writes as the ordinary user.
        let file = fs::File::create(trace).unwrap();
        drop(file);
        crate::support::workshop::give_away(trace);
        crate::support::workshop::give_away(trace.parent().unwrap());
        let mut strace = self.workshop().command("strace");
        strace.args(["-f", "-qq", "-e", "signal=none", "-o"]);
        strace.arg(trace).args(options);
        strace.arg(self.workshop().program()).args(&run.arguments);
        strace.output().unwrap()
    }

    /// Runs a command in which one call goes wrong: `fault` is `error=EIO`, `signal=KILL` and the like.
    pub fn faulty(&self, run: &Run, call: &crate::calls::Call, fault: &str) -> Output {
        let (name, number) = (&call.name, call.number);
        let options = ["-e".to_owned(), format!("trace={name}"), "-e".to_owned()];
        let inject = format!("inject={name}:{fault}:when={number}");
        let trace = self.path("trace");
        self.traced(run, &trace, &[&options[..], &[inject]].concat())
    }

    /// The same with several calls that go wrong.
    pub fn faults(&self, run: &Run, faults: &[(&str, &str)]) -> Output {
        let faults = faults.iter();
        let options = faults.map(|(call, fault)| format!("--inject={call}:{fault}"));
        self.traced(run, &self.path("trace"), &options.collect::<Vec<_>>())
    }

    /// Runs a command undisturbed.
    pub fn run(&self, run: &Run) -> Output {
        let mut command = self.workshop().command(self.workshop().program());
        command.args(&run.arguments).output().unwrap()
    }

    /// What an image is now.
    #[track_caller]
    pub fn image(&self, run: &Run, (name, key): (&str, Option<&str>)) -> Image {
        let path = self.workshop().path(name);
        if !path.exists() {
            return Image::Absent;
        }
        let before = run.before.iter().find(|(before, _)| *before == name);
        let is_as_before = before.is_some_and(|(_, before)| match before {
            Before::Plain => same(&path, &Encrypted::plain().image),
            Before::Encrypted => same(&path, &Encrypted::new().image),
            Before::Old => fs::read(&path).unwrap() == b"old",
            Before::Guests => false,
        });
        if is_as_before {
            return Image::AsBefore;
        }
        let table = disk::read(&path);
        assert_eq!(disk::problems(&path, table.sector_bytes), "");
        let container = Container::open(&path, &table, ROOT);
        let keyslots = container.metadata["keyslots"].as_object().unwrap().keys();
        let keyslots = keyslots.map(|number| number.parse::<u32>().unwrap());
        let tokens = container.metadata["tokens"].as_object().unwrap().values();
        let is_of_recovery = |kind: &str| kind.contains("recovery");
        let has_recovery = tokens
            .filter_map(|token| token["type"].as_str())
            .any(is_of_recovery);
        match key.map(|key| fs::read(self.workshop().path(key))) {
            None => {
                assert_eq!(container.test_key(0, &container.unlock_key()), 0);
                Image::Whole
            }
            Some(Ok(key)) if has_recovery => {
                let opens = |keyslot| container.test_key(keyslot, &key) == 0;
                assert_eq!(keyslots.map(opens).filter(|opens| *opens).count(), 1);
                Image::Whole
            }
            _ if !has_recovery => Image::WithoutKeyslot,
            found => panic!("{name} has lost its recovery key: {found:?}"),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.workshop().path(name).exists()
    }

    /// Names in the folder that are those of no file of the run.
    pub fn strangers(&self, run: &Run) -> Vec<String> {
        let images = run.images.iter();
        let images = images.flat_map(|(image, key)| [Some(*image), *key].into_iter().flatten());
        let known: Vec<_> = images
            .chain(run.reports.iter().copied())
            .chain(run.before.iter().map(|(name, _)| *name))
            .collect();
        let mut names = self.workshop().names();
        names.retain(|name| !self.kept.contains(name) && !known.contains(&name.as_str()));
        names
    }

    /// A second run of the same command: it works, or says which file is in the way.
    #[track_caller]
    pub fn runs_again(&self, run: &Run, what: &str) {
        let again = self.run(run);
        let talk = stderr(&again);
        if again.status.code() == Some(0) {
            for (image, key) in run.images {
                assert!(key.is_none_or(|key| self.has(key)), "{what}: {talk}");
                assert_eq!(self.image(run, (image, *key)), Image::Whole, "{what}");
            }
            return;
        }
        let names = run.images.iter();
        let names = names.flat_map(|(image, key)| [Some(*image), *key].into_iter().flatten());
        let in_the_way: Vec<_> = names.filter(|name| self.has(name)).collect();
        let said = |name: &&str| {
            talk.contains(&format!("{name}: the output exists already"))
                || talk.contains(&format!("--recovery-key-out: {name} exists already"))
                || talk.contains(&format!("{name}: the image is deployed already"))
                || talk.contains(&format!(
                    "{name}: the root partition is already encrypted by this program"
                ))
        };
        assert!(in_the_way.iter().any(said), "{what}: {talk}");
    }
}

fn same(one: &Path, other: &Path) -> bool {
    files::digest(one) == files::digest(other)
}
