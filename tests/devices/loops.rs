//! Loop devices: block devices whose bytes lie in a file, where other programs can judge them.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use crate::support::workshop::{give_away, is_root};
use crate::support::{command, files, programs};

/// A file as a block device of the workshop's ordinary user.
pub struct Loop {
    /// The device.
    pub device: PathBuf,
    /// The file.
    pub file: PathBuf,
}

/// True where loop devices can be made: by root, on a kernel that has them. Elsewhere the test is over, in CI too: it
/// cannot be had there.
#[must_use]
pub fn can_loop() -> bool {
    if !programs(&["losetup"]) {
        return false;
    }
    if is_root() && Path::new("/dev/loop-control").exists() {
        return true;
    }
    eprintln!("SKIPPED: loop devices need root and /dev/loop-control");
    false
}

impl Loop {
    /// The device of a file, with sectors of so many bytes. `None` where the kernel gives none out, which a container can
    /// make it do.
    pub fn of(file: &Path, sector_bytes: u64) -> Option<Self> {
        let mut losetup = command("losetup");
        losetup.args([
            "--find",
            "--show",
            "--sector-size",
            &sector_bytes.to_string(),
        ]);
        let output = losetup.arg(file).output().unwrap();
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("SKIPPED: {}", why.trim());
            return None;
        }
        let device = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        give_away(&device);
        Some(Self {
            device,
            file: file.to_owned(),
        })
    }

    /// A device of so many bytes, each of which has this value.
    pub fn filled(file: &Path, len_bytes: u64, value: u8) -> Option<Self> {
        let len = usize::try_from(len_bytes).unwrap();
        std::fs::write(file, vec![value; len]).unwrap();
        Self::of(file, 512)
    }

    /// The device's path, for a command line.
    pub fn name(&self) -> &str {
        self.device.to_str().unwrap()
    }

    /// What was written has reached the file; a guard against a judge that looks too early.
    pub fn settle(&self) {
        files::open(&self.device).0.sync_all().unwrap();
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = chown(&self.device, Some(0), Some(0));
        let _ = command("losetup")
            .arg("--detach")
            .arg(&self.device)
            .output();
    }
}
