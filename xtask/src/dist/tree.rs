//! A folder that becomes a package: every file has the mode that it gets on the user's machine, whatever the umask.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::process;

/// The top of a package.
pub struct Tree {
    top: PathBuf,
}

impl Tree {
    /// An empty tree: what lay at `top` is removed.
    pub fn new(top: PathBuf) -> Result<Self> {
        if top.exists() {
            fs::remove_dir_all(&top).with_context(|| format!("cannot empty {}", top.display()))?;
        }
        let this = Self { top };
        this.make_folders(&this.top)?;
        Ok(this)
    }

    pub fn top(&self) -> &Path {
        &self.top
    }

    /// Puts a program at `to`, a path within the tree.
    pub fn program(&self, from: &Path, to: &str) -> Result<()> {
        self.copy(from, to)?;
        set_mode(&self.top.join(to), 0o755)
    }

    /// Puts a file at `to`.
    pub fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.write(&bytes, to)
    }

    /// Puts bytes into a file at `to`.
    pub fn write(&self, bytes: &[u8], to: &str) -> Result<()> {
        let file = self.top.join(to);
        if let Some(folder) = file.parent() {
            self.make_folders(folder)?;
        }
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        set_mode(&file, 0o644)
    }

    /// Puts bytes at `to` with `.gz` behind it, without a name and a time inside.
    pub fn compressed(&self, bytes: &[u8], to: &str) -> Result<()> {
        self.write(bytes, to)?;
        let mut gzip = process::program("gzip");
        process::quiet_output(gzip.args(["-9", "--no-name"]).arg(self.top.join(to)))?;
        Ok(())
    }

    /// Copies what lies in a folder of the checkout, and below it.
    pub fn copy_all(&self, from: &Path, to: &str) -> Result<()> {
        for entry in
            fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?
        {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().display();
            let to = format!("{to}/{name}");
            if path.is_dir() {
                self.copy_all(&path, &to)?;
            } else {
                self.copy(&path, &to)?;
            }
        }
        Ok(())
    }

    fn make_folders(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let within = |folder: &&Path| folder.starts_with(&self.top);
        for folder in folder.ancestors().take_while(within) {
            set_mode(folder, 0o755)?;
        }
        Ok(())
    }
}

/// Sets the permissions of a file or folder.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let set = fs::set_permissions(path, Permissions::from_mode(mode));
    set.with_context(|| format!("cannot change the mode of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_have_the_mode_of_an_installed_one() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().join("tree");
        let secret = scratch.path().join("secret");
        fs::write(&secret, "text").unwrap();
        set_mode(&secret, 0o600).unwrap();
        fs::create_dir(&top).unwrap();
        fs::write(top.join("old"), "").unwrap();

        let tree = Tree::new(top.clone()).unwrap();
        tree.copy(&secret, "usr/share/text").unwrap();
        tree.program(&secret, "usr/bin/program").unwrap();
        tree.compressed(b"text", "page").unwrap();
        assert!(!top.join("old").exists() && !top.join("page").exists());
        assert_eq!(mode(&top.join("usr/share/text")), 0o644);
        assert_eq!(mode(&top.join("usr/bin/program")), 0o755);
        assert_eq!(mode(&top.join("usr/bin")), 0o755);
        assert_eq!(mode(&top), 0o755);
        let unpacked =
            process::output(process::program("gzip").arg("-dc").arg(top.join("page.gz")));
        assert_eq!(unpacked.unwrap(), "text");
    }
}
