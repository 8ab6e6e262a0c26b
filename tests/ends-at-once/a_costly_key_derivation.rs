//! A header may ask for a derivation that takes half a minute: Ctrl-C ends it at once, and nothing was written.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use rustix::process::Signal;

use crate::encrypted::{Encrypted, ROOT, WITHOUT_PCRS, ready};
use crate::running::Running;
use crate::support::workshop::state;
use crate::support::{command, run};

/// An encrypted image whose keys are costly to derive.
pub fn costly(kind: &str) -> Encrypted {
    let encrypted = Encrypted::new();
    let start = encrypted.table().byte_range(ROOT).start.to_string();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ends-at-once/costly.py");
    let mut python = command("python3");
    python.arg(script).arg(&encrypted.image);
    run(python.args([&start, kind]));
    encrypted
}

#[test]
fn ends_with_the_first_signal() {
    if !ready() {
        return;
    }
    for kind in ["pbkdf2", "argon2id"] {
        let encrypted = costly(kind);
        let before = state(&encrypted.image);
        let names = encrypted.workshop.names();
        for signal in [Signal::INT, Signal::TERM] {
            let mut deploy = encrypted.deploy(&WITHOUT_PCRS);
            deploy.args(["--recovery-key-out=new.key", "disk.img"]);
            let mut deploy = Running::start(&mut deploy);
            let process = deploy.id();
            deploy.wait_for_work(process, 60);
            let (status, told) = deploy.ends_by(process, signal);
            assert_eq!(status.signal(), Some(signal.as_raw()), "{kind}: {told}");
            assert_eq!(told, "", "{kind}");
            assert!(state(&encrypted.image) == before);
            assert_eq!(encrypted.workshop.names(), names);
        }
    }
}
