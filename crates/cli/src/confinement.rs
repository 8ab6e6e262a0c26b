//! What a command gives up before it looks at an image: libext2fs is C, and images are hostile.
//!
//! Landlock, where the kernel has it (Linux 5.13, more of it in later ones): from [`Confinement::enter`] on, this thread and those that it
//! starts open the files that were named, and make files in the directories of the outputs. No other file is opened, no
//! program started, no TCP port bound or connected to, no signal sent to another process. Files that are open stay so.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};

use crate::message::Failure;
use operations::is_device;

/// Everything that this version of Landlock can forbid is forbidden; a kernel that knows less forbids less.
const KNOWN: ABI = ABI::V6;

/// What says how many processors this process may use.
const PROCESSORS: [&str; 3] = [
    "/proc/self/cgroup",
    "/proc/self/mountinfo",
    "/sys/fs/cgroup",
];

/// The files and directories that a command still gets at.
pub struct Confinement {
    rules: Vec<(PathBuf, BitFlags<AccessFs>)>,
}

impl Confinement {
    pub fn new() -> Self {
        let confinement = Self { rules: Vec::new() };
        PROCESSORS
            .into_iter()
            .fold(confinement, |all, path| all.reads(Path::new(path)))
    }

    /// Lets it read a file, or the files below a directory.
    pub fn reads(mut self, path: &Path) -> Self {
        let access = if path.is_dir() {
            AccessFs::ReadFile | AccessFs::ReadDir
        } else {
            AccessFs::ReadFile | AccessFs::IoctlDev
        };
        self.rules.push((path.to_owned(), access));
        self
    }

    /// Lets it change a file that is there.
    pub fn changes(mut self, path: &Path) -> Self {
        let access =
            AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
        self.rules.push((path.to_owned(), access));
        self
    }

    /// Lets it write a file of this name: make, fill, rename and remove files in its directory, and in that of the file
    /// to which a link of this name leads. A block device is changed as it is, and no other beside it.
    pub fn writes(self, path: &Path) -> Self {
        if is_device(path) {
            return self.changes(path);
        }
        let target = path.canonicalize().ok();
        let is_special = target
            .as_ref()
            .is_some_and(|target| !target.is_file() && !target.is_dir());
        let all = [Some(path), target.as_deref()].into_iter().flatten();
        let all = all.fold(self, |all, path| all.makes_files_in(directory(path)));
        // A pipe or a device is opened and written as it is.
        if is_special { all.changes(path) } else { all }
    }

    fn makes_files_in(mut self, directory: &Path) -> Self {
        let access = AccessFs::ReadFile
            | AccessFs::ReadDir
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::RemoveFile;
        self.rules.push((directory.to_owned(), access));
        self
    }

    /// Lets it run programs, which read what they like and write where this process may.
    pub fn runs_programs(mut self) -> Self {
        let access = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
        self.rules.push((PathBuf::from("/"), access));
        self.changes(Path::new("/dev/null"))
    }

    /// Gives everything else up, for good. Where the kernel has no Landlock nothing changes.
    pub fn enter(self) -> Result<(), Failure> {
        self.restrict().map_err(|error| {
            let what = anyhow::Error::new(error).context("cannot give up what is not needed");
            Failure::new(what, None)
        })
    }

    fn restrict(self) -> Result<(), RulesetError> {
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?;
        for (path, access) in self.rules {
            // What is not there gets no rule: opening it says so. Nor does a pipe, which needs none.
            let Ok(file) = PathFd::new(&path) else {
                continue;
            };
            if let Err(error) = (&mut ruleset).add_rule(PathBeneath::new(file, access)) {
                tracing::debug!(path = %path.display(), %error, "no rule");
            }
        }
        let status = ruleset.restrict_self()?;
        tracing::debug!(landlock = ?status.ruleset, "confined");
        Ok(())
    }
}

/// The directory in which a file of this name lies.
pub fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
