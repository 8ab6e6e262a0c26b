//! What boots from an EFI system partition that is not laid out as Ubuntu's: found as firmware and the loaders find it.
//!
//! A guest without boot entries starts `EFI/BOOT/BOOTX64.EFI` (`BOOTAA64.EFI`). What that is decides what comes next:
//!
//! | program | starts |
//! | --- | --- |
//! | shim in `EFI/BOOT` beside its fallback program (`fbx64.efi`) | nothing that asks for a key: fallback makes boot entries of each `EFI/*/BOOTX64.CSV`, and the machine is reset. Each entry is a way: a shim beside that file, and what the entry's load options name |
//! | another shim | the program that its load options name, else the one whose name is built into it |
//! | systemd-boot | each unified kernel image in `EFI/Linux`, and what each file in `loader/entries` names, with its load options |
//! | anything else | nothing that is known: the way ends |
//!
//! The order of ways is that of their names: which one systemd-boot takes hangs on variables that are not here, so every
//! one of them is predicted.

use super::PredictError;
use super::boot_files::{EspFiles, Name, Wanted, addons, find, is_file_of, printable, program};
use base::storage::ReadAt;
use firmware::fallback::{self, BootEntry};
use firmware::{Kind, LoaderEntry, shim};
use measure::{Boot, BootFile, Chain};

/// Ways that are looked at: an EFI system partition has room for a few, but a damaged one may name any number.
const MAX_WAYS: usize = 100;
/// Programs that are read, and names that are looked at in one directory.
const MAX_FILES: usize = 1000;
/// Programs of one way, after which a shim that starts shims is no longer followed.
const MAX_PROGRAMS: usize = 6;
/// The largest file of a loader that is read, in bytes.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// The largest shim in which the name of the next program is looked for, in bytes.
const MAX_SHIM_BYTES: u64 = 16 << 20;

/// What a processor calls its files.
struct Names {
    first: &'static str,
    fallback: &'static str,
    entries: &'static str,
    /// What a shim starts that tells nothing else.
    next: &'static str,
    /// In a loader entry.
    architecture: &'static str,
}

const X64: Names = Names {
    first: "BOOTX64.EFI",
    fallback: "fbx64.efi",
    entries: "BOOTX64.CSV",
    next: "grubx64.efi",
    architecture: "x64",
};
const AA64: Names = Names {
    first: "BOOTAA64.EFI",
    fallback: "fbaa64.efi",
    entries: "BOOTAA64.CSV",
    next: "grubaa64.efi",
    architecture: "aa64",
};

/// The boot files of an EFI system partition and the ways that lead through them; fails where there is none.
pub fn discover(esp: &dyn EspFiles, wanted: Wanted) -> Result<Boot, PredictError> {
    let mut boot = Boot::default();
    for names in [&X64, &AA64] {
        let mut search = Search {
            esp,
            wanted,
            names,
            boot,
        };
        search.begin()?;
        boot = search.boot;
    }
    if boot.chains.is_empty() {
        return Err(PredictError::NothingBoots);
    }
    boot.addons = addons(esp, &boot)?;
    Ok(boot)
}

struct Search<'e> {
    esp: &'e dyn EspFiles,
    wanted: Wanted,
    names: &'static Names,
    boot: Boot,
}

impl Search<'_> {
    /// The ways that begin with what firmware starts by itself.
    fn begin(&mut self) -> Result<(), PredictError> {
        let Some(first) = self.load(&["EFI", "BOOT", self.names.first])? else {
            return Ok(());
        };
        let before = self.boot.chains.len();
        if self.kind(first) == Some(Kind::Shim)
            && self.is_file(&["EFI", "BOOT", self.names.fallback])?
        {
            self.by_fallback()?;
        }
        if self.boot.chains.len() == before {
            self.follow(&[first], "")?;
        }
        Ok(())
    }

    /// The ways of the boot entries that fallback makes.
    fn by_fallback(&mut self) -> Result<(), PredictError> {
        for folder in self.names_in(&["EFI"])? {
            if !folder.is_directory || folder.name.eq_ignore_ascii_case("BOOT") {
                continue;
            }
            let path = ["EFI", &folder.name, self.names.entries];
            let Some(file) = self.read(&path, MAX_TEXT_BYTES)? else {
                continue;
            };
            for BootEntry {
                program, options, ..
            } in fallback::boot_entries(&file)
            {
                if let Some(first) = self.load(&["EFI", &folder.name, &program])? {
                    self.follow(&[first], &options)?;
                }
            }
        }
        Ok(())
    }

    /// Follows a way from its last program on, which was handed these load options.
    fn follow(&mut self, way: &[usize], options: &str) -> Result<(), PredictError> {
        let Some(last) = way.last().copied() else {
            return Ok(());
        };
        match self.kind(last) {
            Some(Kind::Shim) if way.len() < MAX_PROGRAMS => {
                match self.behind_shim(last, options)? {
                    Some(next) => self.follow(&[way, &[next]].concat(), ""),
                    None => self.end(way, None),
                }
            }
            Some(Kind::SystemdBoot) => self.behind_systemd_boot(way),
            _ => self.end(way, None),
        }
    }

    /// What a shim starts: what its load options name, else the program whose name is built into it.
    fn behind_shim(&mut self, shim: usize, options: &str) -> Result<Option<usize>, PredictError> {
        let Some(file) = self.boot.files.get(shim) else {
            return Ok(None);
        };
        let (folder, name) = (file.folder.clone(), file.name.clone());
        self.note_beside(&folder)?;
        if let Some(named) = fallback::second_program(options) {
            let parts: Vec<&str> = named.split('\\').filter(|part| !part.is_empty()).collect();
            let is_from_top = named.to_ascii_uppercase().starts_with("\\EFI\\");
            let path = if is_from_top {
                parts
            } else {
                folder.iter().map(String::as_str).chain(parts).collect()
            };
            if let Some(next) = self.load(&path)? {
                return Ok(Some(next));
            }
        }
        let beside = |name: &str| -> Vec<String> {
            folder.iter().cloned().chain([name.to_owned()]).collect()
        };
        let own = beside(&name);
        let bytes = self
            .read(&borrowed(&own), MAX_SHIM_BYTES)?
            .unwrap_or_default();
        let next = shim::built_in_loader(&bytes);
        let next = beside(next.as_deref().unwrap_or(self.names.next));
        self.load(&borrowed(&next))
    }

    /// What systemd-boot shows.
    fn behind_systemd_boot(&mut self, way: &[usize]) -> Result<(), PredictError> {
        let before = self.boot.chains.len();
        for entry in self.names_in(&["EFI", "Linux"])? {
            if !is_file_of(&entry, ".efi") {
                continue;
            }
            let image = self.load(&["EFI", "Linux", &entry.name])?;
            // systemd-boot shows unified kernel images there, and nothing else.
            if let Some(image) =
                image.filter(|image| self.kind(*image) == Some(Kind::UnifiedKernel))
            {
                self.end(&[way, &[image]].concat(), None)?;
            }
        }
        for entry in self.names_in(&["loader", "entries"])? {
            if !is_file_of(&entry, ".conf") {
                continue;
            }
            let file = self.read(&["loader", "entries", &entry.name], MAX_TEXT_BYTES)?;
            let Some(entry) = file.as_deref().and_then(LoaderEntry::parse) else {
                continue;
            };
            let is_for_another =
                |name: &String| !name.eq_ignore_ascii_case(self.names.architecture);
            if entry.architecture.as_ref().is_some_and(is_for_another) {
                continue;
            }
            let path: Vec<_> = entry
                .program
                .split('/')
                .filter(|part| !part.is_empty())
                .collect();
            if let Some(started) = self.load(&path)? {
                self.end(&[way, &[started]].concat(), entry.options)?;
            }
        }
        if self.boot.chains.len() == before {
            self.end(way, None)?;
        }
        Ok(())
    }

    fn end(&mut self, way: &[usize], options: Option<String>) -> Result<(), PredictError> {
        let [first, later @ ..] = way else {
            return Ok(());
        };
        let chain = Chain::new(*first, later).with_options(options);
        if !self.boot.chains.contains(&chain) {
            self.boot.chains.push(chain);
        }
        if self.boot.chains.len() > MAX_WAYS {
            return Err(PredictError::TooManyWays { max: MAX_WAYS });
        }
        Ok(())
    }

    fn kind(&self, file: usize) -> Option<Kind> {
        self.boot.files.get(file).map(|file| file.program.kind())
    }

    /// The names of what lies beside a shim, some of which it loads.
    fn note_beside(&mut self, folder: &[String]) -> Result<(), PredictError> {
        for entry in self.esp.list(folder)? {
            let name = printable(&entry.name);
            if !self.boot.beside_shim.contains(&name) {
                self.boot.beside_shim.push(name);
            }
        }
        Ok(())
    }

    /// Reads a program, once; `None` where there is no such file.
    fn load(&mut self, path: &[&str]) -> Result<Option<usize>, PredictError> {
        let Some(path) = self.resolve(path)? else {
            return Ok(None);
        };
        let Some((name, folder)) = path.split_last() else {
            return Ok(None);
        };
        let name = printable(name);
        let is_known = |file: &BootFile| file.folder == folder && file.name == name;
        if let Some(known) = self.boot.files.iter().position(is_known) {
            return Ok(Some(known));
        }
        if self.boot.files.len() >= MAX_FILES {
            return Err(PredictError::TooManyWays { max: MAX_WAYS });
        }
        let file = program(self.esp.open(&path)?.as_ref(), &name, self.wanted)?;
        self.boot.files.push(BootFile {
            folder: folder.to_vec(),
            ..file
        });
        Ok(self.boot.files.len().checked_sub(1))
    }

    /// The first bytes of a file; `None` where there is no such file.
    fn read(&self, path: &[&str], limit_bytes: u64) -> Result<Option<Vec<u8>>, PredictError> {
        let Some(path) = self.resolve(path)? else {
            return Ok(None);
        };
        let file = self.esp.open(&path)?;
        let len = file.len_bytes().min(limit_bytes);
        let bytes = file.read_vec(0, base::number::to_usize(len));
        bytes.map(Some).map_err(|source| PredictError::Unreadable {
            file: path.last().map_or_else(String::new, |name| printable(name)),
            source,
        })
    }

    fn is_file(&self, path: &[&str]) -> Result<bool, PredictError> {
        self.resolve(path).map(|found| found.is_some())
    }

    /// The path of a file as it is written there; `None` where there is none, or a directory in its place.
    fn resolve(&self, path: &[&str]) -> Result<Option<Vec<String>>, PredictError> {
        let mut found: Vec<String> = Vec::new();
        for (number, name) in path.iter().enumerate() {
            let is_last = number.saturating_add(1) == path.len();
            match find(&self.esp.list(&found)?, name) {
                Some(entry) if entry.is_directory != is_last => found.push(entry.name),
                _ => return Ok(None),
            }
        }
        Ok((!found.is_empty()).then_some(found))
    }

    /// What a directory holds, by name; nothing where there is none.
    fn names_in(&self, path: &[&str]) -> Result<Vec<Name>, PredictError> {
        let mut folder: Vec<String> = Vec::new();
        for name in path {
            match find(&self.esp.list(&folder)?, name).filter(|entry| entry.is_directory) {
                Some(entry) => folder.push(entry.name),
                None => return Ok(Vec::new()),
            }
        }
        let mut names = self.esp.list(&folder)?;
        names.retain(|entry| entry.name != "." && entry.name != "..");
        names.sort_by(|one, other| one.name.cmp(&other.name));
        if names.len() > MAX_FILES {
            return Err(PredictError::TooManyWays { max: MAX_WAYS });
        }
        Ok(names)
    }
}

fn borrowed(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}
