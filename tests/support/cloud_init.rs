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
        let answers = run(self.python().arg(script).args(roots));
        let answers: Vec<_> = answers
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(answers.len(), roots.len());
        answers
    }

    /// The datasources that it has a module for.
    pub fn datasources(&self) -> Vec<String> {
        let modules = self
            .root
            .join("usr/lib/python3/dist-packages/cloudinit/sources");
        let names = fs::read_dir(modules).unwrap().map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let name = name.strip_prefix("DataSource")?;
            name.strip_suffix(".py").map(str::to_owned)
        });
        let mut names: Vec<_> = names.flatten().collect();
        names.sort();
        names
    }

    /// Whether `cloudinit` finds a module for each of these names of datasources.
    pub fn finds(&self, names: &[String]) -> Vec<bool> {
        // The package of the modules needs more of Python than the look for them does.
        let script = "import importlib.util, sys, types
import cloudinit
from cloudinit import importer
sources = sys.modules['cloudinit.sources'] = types.ModuleType('cloudinit.sources')
sources.__path__ = [cloudinit.__path__[0] + '/sources']
for name in sys.argv[1:]:
    print(int(bool(importer.find_module('DataSource' + name, ['', 'cloudinit.sources'], [])[0])))";
        let mut python = self.python();
        let answers = run(python.args(["-c", script]).args(names));
        let found: Vec<_> = answers.lines().map(|line| line == "1").collect();
        assert_eq!(found.len(), names.len(), "{answers}");
        found
    }

    fn python(&self) -> Command {
        let mut python = Command::new("/usr/bin/python3");
        python
            .env(
                "PYTHONPATH",
                self.root.join("usr/lib/python3/dist-packages"),
            )
            .env("PYTHONDONTWRITEBYTECODE", "1");
        python
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
