//! What a guest boots: programs, and which of them loads which.

use firmware::{Kind, Program};

/// A program with the name that messages and logs show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile {
    /// The directory on the EFI system partition that it lies in, from the top down; empty where that is not known.
    pub folder: Vec<String>,
    /// Its name, without directories.
    pub name: String,
    /// What is known of it.
    pub program: Program,
}

/// Which program loads which, as places in [`Boot::files`]: firmware loads the first, and each the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// What firmware loads.
    first: usize,
    /// What is loaded from there on, in this order.
    later: Vec<usize>,
    /// What systemd-boot hands to the last program, and measures.
    options: Option<String>,
}

impl Chain {
    /// A chain of a program that firmware loads, and of those that follow.
    pub fn new(first: usize, later: impl Into<Vec<usize>>) -> Self {
        Self {
            first,
            later: later.into(),
            options: None,
        }
    }

    /// The same where systemd-boot hands these load options to the last program.
    #[must_use]
    pub fn with_options(self, options: Option<String>) -> Self {
        Self { options, ..self }
    }

    /// What systemd-boot hands to the last program.
    pub fn options(&self) -> Option<&str> {
        self.options.as_deref()
    }

    /// True where firmware loads the one program, and that loads no other.
    pub fn is_of_one(&self) -> bool {
        self.later.is_empty()
    }

    /// All programs, in the order in which they are loaded.
    pub fn programs(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.first).chain(self.later.iter().copied())
    }

    /// The program that is booted in the end.
    pub fn last(&self) -> usize {
        self.later.last().copied().unwrap_or(self.first)
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
        let last = self.chains.iter().map(Chain::last);
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
