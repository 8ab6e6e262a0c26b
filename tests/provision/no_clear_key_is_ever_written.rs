//! The unlock key, and the volume key, are in no file at any time: every buffer of every write is looked at.

use crate::encrypted::{FLAGS, ROOT, disguises, find_key, ready};
use crate::plain::{Made, Plain};
use crate::support::container::Container;
use crate::support::trace::{Trace, WHOLE_BUFFERS};
use crate::support::workshop::stderr;
use crate::support::{disk, find_program, programs};

/// True where a key was written in one of its disguises.
fn wrote(trace: &Trace, key: &[u8]) -> bool {
    disguises(key).iter().any(|text| trace.wrote_bytes(text))
}

#[test]
fn no_buffer_that_is_written_holds_it() {
    if !ready() || !programs(&["strace"]) {
        return;
    }
    let plain = Plain::new();
    let program = plain.workshop().program();
    let report = ["--report", "report.json", "--recovery-key-out", "new.key"];
    let output = ["-o", "guest.img", "plain.img"];
    let arguments = [&["provision"], &FLAGS[..], &report, &output].concat();
    let (trace, output) = Trace::of(plain.workshop(), &WHOLE_BUFFERS, &program, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let made = Made::of(plain.path("guest.img"));
    let key = made.unsealed(&plain.composites("guest.img", &FLAGS[2..]));
    let volume_key = made.container.volume_key_by(&key);
    for secret in [&key, &volume_key] {
        assert!(!wrote(&trace, secret));
        assert_eq!(find_key(&made.path, secret), None);
    }
    assert!(!trace.wrote_bytes(b"ubuntu_fde_cloudimg_key"));
    assert!(trace.wrote_bytes(b"cloudimg-rootfs-enc"), "the header");
    assert_eq!(trace.kernel_copies(), [""; 0]);
    // The recovery key goes to its file alone, raw; to nothing else that is text.
    let recovery = std::fs::read(plain.path("new.key")).unwrap();
    assert!(trace.wrote_bytes(&recovery));
    for text in &disguises(&recovery)[1..] {
        assert!(!trace.wrote_bytes(text));
    }
    assert!(!stderr(&output).contains(&hex::encode(&key)));
}

/// The search: `encrypt` does write its key, and planted disguises are found.
#[test]
fn what_is_written_is_found() {
    if !ready() || !programs(&["strace"]) {
        return;
    }
    let plain = Plain::new();
    let program = plain.workshop().program();
    let arguments = ["encrypt", "-o", "pool.img", "plain.img"];
    let (trace, output) = Trace::of(plain.workshop(), &WHOLE_BUFFERS, &program, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let pool = plain.path("pool.img");
    let key = Container::open(&pool, &disk::read(&pool), ROOT).unlock_key();
    assert!(wrote(&trace, &key));
    assert!(trace.wrote_bytes(b"ubuntu_fde_cloudimg_key"));

    let dd = find_program("dd").unwrap();
    for text in disguises(&key) {
        let planted = [&b"something before "[..], &text, b" and behind"].concat();
        plain.workshop().write("planted", &planted);
        let copy = ["if=planted", "of=copy", "status=none"];
        let (trace, output) = Trace::of(plain.workshop(), &WHOLE_BUFFERS, &dd, &copy);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(wrote(&trace, &key));
        assert_eq!(find_key(&plain.path("copy"), &key), Some(17));
    }
}

#[test]
fn no_process_is_started_and_nothing_written_elsewhere() {
    if !ready() || !programs(&["strace"]) {
        return;
    }
    let plain = Plain::new();
    let folder = plain.path("made");
    let mkdir = plain.workshop().command("mkdir").arg(&folder).status();
    assert!(mkdir.unwrap().success());
    let program = plain.workshop().program();
    let output = ["-v", "-o", "made/guest.img", "plain.img"];
    let arguments = [&["provision"], &FLAGS[..], &output].concat();
    let (trace, output) = Trace::of(plain.workshop(), &["-s", "4096"], &program, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(trace.programs(), [program.to_str().unwrap()]);
    assert_eq!(trace.forks(), [""; 0]);
    assert_eq!(trace.sockets(), 0);
    let changed = trace.changed_paths(plain.workshop().folder());
    assert!(!changed.is_empty());
    let outside: Vec<_> = changed
        .iter()
        .filter(|path| !path.starts_with(&folder))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}
