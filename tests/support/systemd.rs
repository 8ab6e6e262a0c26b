//! systemd's own readers of its tokens, those of Debian 13, run as ordinary processes against a software TPM.
//!
//! `cargo xtask test` unpacks the packages below cargo's folder. Their programs run by the loader and the libraries that
//! lie there, whatever this machine has.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::tpm::Tpm;

/// Where the libraries lie.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The unpacked packages.
#[derive(Debug)]
pub struct Systemd {
    root: PathBuf,
}

/// What the plugin of libcryptsetup made of a container.
#[derive(Debug)]
pub struct Opened {
    /// `keyslot N`, or the name of an error number.
    pub answer: String,
    /// The library's log.
    pub log: String,
}

impl Systemd {
    /// The readers, where `cargo xtask test` has installed them; otherwise the test is over, and fails in CI.
    pub fn find() -> Option<Self> {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("systemd-reader/root");
        if root.join("usr/bin/systemd-cryptenroll").exists() {
            return Some(Self { root });
        }
        assert!(env::var_os("CI").is_none(), "CI lacks {}", root.display());
        eprintln!("SKIPPED: systemd's readers are not there (cargo xtask test installs them)");
        None
    }

    /// A program of these packages.
    fn program(&self, name: &str) -> Command {
        let libraries = self.root.join(LIBRARIES);
        let mut command = Command::new(self.root.join("usr/lib64/ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(format!(
            "{0}:{0}/systemd:{0}/cryptsetup",
            libraries.display()
        ));
        command.arg(self.root.join("usr").join(name));
        command.env("LC_ALL", "C").env_remove("LD_LIBRARY_PATH");
        command
    }

    /// `systemd-cryptenroll` opens a copy of the container by its tokens, as systemd-cryptsetup does: one after the
    /// other, by their numbers. What it said is the error.
    pub fn enroll(&self, container: &Path, tpm: &Tpm) -> Result<(), String> {
        let folder = super::scratch();
        let copy = folder.path().join("copy");
        super::files::copy_file(container, &copy);
        let output = self
            .program("bin/systemd-cryptenroll")
            .arg(format!(
                "--unlock-tpm2-device=swtpm:path={}",
                tpm.socket().display()
            ))
            .arg("--recovery-key")
            .arg(&copy)
            .env("SYSTEMD_LOG_LEVEL", "debug")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() && said.contains("New recovery key enrolled") {
            return Ok(());
        }
        assert!(!output.status.success(), "{said}");
        Err(said)
    }

    /// libcryptsetup opens the container by its tokens, or by the one of this number, through systemd's plugin.
    pub fn open(&self, container: &Path, tpm: &Tpm, token: Option<u32>) -> Opened {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/open_by_token.py");
        let mut python = self.program("bin/python3");
        python
            .arg(script)
            .arg(container)
            .arg(format!("swtpm:path={}", tpm.socket().display()))
            .arg(self.root.join(LIBRARIES).join("cryptsetup"))
            .args(token.map(|token| token.to_string()))
            .env("PYTHONHOME", self.root.join("usr"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let Output {
            status,
            stdout,
            stderr,
        } = python.output().unwrap();
        let log = String::from_utf8_lossy(&stderr).into_owned();
        assert!(status.success(), "{log}");
        // Without it every refusal below would be one of a missing library.
        assert!(
            log.contains("Token handler systemd-tpm2-") && log.contains("loaded successfully"),
            "{log}"
        );
        Opened {
            answer: String::from_utf8_lossy(&stdout).trim().to_owned(),
            log,
        }
    }

    /// The first way of libcryptsetup, through the plugin of this machine's own systemd; `None` where it has none.
    pub fn open_by_this_machine(container: &Path, tpm: &Tpm) -> Option<Opened> {
        let folder = Path::new("/usr/lib/x86_64-linux-gnu/cryptsetup");
        if !folder.join("libcryptsetup-token-systemd-tpm2.so").exists() {
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/open_by_token.py");
        let mut python = super::command("python3");
        python.env("PYTHONDONTWRITEBYTECODE", "1").arg(script);
        python
            .arg(container)
            .arg(format!("swtpm:path={}", tpm.socket().display()));
        let output = python.arg(folder).output().unwrap();
        Some(Opened {
            answer: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// True where systemd takes what a person types as the passphrase of a container: it adds a keyslot to a copy.
    pub fn takes_typed(&self, container: &Path, typed: &str) -> bool {
        let folder = super::scratch();
        let copy = folder.path().join("copy");
        super::files::copy_file(container, &copy);
        let mut enroll = self.program("bin/systemd-cryptenroll");
        enroll
            .arg("--recovery-key")
            .arg(&copy)
            .env("PASSWORD", typed);
        let output = enroll.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let is_taken = said.contains("New recovery key enrolled");
        assert_eq!(output.status.success(), is_taken, "{said}");
        is_taken
    }

    /// What systemd takes each keyslot for: number and type.
    pub fn keyslots(&self, container: &Path) -> Vec<(u32, String)> {
        let shown = super::run(self.program("bin/systemd-cryptenroll").arg(container));
        let slots = shown.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
        });
        slots.collect()
    }

    /// PCR 11 when the initrd begins, as `systemd-measure` calculates it for the sections in these files (name without
    /// the dot, path).
    pub fn measure(&self, sections: &[(&str, &Path)]) -> String {
        let mut measure = self.program("lib/systemd/systemd-measure");
        measure.args([
            "calculate",
            "--bank=sha256",
            "--phase=enter-initrd",
            "--json=short",
        ]);
        for (name, path) in sections {
            measure.arg(format!("--{name}={}", path.display()));
        }
        let text = super::run(&mut measure);
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        document["sha256"][0]["hash"].as_str().unwrap().to_owned()
    }
}
