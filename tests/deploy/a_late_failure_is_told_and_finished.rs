//! From the first header copy on an image that is changed where it lies is bound. Whatever call fails from there, and
//! wherever the run is killed: `inspect` says that a deploy was interrupted until nothing of it is left to do, and what it
//! says to do does the rest: both header copies say the same, the material of every keyslot that went is overwritten, and
//! the sealed key and the owner's open the image. The judge is cryptsetup, on each header copy alone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};

use serde_json::Value;

use crate::a_crash_leaves_tokens_that_open::for_systemd;
use crate::crashed::COPY_BYTES;
use crate::encrypted::{Encrypted, ROOT, WITHOUT_PCRS, find_key};
use crate::resealed::{RECOVERY_KEY, UNLOCK, any_state, area, deployed_of, is_overwritten};
use crate::resealed::{opened_by, sealed_key};
use crate::support::container::HEADER_BYTES;
use crate::support::systemd::Systemd;
use crate::support::tpm::Tpm;
use crate::support::workshop::{stderr, stdout};
use crate::support::{all, command, exits, files, programs, scratch};
use crate::systemd_guest::{KEY_OBJECT, SRKS, all_ready};

/// What the run says whose first header copy counts already.
const HINT: &str = "hint: when the cause is gone, run deploy again, without --unlock-with and --recovery-key-out: it completes what this run began, and binds nothing anew; do not ship the image before\n";
/// What `inspect` says by then, in words and as JSON.
const TOLD: &str =
    "state         a deploy was interrupted; run it again before the image is used\n";
const WHAT_TO_DO: &str = "run deploy again, which completes what was interrupted";
/// The same while two sealed keys are there.
const HALF_REPLACED: &str = "run deploy --unlock-with again";
/// The digits of the recovery key, which are what systemd's prompt takes.
const DIGITS: &str = "12592-13106-13620-14134-14648-25185-25699-26213";

/// A command on an image that is laid out anew for each run of it.
struct Case {
    before: Encrypted,
    flags: Vec<&'static str>,
    /// Those that the first run has besides.
    only_first: &'static [&'static str],
    /// The file of a key that opens the image whatever happens, where there is one.
    owners: Option<&'static [u8]>,
    is_for_systemd: bool,
}

fn cases() -> Vec<Case> {
    let of_systemd = [&KEY_OBJECT[..], &WITHOUT_PCRS].concat();
    let case = |before, is_for_systemd, owners: Option<&'static [u8]>| Case {
        before,
        flags: if is_for_systemd {
            of_systemd.clone()
        } else {
            WITHOUT_PCRS.to_vec()
        },
        only_first: if owners.is_some() {
            &UNLOCK
        } else {
            &["--recovery-key-out", "new.key"]
        },
        owners,
        is_for_systemd,
    };
    let tokens = deployed_of(for_systemd(Encrypted::new()), &of_systemd);
    let file = deployed_of(Encrypted::new(), &WITHOUT_PCRS);
    vec![
        case(for_systemd(Encrypted::new()), true, None),
        case(tokens, true, Some(DIGITS.as_bytes())),
        case(Encrypted::new(), false, None),
        case(file, false, Some(&RECOVERY_KEY)),
    ]
}

/// A call, as strace counts it.
#[derive(Debug, Clone)]
struct Call {
    name: String,
    number: usize,
}

impl Case {
    fn first(&self, program: &mut Command, image: &Encrypted) {
        program.arg(image.workshop.program()).arg("deploy");
        program.args(&self.flags).args(self.only_first);
        program.arg("disk.img");
    }

    /// The writes and flushes of an undisturbed run, from one of its header copies on: the last of the first copies, or with
    /// `from_the_first` the first of all.
    fn calls(&self, from_the_first: bool) -> Vec<Call> {
        let image = self.before.copied();
        let trace = image.workshop.write("trace", b"");
        let mut strace = image.workshop.command("strace");
        strace.args(["-f", "-qq", "-e", "trace=pwrite64,fsync,fdatasync", "-o"]);
        strace.arg(&trace);
        self.first(&mut strace, &image);
        exits(&mut strace, 0);
        let mut numbers = BTreeMap::new();
        let mut calls = Vec::new();
        let mut headers = Vec::new();
        for line in fs::read_to_string(&trace).unwrap().lines() {
            let (thread, call) = line.split_once(char::is_whitespace).unwrap();
            let Some((name, arguments)) = call.trim_start().split_once('(') else {
                continue; // the end of a thread
            };
            let number = numbers.entry((thread.to_owned(), name.to_owned()));
            let number = *number.and_modify(|number| *number += 1).or_insert(1);
            if arguments.contains(&format!(", {COPY_BYTES}, ")) {
                headers.push(calls.len());
            }
            calls.push(Call {
                name: name.to_owned(),
                number,
            });
        }
        assert!(headers.len() >= 2 && headers.len().is_multiple_of(2));
        let from = if from_the_first { 0 } else { headers.len() - 2 };
        calls.split_off(headers[from])
    }

    /// What is there after a run in which a call goes wrong.
    fn faulty(&self, call: &Call, fault: &str) -> (Encrypted, Output) {
        let image = self.before.copied();
        let mut strace = image.workshop.command("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null"]);
        strace.arg(format!("--trace={}", call.name));
        strace.arg(format!(
            "--inject={}:{fault}:when={}",
            call.name, call.number
        ));
        self.first(&mut strace, &image);
        let output = strace.output().unwrap();
        (image, output)
    }

    /// True where nothing of a deploy is left to do, as cryptsetup sees each header copy, and as the bytes lie there.
    fn is_finished(&self, image: &Encrypted) -> bool {
        let [Some(first), Some(second)] = each_copy(image) else {
            return false;
        };
        let text = first.to_string();
        let has_area = |at: u64| text.contains(&format!(r#""offset":"{at}""#));
        let start = self.before.table().byte_range(ROOT).start;
        let before = self.before.container();
        let numbers = before.metadata["keyslots"].as_object().unwrap().keys();
        let areas = numbers.map(|number| area(&self.before, &before, number));
        let mut gone = areas.filter(|(at, _)| !has_area(at - start));
        first == second
            && !text.contains("cloudimg-key")
            && !text.contains("eci-reseal")
            && find_key(&image.image, &image.clear_key).is_none()
            && gone.all(|(at, len)| {
                let material = files::read(&self.before.image, at, len);
                is_overwritten(&image.image, at, &material)
            })
    }

    /// The sealed key opens the image, and so does the owner's.
    fn assert_opens(&self, image: &Encrypted, systemd: &Systemd, what: &str) {
        let container = image.container();
        if self.is_for_systemd {
            let folder = scratch();
            let tpm = Tpm::of_data(SRKS[1].tpm, &folder.path().join("tpm"));
            let opened = systemd.open(&container.header, &tpm, None);
            assert!(opened.answer.starts_with("keyslot "), "{what}: {opened:?}");
        } else {
            let key = sealed_key(image, "soft-rsa", &any_state());
            assert_eq!(opened_by(&container, &key), [0], "{what}");
            image.esp().assert_mendable();
        }
        let new = image.workshop.path("new.key");
        let owners = self.owners.map(<[u8]>::to_vec);
        let owners = owners.or_else(|| fs::read(new).ok());
        let recovery = container.metadata["tokens"].to_string();
        assert_eq!(owners.is_some(), recovery.contains("recovery"), "{what}");
        if let Some(key) = owners {
            assert_eq!(opened_by(&container, &key).len(), 1, "{what}");
        }
    }

    /// A run in which a call goes wrong, what `inspect` says then, and what comes of doing that. Returns the state.
    #[track_caller]
    fn try_one(&self, systemd: &Systemd, call: &Call, fault: &str) -> String {
        let (image, output) = self.faulty(call, fault);
        let said = stderr(&output);
        let what = format!("{:?}, {call:?}, {fault}: {said}", self.flags);
        let was_killed = output.status.signal() == Some(9);
        assert!(was_killed || output.status.code() == Some(1), "{what}");

        let (state, told, words) = inspected(&image);
        let is_as_before = is_as_before(self, &image);
        let is_finished = !is_as_before && self.is_finished(&image);
        let is_told = told.contains(WHAT_TO_DO) || told.contains(HALF_REPLACED);
        assert_eq!(state == "interrupted", is_told, "{what}{told}");
        assert_eq!(words.contains(TOLD), is_told, "{what}{words}");
        match &*state {
            "interrupted" => assert!(!is_as_before && !is_finished, "{what}"),
            // A run that was killed has no more to do than one that has failed; only its last flush nobody has seen.
            "deployed" if is_finished => assert!(was_killed, "{what}"),
            "encrypted" | "deployed" => assert!(is_as_before, "{what}"),
            _ => panic!("{what}{told}"),
        }
        if !was_killed && state == "interrupted" && !told.contains(HALF_REPLACED) {
            let is_of_first = said.contains("writing the first LUKS2 header copy");
            assert!(is_of_first || said.ends_with(HINT), "{what}");
        }
        let mut again = image.deploy(&self.flags);
        if told.contains(HALF_REPLACED) || is_as_before {
            again.args(self.only_first);
            // A kill between the name of the key's file and the header leaves a key that opens nothing.
            let _ = fs::remove_file(image.workshop.path("new.key"));
        }
        let output = again.arg("disk.img").output().unwrap();
        let talk = format!("{what}\n{}", stderr(&output));
        if is_finished {
            assert!(talk.contains("the image is deployed already"), "{talk}");
        } else {
            assert_eq!(output.status.code(), Some(0), "{talk}");
            let completes = talk.contains("an interrupted deploy was completed");
            assert_eq!(completes, told.contains(WHAT_TO_DO), "{talk}");
        }
        assert!(self.is_finished(&image), "{talk}");
        assert_eq!(inspected(&image).0, "deployed", "{talk}");
        self.assert_opens(&image, systemd, &talk);
        state
    }
}

/// True where both header copies are those of before.
fn is_as_before(case: &Case, image: &Encrypted) -> bool {
    let at = image.table().byte_range(ROOT).start;
    let len = usize::try_from(2 * COPY_BYTES).unwrap();
    files::read(&image.image, at, len) == files::read(&case.before.image, at, len)
}

/// `inspect`: the state and the warnings of the document, and the words.
fn inspected(image: &Encrypted) -> (String, String, String) {
    let inspect = |options: &[&str]| {
        let mut inspect = image.workshop.command(image.workshop.program());
        stdout(&exits(
            inspect.arg("inspect").args(options).arg("disk.img"),
            0,
        ))
    };
    let document: Value = serde_json::from_str(&inspect(&["--json"])).unwrap();
    (
        document["state"].as_str().unwrap().to_owned(),
        document["warnings"].to_string(),
        inspect(&[]),
    )
}

/// What cryptsetup reads of each header copy where the other one is nowhere; none of a copy that it does not take.
fn each_copy(image: &Encrypted) -> [Option<Value>; 2] {
    let range = image.table().byte_range(ROOT);
    let from = files::open(&image.image).0;
    [1, 0].map(|other| {
        let folder = scratch();
        let alone = folder.path().join("alone");
        let to = fs::File::create_new(&alone).unwrap();
        to.set_len(range.end - range.start).unwrap();
        let end = range.start + HEADER_BYTES;
        files::copy(&from, range.start..end, &to, 0);
        let zeros = vec![0; usize::try_from(COPY_BYTES).unwrap()];
        files::write(&alone, other * COPY_BYTES, &zeros);
        let mut dump = command("cryptsetup");
        dump.args(["luksDump", "--dump-json-metadata"]).arg(&alone);
        let text = stdout(&dump.output().unwrap());
        serde_json::from_str(&text).ok()
    })
}

/// Every case with each of its calls; where not everything is asked for, some cases with the flushes alone.
fn run_through(some: [usize; 2], fault: &str) {
    let Some(systemd) = all_ready() else { return };
    if !programs(&["strace"]) {
        return;
    }
    for (number, case) in cases().iter().enumerate() {
        if !all() && !some.contains(&number) {
            continue;
        }
        let mut calls = case.calls(all());
        calls.retain(|call| all() || call.name != "pwrite64");
        assert!(calls.len() >= 2, "{calls:?}");
        let states = calls
            .iter()
            .map(|call| case.try_one(&systemd, call, fault))
            .collect::<Vec<_>>();
        assert!(states.iter().any(|state| state == "interrupted"));
    }
}

#[test]
fn where_a_call_fails() {
    run_through([0, 3], "error=EIO");
}

#[test]
fn where_the_run_is_killed() {
    run_through([1, 2], "signal=KILL");
}
