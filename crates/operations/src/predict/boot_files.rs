//! The boot files of a guest: found on an EFI system partition, or named one by one.
//!
//! On the partition, firmware is taken to start `EFI/ubuntu/shimx64.efi`, and shim to start each file
//! `EFI/ubuntu/kernel.efi-*` (in the order of the bytes of their names), then `EFI/ubuntu/grubx64.efi`.
//! Directories and the two fixed names are found without regard to case, as on a FAT; the prefix
//! `kernel.efi-` counts with case, since such a name is always a long one.

use std::fs;
use std::path::{Path, PathBuf};

use super::PredictError;
use base::storage::{self, FileStorage, ReadAt};
use firmware::{Hash, Kind, Program};
use measure::{Boot, BootFile, Chain};

const FOLDER: [&str; 2] = ["EFI", "ubuntu"];
const SHIM: &str = "shimx64.efi";
const LAST_KERNEL: &str = "grubx64.efi";
/// What firmware starts where no boot entry says otherwise, in `EFI/BOOT`.
const REMOVABLE: &str = "BOOTX64.EFI";
const KERNEL_PREFIX: &str = "kernel.efi-";
/// Behind the name of a kernel image: the directory of what its stub takes besides.
const EXTRA: &str = ".extra.d";
/// The end of the name of an addon.
const ADDON: &str = ".addon.efi";
/// Kernels that are read: an EFI system partition has room for a few, but a damaged one may name any number.
const MAX_KERNELS: usize = 100;

/// What of a boot file is read besides its SHA-256 digest and its signatures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// The digest of another hash function, too.
    pub hash: Option<Hash>,
    /// The digest of the kernel inside.
    pub inner_kernel: bool,
    /// The digests of what systemd's stub measures.
    pub sections: bool,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// As it is written there.
    pub name: String,
    /// It is a directory itself.
    pub is_directory: bool,
}

/// The files of an EFI system partition, wherever they are. A path is a list of names that were listed.
pub trait EspFiles {
    /// The names in a directory; the empty path is the top.
    fn list(&self, directory: &[String]) -> Result<Vec<Name>, PredictError>;
    /// A file's content.
    fn open(&self, file: &[String]) -> Result<Box<dyn ReadAt>, PredictError>;
}

/// A directory with the files of an EFI system partition.
#[derive(Debug, Clone)]
pub struct EspDirectory(pub PathBuf);

impl EspDirectory {
    fn path(&self, names: &[String]) -> PathBuf {
        names
            .iter()
            .fold(self.0.clone(), |path, name| path.join(name))
    }
}

impl EspFiles for EspDirectory {
    fn list(&self, directory: &[String]) -> Result<Vec<Name>, PredictError> {
        let path = self.path(directory);
        let failed = |source| PredictError::Directory {
            path: path.clone(),
            source,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is no UTF-8 is none that a FAT could have.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let is_directory = entry.path().is_dir();
            names.push(Name { name, is_directory });
        }
        Ok(names)
    }

    fn open(&self, file: &[String]) -> Result<Box<dyn ReadAt>, PredictError> {
        let name = file.last().cloned().unwrap_or_default();
        open(&self.path(file), &name)
    }
}

fn open(path: &Path, name: &str) -> Result<Box<dyn ReadAt>, PredictError> {
    let failed = |source| PredictError::Unreadable {
        file: name.to_owned(),
        source,
    };
    let file = image::open_regular(path).map_err(|source| {
        failed(storage::Error::Read {
            offset_bytes: 0,
            source,
        })
    })?;
    let file = FileStorage::new(file).map_err(failed)?;
    Ok(Box::new(file))
}

pub(super) fn program(
    file: &dyn ReadAt,
    name: &str,
    wanted: Wanted,
) -> Result<BootFile, PredictError> {
    let hashes: Vec<Hash> = wanted.hash.into_iter().collect();
    let problem = |problem| PredictError::Program {
        file: name.to_owned(),
        problem,
    };
    let mut program = Program::read(file, &hashes, wanted.inner_kernel).map_err(problem)?;
    if wanted.sections {
        let hash = wanted.hash.unwrap_or(Hash::Sha256);
        program.read_section_digests(file, hash).map_err(problem)?;
    }
    Ok(BootFile {
        folder: Vec::new(),
        name: name.to_owned(),
        program,
    })
}

/// A name as messages and tables show it: one on a FAT may hold any character.
pub(super) fn printable(name: &str) -> String {
    let shown = |character: char| {
        if character.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        }
    };
    name.chars().map(shown).collect()
}

/// The boot files of an EFI system partition and the chains that they make.
pub fn on_esp(esp: &dyn EspFiles, wanted: Wanted) -> Result<Boot, PredictError> {
    let mut folder = Vec::new();
    for name in FOLDER {
        let found = find(&esp.list(&folder)?, name).filter(|found| found.is_directory);
        folder.push(found.ok_or(PredictError::NoShim)?.name);
    }
    let names = esp.list(&folder)?;
    let shim = find(&names, SHIM).ok_or(PredictError::NoShim)?;
    let mut kernels: Vec<Name> = names
        .iter()
        .filter(|entry| entry.name.starts_with(KERNEL_PREFIX) && !is_extra(entry))
        .cloned()
        .collect();
    kernels.sort_by(|a, b| a.name.cmp(&b.name));
    kernels.extend(find(&names, LAST_KERNEL));
    if kernels.len() > MAX_KERNELS {
        return Err(PredictError::TooManyKernels {
            count: kernels.len(),
            max: MAX_KERNELS,
        });
    }

    let mut files = Vec::new();
    for entry in std::iter::once(&shim).chain(&kernels) {
        let name = printable(&entry.name);
        if entry.is_directory {
            return Err(PredictError::IsDirectory { file: name });
        }
        let path = [folder.as_slice(), std::slice::from_ref(&entry.name)].concat();
        let file = program(esp.open(&path)?.as_ref(), &name, wanted)?;
        files.push(BootFile {
            folder: folder.clone(),
            ..file
        });
    }
    let is_unified = |file: &BootFile| file.program.kind() == Kind::UnifiedKernel;
    let chains = if files.first().is_some_and(is_unified) {
        // Under the name of shim, but it boots by itself, and loads none of the others.
        vec![Chain::new(0, [])]
    } else if kernels.is_empty() {
        vec![Chain::new(0, [])]
    } else {
        (1..files.len())
            .map(|kernel| Chain::new(0, [kernel]))
            .collect()
    };
    let mut boot = Boot {
        files,
        chains,
        beside_shim: names.iter().map(|entry| printable(&entry.name)).collect(),
        addons: Vec::new(),
    };
    boot.addons = addons(esp, &boot)?;
    Ok(boot)
}

/// What to say where the program that firmware starts from `EFI/BOOT` is another one than that of `EFI/ubuntu`, which the
/// prediction is for: a guest without boot entries, a new one for instance, starts that.
pub fn other_first_program(esp: &dyn EspFiles, boot: &Boot) -> Option<String> {
    let folder = find(&esp.list(&[]).ok()?, "EFI")?.name;
    let removable = find(&esp.list(std::slice::from_ref(&folder)).ok()?, "BOOT")?.name;
    let folder = [folder, removable];
    let name = find(&esp.list(&folder).ok()?, REMOVABLE).filter(|found| !found.is_directory)?;
    let path = [folder.as_slice(), &[name.name]].concat();
    let other = program(esp.open(&path).ok()?.as_ref(), REMOVABLE, Wanted::default()).ok()?;
    let predicted = boot.files.first()?;
    if other.program.image_digest() == predicted.program.image_digest() {
        return None;
    }
    let what = match other.program.kind() {
        Kind::Shim if predicted.program.kind() == Kind::Shim => "another shim",
        Kind::Shim => "a shim, another program",
        Kind::UnifiedKernel => "a unified kernel image, another program",
        Kind::Grub => "GRUB, another program",
        Kind::SystemdBoot => "systemd-boot, another program",
        Kind::Kernel => "a kernel, another program",
        Kind::Unknown => "another program",
    };
    Some(format!(
        "{} is {what} than {}/{SHIM}: a guest that starts it measures other values than these",
        path.join("/"),
        FOLDER.join("/")
    ))
}

/// True for a file whose name ends so, without regard to case.
pub(super) fn is_file_of(entry: &Name, suffix: &str) -> bool {
    !entry.is_directory && entry.name.to_ascii_lowercase().ends_with(suffix)
}

/// A file that systemd's stub takes into a boot besides the kernel image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Extra {
    path: String,
    /// Place of the one kernel image that it is for; `None` for every one.
    kernel: Option<usize>,
    /// A program, which firmware measures.
    is_addon: bool,
}

/// Paths of files that systemd's stub measures into PCR 12 if it finds them: addons for every kernel image, credentials,
/// and whatever lies in a directory that is named after an image.
pub fn extra_measurements(esp: &dyn EspFiles, boot: &Boot) -> Result<Vec<String>, PredictError> {
    let found = extras(esp, boot)?.into_iter();
    Ok(found.map(|extra| extra.path).collect())
}

/// The addons of each kernel image.
pub(super) fn addons(
    esp: &dyn EspFiles,
    boot: &Boot,
) -> Result<Vec<(usize, String)>, PredictError> {
    let mut found = Vec::new();
    for extra in extras(esp, boot)?
        .into_iter()
        .filter(|extra| extra.is_addon)
    {
        let kernels = match extra.kernel {
            Some(kernel) => kernel..kernel.saturating_add(1),
            None => 0..boot.files.len(),
        };
        found.extend(kernels.map(|kernel| (kernel, extra.path.clone())));
    }
    Ok(found)
}

fn extras(esp: &dyn EspFiles, boot: &Boot) -> Result<Vec<Extra>, PredictError> {
    let mut found = Vec::new();
    let mut add = |folder: &str, names: Vec<Name>, kernel| {
        found.extend(names.into_iter().map(|entry| Extra {
            path: format!("{folder}/{}", entry.name.escape_debug()),
            kernel,
            is_addon: is_file_of(&entry, ADDON),
        }));
    };
    for (folder, suffix) in [("addons", ADDON), ("credentials", ".cred")] {
        let (folder, mut names) = names_below(esp, &["loader", folder])?;
        names.retain(|entry| is_file_of(entry, suffix));
        add(&folder, names, None);
    }
    for (place, kernel) in boot.files.iter().enumerate() {
        if kernel.program.kind() != Kind::UnifiedKernel {
            continue;
        }
        let extra = format!("{}{EXTRA}", kernel.name);
        let folder = kernel.folder.iter().chain([&extra]);
        let folder: Vec<&str> = folder.map(String::as_str).collect();
        let (folder, names) = names_below(esp, &folder)?;
        add(&folder, names, Some(place));
    }
    Ok(found)
}

/// The path of a directory as it is written there, and what it holds; nothing where there is none.
fn names_below(esp: &dyn EspFiles, wanted: &[&str]) -> Result<(String, Vec<Name>), PredictError> {
    let mut folder = Vec::new();
    for name in wanted {
        match find(&esp.list(&folder)?, name).filter(|found| found.is_directory) {
            Some(found) => folder.push(found.name),
            None => return Ok((String::new(), Vec::new())),
        }
    }
    let mut names = esp.list(&folder)?;
    names.retain(|entry| entry.name != "." && entry.name != "..");
    names.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((folder.join("/"), names))
}

/// True for the directory of what systemd's stub takes with the kernel image that it is named after.
fn is_extra(entry: &Name) -> bool {
    entry.is_directory && entry.name.ends_with(EXTRA)
}

/// A name of a directory, found without regard to the case of ASCII letters.
pub(super) fn find(names: &[Name], wanted: &str) -> Option<Name> {
    let exact = names.iter().find(|entry| entry.name == wanted);
    exact
        .or_else(|| {
            names
                .iter()
                .find(|entry| entry.name.eq_ignore_ascii_case(wanted))
        })
        .cloned()
}

/// The directory of what systemd's stub takes with a kernel image that is a file.
pub fn extra_folder(kernel: &Path) -> PathBuf {
    let mut folder = kernel.as_os_str().to_owned();
    folder.push(EXTRA);
    PathBuf::from(folder)
}

fn extras_beside(kernel: &Path) -> Result<Vec<Extra>, PredictError> {
    let folder = extra_folder(kernel);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = EspDirectory(folder.clone()).list(&[])?;
    names.sort_by(|a, b| a.name.cmp(&b.name));
    let extra = |entry: Name| Extra {
        path: format!("{}/{}", folder.display(), entry.name.escape_debug()),
        kernel: None,
        is_addon: is_file_of(&entry, ADDON),
    };
    Ok(names.into_iter().map(extra).collect())
}

/// The same as [`extra_measurements`], for the directories beside kernel images that are given as files.
pub fn extra_measurements_beside(
    chains: &[Vec<PathBuf>],
    boot: &Boot,
) -> Result<Vec<String>, PredictError> {
    let mut found: Vec<String> = Vec::new();
    let last = chains.iter().filter_map(|chain| chain.last());
    for (path, kernel) in last.zip(boot.kernels()) {
        if kernel.program.kind() == Kind::UnifiedKernel {
            found.extend(extras_beside(path)?.into_iter().map(|extra| extra.path));
        }
    }
    found.dedup();
    Ok(found)
}

/// Boot chains whose programs are given as files: one alone is started by firmware, two are shim and
/// what it loads.
pub fn of_chains(chains: &[Vec<PathBuf>], wanted: Wanted) -> Result<Boot, PredictError> {
    let mut boot = Boot::default();
    for paths in chains {
        let mut places = Vec::new();
        for path in paths {
            let name = path
                .file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy();
            let file = program(open(path, &name)?.as_ref(), &name, wanted)?;
            let known = boot.files.iter().position(|known| *known == file);
            let place = known.unwrap_or_else(|| {
                boot.files.push(file);
                boot.files.len() - 1
            });
            let addons = extras_beside(path)?
                .into_iter()
                .filter(|extra| extra.is_addon);
            boot.addons.extend(addons.map(|extra| (place, extra.path)));
            places.push(place);
        }
        if let [first, later @ ..] = places.as_slice() {
            boot.chains.push(Chain::new(*first, later));
        }
    }
    Ok(boot)
}
