//! The files of a `deploy`. What it writes must not be what it reads, nor two of it one file: a report would replace the
//! image. And nothing else is opened.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::args;
use super::confinement::Confinement;
use super::message::Failure;

/// An option, and the file that it names.
type NamedFile = (&'static str, PathBuf);

/// The files that are written beside SOURCE.
fn written(command: &args::Deploy) -> Vec<NamedFile> {
    given([
        ("--output", command.output.as_ref()),
        (
            "--recovery-key-out",
            command.recovery.recovery_key_out.as_ref(),
        ),
        ("--report", command.report.as_ref()),
    ])
}

/// The files that are read.
fn read(command: &args::Deploy) -> Vec<NamedFile> {
    let firmware = &command.firmware;
    given([
        ("SOURCE", Some(&command.source)),
        ("--srk-pub", Some(&command.srk.srk_pub)),
        (
            "--srk-template-unique-data",
            command.srk.srk_template_unique_data.as_ref(),
        ),
        ("--uefi-config", firmware.uefi_config.as_ref()),
        ("--ovmf-vars", firmware.ovmf_vars.as_ref()),
        ("--az-disk-profile", firmware.az_disk_profile.as_ref()),
        (
            "--recovery-key-file",
            command.recovery.recovery_key_file.as_ref(),
        ),
    ])
}

fn given<const N: usize>(files: [(&'static str, Option<&PathBuf>); N]) -> Vec<NamedFile> {
    let files = files.into_iter();
    files
        .filter_map(|(option, path)| Some((option, path?.clone())))
        .collect()
}

/// What a run still gets at.
pub fn confinement(command: &args::Deploy) -> Confinement {
    let confinement = match &command.output {
        Some(_) => Confinement::new(),
        None => Confinement::new().changes(&command.source),
    };
    let read = read(command).into_iter().map(|(_, path)| path);
    let read = read.chain(command.firmware.efivars.clone());
    let confinement = read.fold(confinement, |all, path| all.reads(&path));
    let written = written(command).into_iter();
    let files = written.filter(|(_, path)| path != Path::new("-"));
    files.fold(confinement, |all, (_, path)| all.writes(&path))
}

/// Refuses a command line in which two of the files are one, and one of them is written.
pub fn refuse_one_for_two(command: &args::Deploy) -> Result<(), Failure> {
    let (written, read) = (written(command), read(command));
    for (index, (option, path)) in written.iter().enumerate() {
        let others = written.iter().skip(index + 1).chain(&read);
        for (other, other_path) in others {
            // An output onto its source has a message of its own.
            let is_known = (*option, *other) == ("--output", "SOURCE");
            if !is_known && are_one_file(path, other_path) {
                let what = format!("{option} and {other} name one file: {}", path.display());
                return Err(Failure::new(anyhow::anyhow!(what), None));
            }
        }
    }
    Ok(())
}

fn are_one_file(one: &Path, other: &Path) -> bool {
    matches!((Identity::of(one), Identity::of(other)), (Some(one), Some(other)) if one == other)
}

/// What two names of one file have in common.
#[derive(PartialEq, Eq)]
enum Identity {
    /// A file that is there: device and inode.
    There(u64, u64),
    /// One that will be there.
    ToBe(PathBuf),
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        if let Ok(found) = fs::metadata(path) {
            return Some(Self::There(found.dev(), found.ino()));
        }
        let folder = path.parent()?;
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let folder = fs::canonicalize(folder).ok()?;
        Some(Self::ToBe(folder.join(path.file_name()?)))
    }
}
