//! A user namespace in which an ordinary user's files get the owners that they have in a guest.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process;

/// How files of other owners are made: as root, or as the root of a user namespace.
pub enum Namespace {
    /// Root needs none; a container's root often could not make one.
    Root,
    User,
}

impl Namespace {
    pub fn find() -> Result<Self> {
        if process::is_root()? {
            return Ok(Self::Root);
        }
        // Where namespaces are forbidden, util-linux 2.38 leaves a helper behind that waits for ever.
        let mapped = process::attempt(Self::User.command().arg("true"), Duration::from_secs(60));
        mapped.context(
            "this user cannot make a user namespace, in which the guest's files get their owners.\n\
             Mend what applies, or run as root, or name an image (cargo xtask demo IMAGE):\n\
             - no ranges in /etc/subuid and /etc/subgid:\n  \
               sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \"$USER\"\n\
             - forbidden by AppArmor (Ubuntu 24.04 and newer):\n  \
               sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0\n\
             - forbidden by the kernel's settings:\n  \
               sudo sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000\n\
             - forbidden within a chroot: leave it",
        )?;
        Ok(Self::User)
    }

    /// How mmdebstrap gives files their owners.
    pub fn mmdebstrap_mode(&self) -> &'static str {
        match self {
            Self::Root => "--mode=root",
            Self::User => "--mode=unshare",
        }
    }

    /// What stands before a command that runs in the namespace.
    pub fn command(&self) -> Command {
        match self {
            Self::Root => Command::new("env"),
            Self::User => {
                let mut command = process::program("unshare");
                command.args(["--map-root-user", "--map-auto"]);
                command
            }
        }
    }

    /// Shows and runs `inner` in the namespace.
    pub fn run(&self, inner: &Command) -> Result<()> {
        let mut command = self.command();
        command
            .arg(inner.get_program())
            .args(inner.get_args())
            .env("LC_ALL", "C");
        process::run(&mut command)
    }
}
