//! The real cloud-init, and its shell script that runs before it, on the tree of an image.
//!
//! `cargo xtask test` unpacks this machine's package below cargo's folder; nothing of it is installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{programs, run};

/// The unpacked package.
#[derive(Debug)]
pub struct CloudInit {
    root: PathBuf,
}

impl CloudInit {
    /// The package, where `cargo xtask test` has unpacked it; otherwise the test is over, and fails in CI.
    pub fn find() -> Option<Self> {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("cloud-init");
        if root.exists() {
            return programs(&["python3"]).then_some(Self { root });
        }
        assert!(env::var_os("CI").is_none(), "CI lacks {}", root.display());
        eprintln!("SKIPPED: cloud-init is not there (cargo xtask test unpacks it)");
        None
    }

    /// What `cloudinit` merges in each of these trees: an object of `datasource_list` and `growpart`, where they are
    /// set. Texts stand for themselves, numbers and booleans as `{"other": true}`. Null where it gives up.
    pub fn merged(&self, roots: &[PathBuf]) -> Vec<Value> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/merged.py");
        let mut python = Command::new("/usr/bin/python3");
        python
            .env(
                "PYTHONPATH",
                self.root.join("usr/lib/python3/dist-packages"),
            )
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(script)
            .args(roots);
        let answers = run(&mut python);
        let answers: Vec<_> = answers
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(answers.len(), roots.len());
        answers
    }

    /// The line that `ds-identify` leaves in `/run` for the tree: `datasource_list: [ ... ]`.
    pub fn identified(&self, root: &Path) -> String {
        for folder in ["run", "proc"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("proc/cmdline"), "").unwrap();
        let mut script = Command::new("sh");
        script
            .arg(self.root.join("usr/lib/cloud-init/ds-identify"))
            .arg("--force")
            .env("PATH_ROOT", root)
            .env("KERNEL_CMDLINE", "");
        let output = script.output().unwrap();
        let result = fs::read_to_string(root.join("run/cloud-init/cloud.cfg"));
        result
            .unwrap_or_else(|_| panic!("{output:?}"))
            .trim()
            .to_owned()
    }
}
