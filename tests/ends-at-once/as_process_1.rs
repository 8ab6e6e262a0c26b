//! Process 1 of a container, for which the kernel does nothing by default, ends by 128 + N, and writes no core.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::a_costly_key_derivation::costly;
use crate::encrypted::{WITHOUT_PCRS, ready};
use crate::plain::Plain;
use crate::running::{Running, child_of};
use crate::support::{command, programs};

/// A command, as process 1 of a namespace; `None` where this machine gives none.
fn as_process_1(program: &Command) -> Option<Command> {
    if !ready() || !programs(&["unshare"]) {
        return None;
    }
    // An ordinary user has such a namespace below one of users.
    let user: &[&str] = if rustix::process::getuid().is_root() {
        &[]
    } else {
        &["--user", "--map-root-user"]
    };
    let mut unshare = command("unshare");
    unshare.args(user).args(["--pid", "--fork", "--mount-proc"]);
    let mut tried = command("unshare");
    tried
        .args(user)
        .args(["--pid", "--fork", "--mount-proc", "true"]);
    let tried = tried.output().unwrap();
    if !tried.status.success() {
        assert!(std::env::var_os("CI").is_none(), "CI has no PID namespaces");
        let why = String::from_utf8_lossy(&tried.stderr).into_owned();
        eprintln!("SKIPPED: no PID namespace: {why}");
        return None;
    }
    unshare.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => unshare.env(name, value),
            None => unshare.env_remove(name),
        };
    }
    unshare.current_dir(program.get_current_dir().unwrap());
    Some(unshare)
}

const SIGNALS: [(Signal, i32); 3] = [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)];

#[test]
fn where_there_is_nothing_to_unwind() {
    if !ready() {
        return;
    }
    let encrypted = costly("pbkdf2");
    for (signal, status) in SIGNALS {
        let mut deploy = encrypted.deploy(&WITHOUT_PCRS);
        deploy.arg("disk.img");
        let Some(mut deploy) = as_process_1(&deploy) else {
            return;
        };
        let mut deploy = Running::start(&mut deploy);
        let process = child_of(deploy.id());
        deploy.wait_for_work(process, 60);
        let (ended, told) = deploy.ends_by(process, signal);
        assert_eq!(ended.code(), Some(status), "{told}");
    }
}

#[test]
fn where_there_is() {
    if !ready() {
        return;
    }
    let plain = Plain::new();
    let names = plain.workshop().names();
    for (signal, status) in SIGNALS {
        let mut provision = plain.provision(&WITHOUT_PCRS);
        provision.args(["--threads=1", "--recovery-key-out=new.key"]);
        provision.args(["-o", "new.img", "plain.img"]);
        let Some(mut provision) = as_process_1(&provision) else {
            return;
        };
        provision.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = provision.spawn().unwrap();
        let mut talk = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut told = Vec::new();
        // The data pass has begun.
        for line in talk.by_ref() {
            told.push(line.unwrap());
            if told.last().unwrap().starts_with("encrypting") {
                break;
            }
        }
        let process = i32::try_from(child_of(child.id())).unwrap();
        let _ = kill_process(Pid::from_raw(process).unwrap(), signal);
        told.extend(talk.map_while(Result::ok));
        let ended = child.wait().unwrap();
        assert_eq!(ended.code(), Some(status), "{told:?}");
        let last = told.last().unwrap();
        assert_eq!(
            last, "error: interrupted; nothing was left behind",
            "{told:?}"
        );
        assert_eq!(plain.workshop().names(), names);
    }
}
