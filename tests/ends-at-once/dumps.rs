//! Nobody gets a dump of a process that may hold keys: no core file, and no look at its memory by others of the same user.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use rustix::process::Signal;

use crate::encrypted::{Encrypted, WITHOUT_PCRS, ready};
use crate::running::{Running, child_of};
use crate::support::workshop::is_root;
use crate::support::{exits, programs};

#[test]
fn neither_as_a_core_file_nor_by_its_memory() {
    if !ready() || !programs(&["mkfifo", "strace"]) {
        return;
    }
    let encrypted = Encrypted::new();
    let workshop = &encrypted.workshop;
    exits(workshop.command("mkfifo").arg("pipe"), 0);
    let arguments = [
        &["deploy"],
        &WITHOUT_PCRS[..],
        &["--recovery-key-file=pipe", "disk.img"],
    ];
    let arguments = arguments.concat();
    let mut deploy = workshop.command(workshop.program());
    let mut deploy = Running::start(deploy.args(&arguments));
    let process = deploy.id();
    deploy.wait_for_sleep(process);
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let cores: Vec<_> = cores.unwrap().split_whitespace().skip(4).take(2).collect();
    assert_eq!(cores, ["0", "0"], "{limits}");
    // What is root's there, others of the same user do not read.
    let owner = |process: u32| {
        fs::metadata(format!("/proc/{process}/environ"))
            .unwrap()
            .uid()
    };
    assert_eq!(owner(process), 0);
    deploy.ends_by(process, Signal::TERM);

    // Who traces it already, goes on.
    let mut strace = workshop.command("strace");
    strace
        .args(["-qq", "-o", "/dev/null"])
        .arg(workshop.program());
    let mut strace = Running::start(strace.args(&arguments));
    let process = child_of(strace.id());
    strace.wait_for_sleep(process);
    if is_root() {
        assert_eq!(owner(process), 65534);
    }
    strace.ends_by(process, Signal::TERM);
}
