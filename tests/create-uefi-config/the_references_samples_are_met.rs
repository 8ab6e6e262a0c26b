//! Every run of the reference's program that was recorded, repeated with ours.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{program, support};

/// Met only with `--compat reference`; by default ours refuses. Of the first five their PK is missing.
const STRICTER: [&str; 12] = [
    "dot-names",
    "missing-pk",
    "order-letters",
    "order-non-ascii",
    "order-numbers",
    "missing-all",
    "names-not-taken",
    "empty-files",
    "base64-alphabet",
    "not-a-list",
    "extra-arguments",
    "save-databases-missing",
];

/// Where the reference is wrong, and never followed.
const BUGS: [&str; 4] = [
    "missing-directory",
    "directory-with-brackets",
    "directory-with-open-bracket",
    "output-exists-longer",
];

struct Sample {
    name: String,
    folder: PathBuf,
    arguments: Value,
}

fn samples() -> Vec<Sample> {
    let mut samples: Vec<_> = fs::read_dir(support::data("create-uefi-config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|folder| folder.is_dir())
        .map(|folder| Sample {
            name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
            arguments: serde_json::from_slice(&fs::read(folder.join("args.json")).unwrap())
                .unwrap(),
            folder,
        })
        .collect();
    samples.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(samples.len(), 29);
    samples
}

struct Run {
    exit: i32,
    written: Option<Vec<u8>>,
    folder: tempfile::TempDir,
}

impl Sample {
    fn text(&self, member: &str) -> Option<&str> {
        self.arguments
            .get(member)
            .map(|text| text.as_str().unwrap())
    }

    /// Runs the sample in a directory of its own.
    fn run(&self, more: &[&str]) -> Run {
        let scratch = support::scratch();
        let folder = scratch.path();
        if self.folder.join("in").is_dir() {
            let input = folder.join(self.text("input_directory").unwrap_or("in"));
            copy(&self.folder.join("in"), &input);
            for (stored, name) in self.arguments["input_names"]
                .as_object()
                .into_iter()
                .flatten()
            {
                fs::rename(input.join(stored), input.join(name.as_str().unwrap())).unwrap();
            }
        }
        for made in self.arguments["make_directories"]
            .as_array()
            .into_iter()
            .flatten()
        {
            fs::create_dir(folder.join(made.as_str().unwrap())).unwrap();
        }
        if let Some(before) = self.text("output_before") {
            fs::write(folder.join("out.json"), before).unwrap();
        }
        let arguments = self.arguments["args"].as_array().unwrap();
        let output = program(folder)
            .args(arguments.iter().map(|argument| argument.as_str().unwrap()))
            .args(more)
            .output()
            .unwrap();
        Run {
            exit: output.status.code().unwrap(),
            written: fs::read(folder.join("out.json")).ok(),
            folder: scratch,
        }
    }

    fn expected(&self) -> Option<Vec<u8>> {
        fs::read(self.folder.join("expected.json")).ok()
    }

    /// Ours did what the reference did: the same success and the same bytes.
    #[track_caller]
    fn assert_met(&self, run: &Run) {
        let name = &self.name;
        let expected = self.expected();
        assert_eq!(
            expected.is_some(),
            self.arguments["output"].as_bool().unwrap(),
            "{name}"
        );
        assert_eq!(run.written, expected, "{name}");
        match self.arguments["exit"].as_i64().unwrap() {
            0 => assert_eq!(run.exit, 0, "{name}"),
            // Wrong usage has an exit code of its own here.
            _ if self.text("error_class") == Some("bad-arguments") => {
                assert_eq!(run.exit, 2, "{name}");
            }
            _ => assert_eq!(run.exit, 1, "{name}"),
        }
        if let Some(saved) = self.text("saved_directory") {
            for variable in ["PK", "KEK", "db", "dbx"] {
                assert_eq!(
                    fs::read(run.folder.path().join(saved).join(variable)).unwrap(),
                    fs::read(self.folder.join("expected-saved").join(variable)).unwrap(),
                    "{name}: {variable}"
                );
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn thirteen_are_met_by_default() {
    let mut met = 0;
    for sample in samples() {
        if !STRICTER.contains(&&*sample.name) && !BUGS.contains(&&*sample.name) {
            sample.assert_met(&sample.run(&[]));
            met += 1;
        }
    }
    assert_eq!(met, 13);
}

#[test]
fn twelve_are_refused_by_default_and_met_with_compat_reference() {
    for sample in samples()
        .iter()
        .filter(|sample| STRICTER.contains(&&*sample.name))
    {
        let run = sample.run(&[]);
        assert_ne!(run.exit, 0, "{}", sample.name);
        assert_eq!(run.written, None, "{}", sample.name);
        sample.assert_met(&sample.run(&["--compat", "reference"]));
    }
}

#[test]
fn the_others_are_met_with_compat_reference_too() {
    for sample in samples()
        .iter()
        .filter(|sample| !BUGS.contains(&&*sample.name))
    {
        sample.assert_met(&sample.run(&["--compat=reference"]));
    }
}

#[test]
fn bugs_of_the_reference_are_not_repeated() {
    let samples = samples();
    let marked = samples
        .iter()
        .filter(|sample| sample.text("reference_bug").is_some());
    assert_eq!(marked.count(), BUGS.len());
    for more in [&[][..], &["--compat", "reference"]] {
        let run = |name: &str| {
            samples
                .iter()
                .find(|sample| sample.name == name)
                .unwrap()
                .run(more)
        };

        let missing = run("missing-directory");
        assert_eq!((missing.exit, missing.written), (1, None));

        for name in ["directory-with-brackets", "directory-with-open-bracket"] {
            let run = run(name);
            let written = String::from_utf8(run.written.unwrap()).unwrap();
            assert_eq!(run.exit, 0);
            // Each list has 76 bytes, 104 characters in base64.
            let lists = written.lines().filter(|line| line.len() > 104).count();
            assert_eq!(
                lists,
                if name == "directory-with-brackets" {
                    3
                } else {
                    2
                }
            );
        }

        let longer = run("output-exists-longer");
        let sample = samples
            .iter()
            .find(|sample| sample.name == "output-exists-longer")
            .unwrap();
        let written = longer.written.unwrap();
        assert_eq!(longer.exit, 0);
        assert!(written.ends_with(b"false\n}\n"));
        assert!(sample.expected().unwrap().starts_with(&written));
    }
}
