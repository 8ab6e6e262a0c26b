//! The system calls of a run from where it makes its first file, by the numbers that strace injects faults at.

use std::collections::BTreeMap;

use crate::runs::{Bench, Run};

/// Calls that make files, fill them, make them durable, and give and take names.
pub const CALLS: [&str; 16] = [
    "openat",
    "ftruncate",
    "fchmod",
    "fchown",
    "copy_file_range",
    "pwrite64",
    "write",
    "fsync",
    "fdatasync",
    "linkat",
    "link",
    "rename",
    "renameat2",
    "unlink",
    "unlinkat",
    "close",
];

/// One call of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Which of this name it is in its thread, from 1.
    pub number: usize,
}

/// The calls of an undisturbed run, from the first file without a name on.
pub fn of(bench: &Bench, run: &Run) -> Vec<Call> {
    bench.lay_out(run);
    let trace = bench.path("trace");
    let options = ["-y", "-e", &format!("trace={}", CALLS.join(","))].map(str::to_owned);
    let output = bench.traced(run, &trace, &options);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = std::fs::read_to_string(&trace).unwrap();
    bench.clear();
    let mut numbers = BTreeMap::new();
    let mut calls = Vec::new();
    let mut has_begun = false;
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else {
            continue; // the end of a call that was begun before, or of a thread
        };
        let number = numbers.entry((thread.to_owned(), name.to_owned()));
        let number = number.and_modify(|number| *number += 1).or_insert(1);
        has_begun |= arguments.contains("O_TMPFILE") || arguments.contains(".partial");
        let call = Call {
            name: name.to_owned(),
            number: *number,
        };
        // What is told, and what is closed after the last word, makes no file.
        let is_talk = name == "write" && !arguments.contains("encrypt-cloud-image");
        if has_begun && !is_talk && !calls.contains(&call) {
            calls.push(call);
        }
    }
    assert!(has_begun, "{text}");
    calls
}

/// The calls with which names are given and made durable.
pub fn of_names(mut calls: Vec<Call>) -> Vec<Call> {
    let names = ["fsync", "linkat", "rename", "renameat2"];
    calls.retain(|call| names.contains(&call.name.as_str()));
    calls
}

/// The calls that give names.
pub fn that_name(mut calls: Vec<Call>) -> Vec<Call> {
    calls.retain(|call| call.name != "fsync");
    calls
}

/// Of a run that makes a key file the call behind the one that names it: the key is there, and the image is not.
pub fn between_names(bench: &Bench, run: &Run) -> Vec<Call> {
    if run.images[0].1.is_none() {
        return Vec::new();
    }
    let calls = that_name(of_names(of(bench, run)));
    calls.into_iter().skip(1).take(1).collect()
}

/// Those that give names, each with the flush behind it.
pub fn that_name_and_flush(calls: &[Call]) -> Vec<Call> {
    let mut found = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| calls.get(before));
        if call.name != "fsync" || before.is_some_and(|before| before.name != "fsync") {
            found.push(call.clone());
        }
    }
    found
}
