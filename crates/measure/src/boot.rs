//! What a guest boots: programs, and which of them loads which.

use firmware::{Kind, Program};

/// A program with the name that messages and logs show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile {
    /// Its name, without directories.
    pub name: String,
    /// What is known of it.
    pub program: Program,
}

/// Which program loads which, as places in [`Boot::files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// Firmware loads this program, which loads no other that is measured.
    Direct(usize),
    /// Firmware loads a shim, which loads a kernel; none where there is no kernel.
    Shim {
        /// The shim.
        shim: usize,
        /// What it loads.
        kernel: Option<usize>,
    },
}

impl Chain {
    /// The program that is booted in the end.
    pub(super) fn last(self) -> usize {
        match self {
            Self::Direct(file) => file,
            Self::Shim { shim, kernel } => kernel.unwrap_or(shim),
        }
    }
}

/// The boot files and the ways to boot them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// The programs.
    pub files: Vec<BootFile>,
    /// The chains, in the order of their branches.
    pub chains: Vec<Chain>,
    /// Names of all files in the directory of the shim: it loads some of them by their names.
    pub beside_shim: Vec<String>,
    /// Paths of the addons that systemd-stub may load, with the place of the kernel image in whose boot it does.
    pub addons: Vec<(usize, String)>,
}

impl Boot {
    /// The programs that are booted in the end, in the order of the chains.
    pub fn kernels(&self) -> impl Iterator<Item = &BootFile> {
        let last = self.chains.iter().map(|chain| chain.last());
        last.filter_map(|file| self.files.get(file))
    }

    pub(super) fn is_shim(&self, file: usize) -> bool {
        let file = self.files.get(file);
        file.is_some_and(|file| file.program.kind() == Kind::Shim)
    }
}

impl BootFile {
    /// The version of systemd-stub, where the program is built upon one that tells it.
    pub fn stub_version(&self) -> Option<u32> {
        let text = self.stub_version_text()?;
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    }

    /// The same with what follows the number.
    pub fn stub_version_text(&self) -> Option<String> {
        let section = String::from_utf8_lossy(self.program.section(".sdmagic")?);
        let (_, version) = section.split_once("LoaderInfo: systemd-stub ")?;
        let version = version.split([' ', '\0']).next()?;
        Some(
            version
                .chars()
                .take(40)
                .flat_map(char::escape_debug)
                .collect(),
        )
    }
}
