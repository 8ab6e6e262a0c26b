//! A conversion in place by path: what is asked for is a [`Job`], as for any other `encrypt`, without an output.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::encrypted_disk::{EncryptedDisk, Options};
use super::plan::Route;
use super::{EncryptPlan, Job, owners_mode};
use crate::common::data_pass::{FreeSpace, threads};
use crate::common::error::Error;
use crate::common::observer::{Control, Observer, StopFlag};
use crate::common::partitions::{self, Named};
use crate::in_place::{CHUNK_BYTES, Conversion};
use base::secret::Entropy;
use base::storage::{ReadAt, Slice};
use gpt::{self, Table};
use image::{self, Detected, Output, Source, SourceFormat};

/// A conversion in place that was found feasible; nothing is written yet.
pub struct ReadyInPlace {
    plan: EncryptPlan,
    prepared: EncryptedDisk<Slice<Arc<Source>>>,
    source: Arc<Source>,
    mode: Option<u32>,
    threads: usize,
}

impl Job {
    /// Opens the source for writing, and decides everything. `now` is the time of all changes, in seconds since 1970.
    ///
    /// Nothing is written. Output and overwriting mean nothing here.
    pub fn prepare_in_place(
        self,
        entropy: &mut dyn Entropy,
        now: i64,
    ) -> Result<ReadyInPlace, Error> {
        if self.choices.free_space == FreeSpace::Skip {
            return Err(Error::HasNoHoles);
        }
        if self.output_format.is_some() {
            return Err(Error::KeepsFormat);
        }
        let (source, detected) = open_to_change(&self.source)?;
        // What is changed where it lies lies on no other file.
        if let Some(named) = self.backing_files.first().cloned() {
            return Err(Error::SourceFile(image::Error::NoBackingFile { named }));
        }
        let disk = detected
            .disk(Arc::clone(&source))
            .map_err(Error::SourceFile)?;
        let options = Options {
            in_place: Some(CHUNK_BYTES),
            ..self.options()?
        };
        let prepared = EncryptedDisk::new(disk, &options, now, entropy)?;
        if let Some(device_bytes) = source.device_sector_bytes()
            && device_bytes != prepared.sector_bytes
        {
            return Err(Error::SourceFile(image::Error::DeviceSectors {
                device_bytes,
                table_bytes: prepared.sector_bytes,
            }));
        }
        let mut warnings: Vec<_> = detected.warnings.iter().map(ToString::to_string).collect();
        warnings.extend_from_slice(&prepared.warnings);
        let mode = mode(&source, &mut warnings);
        let route = Route {
            output: self.source.clone(),
            source: self.source,
            packing: None,
            source_format: SourceFormat::Written(detected.format),
            source_bytes: detected.disk_bytes,
            backing_files: Vec::new(),
            output_format: detected.format,
            in_place: true,
        };
        let plan = prepared.plan(route, warnings);
        Ok(ReadyInPlace {
            plan,
            prepared,
            source,
            mode,
            threads: threads(self.threads),
        })
    }
}

impl ReadyInPlace {
    /// What will be done.
    pub fn plan(&self) -> &EncryptPlan {
        &self.plan
    }

    /// Refuses a sparse file whose holes the file system has no room to fill. [`ReadyInPlace::run`] begins with it.
    pub fn check_room(&self) -> Result<(), Error> {
        let layout = &self.plan.layout;
        let end = layout.segment_start_bytes() + layout.segment_bytes;
        let mut needed_bytes = 0;
        let mut at = layout.root_bytes;
        while at < end {
            let data = self.source.next_data(at).map_err(Error::Source)?;
            let data = data.unwrap_or(end..end);
            needed_bytes += data.start.clamp(at, end) - at;
            at = data.end;
        }
        let folder = Output::directory(&self.plan.route.source);
        let free_bytes = image::free_bytes(&folder).map_err(Error::SourceFile)?;
        if needed_bytes > 0 && free_bytes < needed_bytes {
            return Err(Error::NoSpace {
                needed_bytes,
                free_bytes,
                folder,
            });
        }
        Ok(())
    }

    /// Does it. What ends it early leaves a disk on which [`Resume`] goes on; before that it is as it was, but for its
    /// partition table and EFI system partition, which may have what was asked for.
    pub fn run(
        &self,
        observer: &dyn Observer,
        stop: &StopFlag,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Error> {
        self.check_room()?;
        if stop.is_raised() {
            return Err(Error::Interrupted);
        }
        if let Some(mode) = self.mode {
            self.source.set_mode(mode).map_err(Error::SourceFile)?;
        }
        self.prepared
            .convert(self.threads, Control { observer, stop }, entropy)
    }
}

/// A conversion to be resumed.
#[derive(Debug, Clone)]
pub struct Resume {
    /// The file or device.
    pub source: PathBuf,
    /// The partitions, where they are not found by their types.
    pub partitions: Option<Named>,
    /// Threads; `None`: one for each processor.
    pub threads: Option<usize>,
}

/// An unfinished conversion that was found, and can go on.
pub struct ReadyToResume {
    disk: Slice<Arc<Source>>,
    conversion: Conversion,
    threads: usize,
}

impl Resume {
    /// Finds the conversion, and checks that nothing was changed that would spoil it. Nothing is written.
    pub fn prepare(self) -> Result<ReadyToResume, Error> {
        let (source, detected) = open_to_change(&self.source)?;
        let disk = detected.disk(source).map_err(Error::SourceFile)?;
        let (table, _) = Table::read(&disk)?;
        let root = partitions::choose(&table, self.partitions)?.root;
        Ok(ReadyToResume {
            conversion: Conversion::find(&disk, &root, table.sector_bytes())?,
            disk,
            threads: threads(self.threads),
        })
    }
}

impl ReadyToResume {
    /// How many bytes are converted, and how many there are; `None` where nothing but a header copy is left to write.
    pub fn progress(&self) -> Option<(u64, u64)> {
        self.conversion.progress()
    }

    /// Goes on until it is complete, or ends early once more.
    pub fn run(
        &self,
        observer: &dyn Observer,
        stop: &StopFlag,
        entropy: &mut dyn Entropy,
    ) -> Result<(), Error> {
        self.conversion.run(
            &self.disk,
            self.threads,
            Control { observer, stop },
            entropy,
        )
    }
}

/// Opens a file or device for writing, and tells the form of its disk.
fn open_to_change(path: &Path) -> Result<(Arc<Source>, Detected), Error> {
    let source = Source::open_to_change(path).map_err(Error::SourceFile)?;
    let disk_end_bytes = gpt::disk_end_bytes(source.storage())?;
    let detected = image::detect(source.storage(), disk_end_bytes).map_err(Error::SourceFile)?;
    Ok((Arc::new(source), detected))
}

/// The mode of a file that will hold its own key, where it is another one than it has.
fn mode(source: &Source, warnings: &mut Vec<String>) -> Option<u32> {
    if source.device_sector_bytes().is_some() {
        return None; // whose node is the system's
    }
    let mode = owners_mode(source, warnings);
    (mode != source.mode()).then_some(mode)
}
