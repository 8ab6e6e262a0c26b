//! System calls of a run, as `strace` saw them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::workshop::Workshop;

/// Calls that could carry data from one file to another without passing a buffer.
const KERNEL_COPIES: [&str; 8] = [
    "copy_file_range",
    "sendfile",
    "splice",
    "vmsplice",
    "tee",
    "io_uring_setup",
    "process_vm_writev",
    "io_submit",
];

/// Calls that change something by a name.
const NAME_CHANGES: [&str; 25] = [
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "mknod",
    "mknodat",
    "chmod",
    "fchmodat",
    "chown",
    "lchown",
    "fchownat",
    "truncate",
    "utimensat",
    "setxattr",
    "lsetxattr",
    "mount",
    "umount2",
];

/// Options for whole buffers, each byte in hexadecimal, of all calls that write, and all calls that could write without one.
pub const WHOLE_BUFFERS: [&str; 5] = [
    "-xx",
    "-s",
    "2000000",
    "-e",
    "trace=write,pwrite64,writev,pwritev,pwritev2,copy_file_range,sendfile,splice,vmsplice,tee,\
     io_uring_setup,process_vm_writev,io_submit,ioctl,mmap",
];

/// A trace.
#[derive(Debug)]
pub struct Trace {
    lines: Vec<String>,
}

/// One call.
#[derive(Debug)]
pub struct Call<'a> {
    /// Its name.
    pub name: &'a str,
    /// Everything between the outer parentheses.
    pub arguments: &'a str,
    /// What stands behind the equals sign.
    pub result: &'a str,
}

impl Trace {
    /// Runs a program as the ordinary user under `strace`, with further options for it.
    #[track_caller]
    pub fn of(
        workshop: &Workshop,
        options: &[&str],
        program: &Path,
        arguments: &[&str],
    ) -> (Self, std::process::Output) {
        let file = workshop.path("trace");
        let mut strace = workshop.command("strace");
        // Decoded file descriptors, and all threads.
        strace
            .args(["-f", "-y", "-qq", "-e", "signal=none", "-o"])
            .arg(&file)
            .args(options);
        let output = run_to_end(strace.arg(program).args(arguments));
        let bytes = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        (Self::parse(&String::from_utf8_lossy(&bytes)), output)
    }

    /// Puts calls together that another thread's line cut in two.
    pub fn parse(text: &str) -> Self {
        let mut lines = Vec::new();
        let mut unfinished = std::collections::HashMap::new();
        for line in text.lines() {
            let (thread, rest) = line.split_once(char::is_whitespace).unwrap_or(("", line));
            let rest = rest.trim_start();
            if let Some(start) = rest.strip_suffix("<unfinished ...>") {
                unfinished.insert(thread.to_owned(), start.to_owned());
            } else if let Some((_, end)) = rest
                .strip_prefix("<... ")
                .and_then(|rest| rest.split_once(" resumed>"))
            {
                let start = unfinished.remove(thread).unwrap_or_default();
                lines.push(start + end);
            } else {
                lines.push(rest.to_owned());
            }
        }
        lines.extend(unfinished.into_values());
        Self { lines }
    }

    /// All calls, in the order in which they ended.
    pub fn calls(&self) -> impl Iterator<Item = Call<'_>> {
        self.lines.iter().filter_map(|line| {
            let (name, rest) = line.split_once('(')?;
            let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, ""));
            let arguments = arguments.trim_end().strip_suffix(')').unwrap_or(arguments);
            Some(Call {
                name,
                arguments,
                result,
            })
        })
    }

    /// How often each program was started: paths given to `execve`.
    pub fn programs(&self) -> Vec<String> {
        let execs = self.calls().filter(|call| call.name.starts_with("execve"));
        execs
            .map(|call| quoted(call.arguments).next().unwrap_or_default().to_owned())
            .collect()
    }

    /// Processes that were made, other than threads.
    pub fn forks(&self) -> Vec<String> {
        self.calls()
            .filter(|call| ["fork", "vfork", "clone", "clone3"].contains(&call.name))
            .filter(|call| !call.arguments.contains("CLONE_THREAD"))
            .map(|call| call.arguments.to_owned())
            .collect()
    }

    /// Sockets that were made.
    pub fn sockets(&self) -> usize {
        self.calls().filter(|call| call.name == "socket").count()
    }

    /// Paths of files that were opened for writing, or made, or whose name or mode was changed.
    pub fn changed_paths(&self, folder: &Path) -> BTreeSet<PathBuf> {
        let mut paths = BTreeSet::new();
        for call in self.calls() {
            let opens = ["open", "openat", "openat2", "creat"].contains(&call.name);
            let writing = [
                "O_WRONLY",
                "O_RDWR",
                "O_CREAT",
                "O_TMPFILE",
                "O_TRUNC",
                "O_APPEND",
            ];
            if opens
                && (call.name == "creat"
                    || writing.iter().any(|flag| call.arguments.contains(flag)))
            {
                // The kernel's own name for it, where it was opened.
                paths.insert(
                    descriptor(call.result)
                        .map_or_else(|| first_path(call.arguments, folder), PathBuf::from),
                );
            } else if NAME_CHANGES.contains(&call.name) {
                let names: Vec<_> = quoted(call.arguments).collect();
                let targets = if call.name.starts_with("link") {
                    &names[names.len().min(1)..]
                } else {
                    &names[..]
                };
                paths.extend(targets.iter().map(|name| folder.join(name)));
            }
        }
        paths
    }

    /// Calls that could have carried data past our eyes, and files mapped shared and writable.
    pub fn kernel_copies(&self) -> Vec<String> {
        let is_one = |call: &Call<'_>| {
            KERNEL_COPIES.contains(&call.name)
                || call.name == "ioctl" && call.arguments.contains("FICLONE")
                || call.name == "mmap"
                    && call.arguments.contains("PROT_WRITE")
                    && call.arguments.contains("MAP_SHARED")
                    && call.arguments.contains('<')
        };
        self.calls()
            .filter(is_one)
            .map(|call| format!("{}({})", call.name, call.arguments))
            .collect()
    }

    /// True where a buffer that was written to a file contains `text`. The trace needs the buffers in full.
    pub fn wrote(&self, text: &str) -> bool {
        let writes = ["write", "pwrite64", "writev", "pwritev", "pwritev2"];
        self.calls()
            .any(|call| writes.contains(&call.name) && call.arguments.contains(text))
    }

    /// The same for bytes, in a trace of [`WHOLE_BUFFERS`].
    pub fn wrote_bytes(&self, bytes: &[u8]) -> bool {
        let mut shown = String::new();
        for byte in bytes {
            let _ = write!(shown, "\\x{byte:02x}");
        }
        self.wrote(&shown)
    }

    /// What was read of a file, in order; a call that has no offset is an error.
    pub fn reads(&self, file: &Path) -> Vec<Range<u64>> {
        let of_file = format!("<{}>", file.display());
        let reads = ["read", "readv", "pread64", "preadv", "preadv2", "mmap"];
        self.calls()
            .filter(|call| reads.contains(&call.name) && call.arguments.contains(&of_file))
            .map(|call| {
                assert_eq!(call.name, "pread64", "{call:?}");
                let offset: u64 = call.arguments.rsplit(", ").next().unwrap().parse().unwrap();
                let count: u64 = call.result.parse().unwrap();
                offset..offset + count
            })
            .collect()
    }
}

#[track_caller]
fn run_to_end(command: &mut Command) -> std::process::Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The texts in quotes.
fn quoted(arguments: &str) -> impl Iterator<Item = &str> {
    arguments.split('"').skip(1).step_by(2)
}

fn first_path(arguments: &str, folder: &Path) -> PathBuf {
    folder.join(quoted(arguments).next().unwrap_or_default())
}

/// The path in a result such as `3</tmp/file>`, also for an unnamed file: `3</tmp/#12 (deleted)>`.
fn descriptor(result: &str) -> Option<&str> {
    result
        .split_once('<')?
        .1
        .split_once('>')
        .map(|(path, _)| path)
}
