//! What `deploy` puts on the EFI system partition: the sealed key, and the template of the guest's SRK.
//!
//! The key lies in `device/fde`, the template at the top: there the guest's initramfs looks. They are made in an overlay,
//! looked at there, and come to the disk in the phases of [`phases`](fat::phases()). Nothing else on the partition
//! changes.

use std::collections::BTreeMap;

use super::error::Error;
use super::plan::{FileFacts, KeyObjectKind};
use super::step::{Step, WritePhase};
use base::storage::{Overlay, ReadAt};
use filesystem::fat::{self, Entry, Fat, SectorWrite};
use filesystem::{self, Result as FatResult};

/// Directory of the sealed key.
const FOLDER: &str = "device/fde";
/// The sealed key, named after the volume.
pub const SEALED_KEY: &str = "device/fde/cloudimg-rootfs.sealed-key";
/// From what the guest makes its SRK again.
pub const SRK_TEMPLATE: &str = "tpm2-srk.tmpl";

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What the files shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The sealed key.
    pub sealed_key: Vec<u8>,
    /// The template; `None` where the guest's SRK is the standard one, and no template may lie there.
    pub srk_template: Option<Vec<u8>>,
}

/// True where a sealed key lies on an EFI system partition.
pub fn has_sealed_key(esp: &dyn ReadAt) -> FatResult<bool> {
    Ok(Fat::open_read_only(esp)?.find(SEALED_KEY)?.is_some())
}

/// True where a template lies there.
pub fn has_template(esp: &dyn ReadAt) -> FatResult<bool> {
    Ok(Fat::open_read_only(esp)?.find(SRK_TEMPLATE)?.is_some())
}

/// Both files, for people and reports.
pub fn facts(files: &Files) -> Vec<FileFacts> {
    vec![
        FileFacts::new(SEALED_KEY, Some(&files.sealed_key)),
        FileFacts::new(SRK_TEMPLATE, files.srk_template.as_deref()),
    ]
}

/// What is unusual about an EFI system partition, for the reader of a key object.
pub fn warnings(esp: &dyn ReadAt, key_object: KeyObjectKind) -> FatResult<Vec<String>> {
    if key_object == KeyObjectKind::SystemdTpm2 {
        return Ok(Vec::new()); // nothing of it is written, and its label is nobody's concern
    }
    let esp = Fat::open_read_only(esp)?;
    let mut warnings = Vec::new();
    if esp.is_dirty()? {
        warnings.push(
            "the EFI system partition was not unmounted cleanly; fsck.vfat -a frees clusters that may be lost"
                .to_owned(),
        );
    }
    match esp.label()? {
        Some(label) if label == "UEFI" => {}
        label => warnings.push(format!(
            "the EFI system partition's label is {}, Ubuntu's initramfs looks for UEFI",
            label.map_or_else(|| "missing".to_owned(), |label| format!("{label:?}"))
        )),
    }
    Ok(warnings)
}

/// The steps that bring the files to an EFI system partition at `start_bytes` of its disk.
pub fn steps(
    esp: &dyn ReadAt,
    start_bytes: u64,
    files: &Files,
    now: i64,
) -> Result<[Step; 5], Error> {
    let edited = Overlay::new(esp);
    let before = listing(&Fat::open_read_only(esp).map_err(Error::esp)?).map_err(Error::esp)?;
    let geometry = *put(&edited, files, now).map_err(Error::esp)?.geometry();
    verify(&edited, files, before)?;
    let changed = edited.changed_ranges();
    let phases = fat::phases(&geometry, esp, &edited, &changed).map_err(Error::esp)?;
    let [free_clusters, allocations, links, directories, tidy] = phases.into_steps();
    let phases = [
        (WritePhase::FreeClusters, free_clusters),
        (WritePhase::Allocations, allocations),
        (WritePhase::Links, links),
        (WritePhase::Directories, directories),
        (WritePhase::Tidy, tidy),
    ];
    Ok(phases.map(|(phase, writes)| Step::at(start_bytes, phase, writes)))
}

/// The steps that bring the files to an EFI system partition where a sealed key lies already.
pub struct Switching {
    /// The sealed key is the new one behind all of them but the last, which is the template's.
    pub switch: [Step; 5],
    /// What becomes free.
    pub tidy: Step,
}

/// The same as [`steps`], with one step more: the template switches after the sealed key, in the top directory.
pub fn switching(
    esp: &dyn ReadAt,
    start_bytes: u64,
    files: &Files,
    now: i64,
) -> Result<Switching, Error> {
    let [clusters, tables, links, directories, tidy] = steps(esp, start_bytes, files, now)?;
    let of_key = sectors(&directories_of_key(esp, start_bytes, files, now)?);
    let (key, template): (Vec<_>, Vec<_>) = sectors(&directories)
        .into_iter()
        .partition(|sector| of_key.contains(sector));
    let step = |phase, writes| Step { phase, writes };
    Ok(Switching {
        switch: [
            clusters,
            tables,
            links,
            step(WritePhase::Directories, key),
            step(WritePhase::Template, template),
        ],
        tidy,
    })
}

/// The directories where the sealed key alone is switched.
fn directories_of_key(
    esp: &dyn ReadAt,
    start_bytes: u64,
    files: &Files,
    now: i64,
) -> Result<Step, Error> {
    let edited = Overlay::new(esp);
    let geometry = {
        let fat = Fat::open(&edited, now).map_err(Error::esp)?;
        put_key(&fat, files).map_err(Error::esp)?;
        *fat.geometry()
    };
    let changed = edited.changed_ranges();
    let phases = fat::phases(&geometry, esp, &edited, &changed).map_err(Error::esp)?;
    Ok(Step::at(
        start_bytes,
        WritePhase::Directories,
        phases.directories,
    ))
}

/// A step's writes, sector by sector.
fn sectors(step: &Step) -> Vec<SectorWrite> {
    let writes = step.writes.iter().flat_map(|write| {
        let offsets = (write.offset_bytes..).step_by(SECTOR_BYTES);
        offsets.zip(write.bytes.chunks(SECTOR_BYTES))
    });
    let sectors = writes.map(|(offset_bytes, bytes)| SectorWrite {
        offset_bytes,
        bytes: bytes.to_vec(),
    });
    sectors.collect()
}

/// The step that tells how much is free on an EFI system partition whose last deploy was interrupted.
pub fn mending_step(esp: &dyn ReadAt, start_bytes: u64, now: i64) -> Result<Step, Error> {
    let edited = Overlay::new(esp);
    let geometry = {
        let fat = Fat::open(&edited, now).map_err(Error::esp)?;
        fat.finish().map_err(Error::esp)?;
        *fat.geometry()
    };
    let changed = edited.changed_ranges();
    let phases = fat::phases(&geometry, esp, &edited, &changed).map_err(Error::esp)?;
    Ok(Step::at(start_bytes, WritePhase::Tidy, phases.tidy))
}

/// Makes the edits.
fn put<'s>(edited: &'s Overlay<&dyn ReadAt>, files: &Files, now: i64) -> FatResult<Fat<'s>> {
    let esp = Fat::open(edited, now)?;
    put_key(&esp, files)?;
    match &files.srk_template {
        Some(template) => esp.switch_file(SRK_TEMPLATE, template)?,
        None if esp.find(SRK_TEMPLATE)?.is_some() => esp.remove_file(SRK_TEMPLATE)?,
        None => {}
    }
    esp.finish()?;
    Ok(esp)
}

fn put_key(esp: &Fat<'_>, files: &Files) -> FatResult<()> {
    esp.create_dir_all(FOLDER)?;
    esp.switch_file(SEALED_KEY, &files.sealed_key)
}

/// The directories that the edits touch, by their paths; a directory that is missing has no entry.
type Listing = BTreeMap<&'static str, Vec<Entry>>;

fn listing(esp: &Fat<'_>) -> FatResult<Listing> {
    let mut listing = Listing::new();
    for path in ["", "device", FOLDER] {
        match esp.list_dir(path) {
            Ok(entries) => listing.insert(path, entries),
            Err(filesystem::Error::NotFound { .. }) => break,
            Err(error) => return Err(error),
        };
    }
    Ok(listing)
}

/// Reads back what was made: the files, and the directories around them.
fn verify(edited: &dyn ReadAt, files: &Files, before: Listing) -> Result<(), Error> {
    let esp = Fat::open_read_only(edited).map_err(Error::esp)?;
    let read = |path| match esp.read_file(path, 1 << 20) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(filesystem::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(Error::esp(error)),
    };
    if read(SEALED_KEY)?.as_ref() != Some(&files.sealed_key)
        || read(SRK_TEMPLATE)? != files.srk_template
    {
        return Err(Error::Verify {
            what: "the files on the EFI system partition",
        });
    }
    let after = listing(&esp).map_err(Error::esp)?;
    let is_ours = |folder: &str, entry: &Entry| {
        let path = format!("{folder}/{}", entry.name).to_ascii_lowercase();
        [FOLDER, SEALED_KEY, SRK_TEMPLATE, "device"].contains(&path.trim_start_matches('/'))
    };
    let others = |listing: Listing| -> BTreeMap<&str, Vec<Entry>> {
        let others = listing.into_iter().map(|(folder, entries)| {
            let entries = entries.into_iter().filter(|entry| !is_ours(folder, entry));
            (folder, entries.collect::<Vec<_>>())
        });
        others.filter(|(_, entries)| !entries.is_empty()).collect()
    };
    if others(before) != others(after) {
        return Err(Error::Verify {
            what: "the directories of the EFI system partition",
        });
    }
    Ok(())
}
