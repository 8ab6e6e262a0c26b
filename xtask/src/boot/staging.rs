//! An ordinary user for everything that proves something.
//!
//! Where root runs `boot-test`, this program, the built programs and the guest's parts are copied to a folder of the
//! user `nobody`, since cargo's folder may lie where only root may look. There the program starts itself once more as
//! that user, without capabilities.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::case::copy;
use crate::{guest, process};

/// The user `nobody`.
const ORDINARY: &str = "65534";

/// The folder of the user, laid out as cargo's.
struct Stage {
    folder: tempfile::TempDir,
}

/// Runs `cargo xtask boot-test` with these arguments as an ordinary user, and copies what it keeps to `results`. `guest` is
/// the folder of the guest, where one is needed.
pub fn run_as_ordinary_user(
    arguments: &[String],
    guest: Option<&Path>,
    results: &Path,
) -> Result<()> {
    let stage = Stage::make(guest)?;
    let folder = stage.folder.path();
    let mut setpriv = process::program("setpriv");
    setpriv.args([format!("--reuid={ORDINARY}"), format!("--regid={ORDINARY}")]);
    setpriv.args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
    setpriv
        .arg("--no-new-privs")
        .arg(folder.join("debug/xtask"))
        .arg("boot-test")
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .env("TMPDIR", folder.join("tmp"));
    let status = setpriv.status().context("cannot start `setpriv`");
    stage.copy_results(results)?;
    anyhow::ensure!(
        status?.success(),
        "the boot test of the ordinary user failed"
    );
    Ok(())
}

impl Stage {
    fn make(guest: Option<&Path>) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("eci-boot-")
            .tempdir_in("/var/tmp")?;
        let this = Self { folder };
        let target = crate::target_folder()?;
        for (from, to) in [
            (std::env::current_exe()?, "debug/xtask"),
            (
                target.join("release/encrypt-cloud-image"),
                "release/encrypt-cloud-image",
            ),
            (target.join("python"), "python"),
        ] {
            if from.exists() {
                this.put(&from, to)?;
            }
        }
        let parts = guest.map(guest::Guest::parts).transpose()?;
        for part in parts.unwrap_or_default() {
            let name = part.strip_prefix(&target)?.to_owned();
            this.put(&part, &name)?;
        }
        fs::create_dir(this.path("tmp"))?;
        let mut chown = process::program("chown");
        chown
            .arg("--recursive")
            .arg(format!("{ORDINARY}:{ORDINARY}"));
        process::quiet_output(chown.arg(this.folder.path()))?;
        Ok(this)
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, from: &Path, to: impl AsRef<Path>) -> Result<()> {
        let to = self.path(to);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        copy(from, &to)
    }

    fn copy_results(&self, results: &Path) -> Result<()> {
        let kept = self.path("boot-test");
        if kept.exists() {
            copy(&kept, results)?;
        }
        Ok(())
    }
}
