//! The use case `encrypt`, by path: opens the source, decides everything, writes an output that appears
//! whole or not at all.
//!
//! [`Job`] is what is asked for, [`ReadyToEncrypt`] what was decided before the first write; its [`EncryptPlan`] tells it.

mod boot_file;
mod customise;
mod encrypted_disk;
mod in_place;
mod onto_device;
mod open;
mod plan;
mod profile;
mod shrink;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::debug;
use uuid::Builder;

pub use crate::common::data_pass::FreeSpace;
pub(crate) use customise::GROWPART_KEYSLOT;
pub use customise::{DatasourceNameError, Datasources, Edit};
pub use onto_device::ReadyOnDevice;
pub use plan::{EncryptPlan, Route};
pub use profile::{ChosenProfile, Profile, ProfileChoice};

use crate::common::backing::BackingFiles;
use crate::common::data_pass::{self, Part, Pass, threads};
use crate::common::error::Error;
use crate::common::layout::Room;
use crate::common::observer::{Observer, Phase, StopFlag};
use base::secret::Entropy;
use base::storage::{FileStorage, ReadAt, Slice, WriteAt};
use image::{
    self, DiskFormat, Finished, Footer, Lock, Output, Packing, PublishStep, Published, Replace,
    Source, SourceFormat, Temporary,
};

pub use boot_file::BootFile;
pub(crate) use encrypted_disk::UnlockKey;
pub use encrypted_disk::{Choices, EncryptedDisk, Options};
pub use in_place::{ReadyInPlace, ReadyToResume, Resume};
pub(crate) use shrink::Shrunk;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Job {
    /// The image to encrypt.
    pub source: PathBuf,
    /// The files below it, from the top down, where it holds the changes to another one.
    pub backing_files: Vec<PathBuf>,
    /// Where the encrypted image goes; `None` replaces the source.
    pub output: Option<PathBuf>,
    /// An existing output is replaced.
    pub overwrite: bool,
    /// Format of the output; `None`: by its extension, else that of the source.
    pub output_format: Option<DiskFormat>,
    /// What is chosen for the disk.
    pub choices: Choices,
    /// The file for `EFI/ubuntu/grubx64.efi`.
    pub kernel_efi: Option<PathBuf>,
    /// Threads for the data pass; `None`: one for each processor.
    pub threads: Option<usize>,
}

/// A job that was found feasible; nothing is written yet.
pub struct ReadyToEncrypt {
    plan: EncryptPlan,
    prepared: EncryptedDisk<Arc<dyn ReadAt>>,
    source: Arc<Source>,
    replace: Replace,
    replaces_source: bool,
    mode: u32,
    footer: Option<Footer>,
    free_space: FreeSpace,
    threads: usize,
}

/// A source that is open, and what its file was found to hold.
pub(crate) struct OpenedSource {
    /// The file.
    pub source: Arc<Source>,
    /// Its form.
    pub format: SourceFormat,
    /// The disk in it.
    pub disk: Arc<dyn ReadAt>,
    /// The files below it.
    pub backing: BackingFiles,
    below: Vec<SourceFormat>,
    packing: Option<Packing>,
    warnings: Vec<String>,
}

impl OpenedSource {
    /// Looks what the file holds. A packed one is unpacked beside the output that `beside` names.
    pub fn new(
        source: Arc<Source>,
        backing: BackingFiles,
        beside: impl FnOnce(Packing) -> Result<PathBuf, Error>,
        observer: &dyn Observer,
        stop: &StopFlag,
    ) -> Result<Self, Error> {
        let (opened, packing) = open::open(&source, &backing, beside, observer, stop)?;
        Ok(Self {
            source,
            format: opened.format,
            disk: Arc::from(opened.disk),
            backing,
            below: opened.below,
            packing,
            warnings: opened.warnings.iter().map(ToString::to_string).collect(),
        })
    }

    /// The files below it, as they were named, with the formats that they have.
    fn named_below(&self, paths: Vec<PathBuf>) -> Vec<(PathBuf, SourceFormat)> {
        paths.into_iter().zip(self.below.iter().copied()).collect()
    }
}

impl Job {
    /// Opens the source and decides everything. `now` is the time of all changes, in seconds since 1970.
    ///
    /// Nothing is written, but for the plain bytes of a packed source, into a file without a name beside the output.
    /// Whatever can be found wrong with source, flags and output's place is found here, but for the room that the output
    /// takes ([`ReadyToEncrypt::check_room`]).
    pub fn prepare(
        self,
        entropy: &mut dyn Entropy,
        now: i64,
        observer: &dyn Observer,
        stop: &StopFlag,
    ) -> Result<ReadyToEncrypt, Error> {
        let lock = if self.output.is_some() {
            Lock::Shared
        } else {
            Lock::Exclusive
        };
        let source = Arc::new(Source::open(&self.source, lock).map_err(Error::SourceFile)?);
        let backing = BackingFiles::open(&self.backing_files)?;
        self.check_output(&source, &backing)?;
        let beside = |packing| {
            let output = self.output.clone();
            output.ok_or(Error::PackedInPlace { packing })
        };
        let opened = OpenedSource::new(source, backing, beside, observer, stop)?;
        let format = opened.format;
        if self.output.is_none() && !format.is_replaced_by_its_output() {
            return Err(Error::NotInPlace { format });
        }
        let disk = Arc::clone(&opened.disk);
        self.prepare_on(&opened, disk, UnlockKey::InToken, entropy, now)
    }

    /// Decides everything for a source that is open; `disk` is its disk.
    pub(crate) fn prepare_on(
        self,
        opened: &OpenedSource,
        disk: Arc<dyn ReadAt>,
        unlock_key: UnlockKey,
        entropy: &mut dyn Entropy,
        now: i64,
    ) -> Result<ReadyToEncrypt, Error> {
        let replace = self.replace();
        let source = &opened.source;
        let output = self.output.as_ref().unwrap_or(&self.source).clone();
        let output_format = self.output_format(opened.format);
        let options = Options {
            whole_mebibytes: output_format == DiskFormat::FixedVhd,
            unlock_key,
            ..self.options()?
        };
        let prepared = EncryptedDisk::new(disk, &options, now, entropy)?;
        let mut warnings = opened.warnings.clone();
        warnings.extend_from_slice(&prepared.warnings);
        if self.output_format.is_none() {
            warnings.extend(other_extension(&output, output_format));
        }
        let mode = self
            .output
            .as_ref()
            .map_or_else(|| own_mode(source, &mut warnings), |_| 0o600);
        if let Room::Shrunk { .. } = prepared.layout.room {
            shrink::find_program()?;
            warnings.push(
                "--make-room shrink: the plain filesystem is written to the output's disk, into an unnamed temporary".to_owned(),
            );
        }
        let footer = match output_format {
            DiskFormat::Raw => None,
            DiskFormat::FixedVhd => Some(footer(prepared.layout.disk_bytes, now, entropy)?),
        };
        let route = Route {
            source: self.source,
            packing: opened.packing,
            source_format: opened.format,
            source_bytes: opened.disk.len_bytes(),
            backing_files: opened.named_below(self.backing_files),
            output,
            output_format,
            in_place: false,
        };
        let plan = prepared.plan(route, warnings);
        Ok(ReadyToEncrypt {
            plan,
            prepared,
            source: Arc::clone(source),
            replace,
            replaces_source: self.output.is_none(),
            mode,
            footer,
            free_space: self.choices.free_space,
            threads: threads(self.threads),
        })
    }

    /// What is done to any disk; the rest is as by default.
    fn options(&self) -> Result<Options, Error> {
        Ok(Options {
            choices: self.choices.clone(),
            boot_file: self.kernel_efi.as_deref().map(BootFile::read).transpose()?,
            ..Options::default()
        })
    }

    /// Checks the output's place.
    pub(crate) fn check_output(
        &self,
        source: &Source,
        backing: &BackingFiles,
    ) -> Result<(), Error> {
        if let Some(output) = &self.output {
            source.refuse_as_output(output).map_err(Error::OutputFile)?;
            backing.refuse_as_output(output)?;
        }
        let output = self.output.as_ref().unwrap_or(&self.source);
        Output::check(output, self.replace()).map_err(Error::OutputFile)
    }

    fn replace(&self) -> Replace {
        if self.overwrite || self.output.is_none() {
            Replace::Existing
        } else {
            Replace::Never
        }
    }

    /// The format that was asked for, else what the output's extension says, else the one that goes with the source's.
    fn output_format(&self, source_format: SourceFormat) -> DiskFormat {
        let by_extension = || {
            let extension = self.output.as_deref()?.extension()?.to_str()?;
            match extension.to_ascii_lowercase().as_str() {
                "vhd" => Some(DiskFormat::FixedVhd),
                "raw" | "img" => Some(DiskFormat::Raw),
                _ => None,
            }
        };
        self.output_format
            .or_else(by_extension)
            .unwrap_or(source_format.of_output())
    }
}

impl ReadyToEncrypt {
    /// What will be done.
    pub fn plan(&self) -> &EncryptPlan {
        &self.plan
    }

    /// Refuses what the output's file system has no room for. [`ReadyToEncrypt::run`] begins with it; a plan alone is no reason
    /// to refuse.
    pub fn check_room(&self) -> Result<(), Error> {
        self.check_room_beside(0)
    }

    /// What the output takes at least.
    pub(crate) fn needed_bytes(&self) -> u64 {
        let layout = &self.plan.layout;
        let copy_bytes = match layout.room {
            Room::Shrunk { .. } => layout.filesystem_bytes,
            _ => 0,
        };
        // Only the root is sure to be written whole; the rest may be holes.
        let root_bytes = match self.free_space {
            FreeSpace::Encrypt => layout.segment_bytes,
            FreeSpace::Skip => self.prepared.used().used_bytes(),
        };
        root_bytes + copy_bytes
    }

    /// The same as [`ReadyToEncrypt::check_room`], where so much will be taken by other outputs.
    pub(crate) fn check_room_beside(&self, taken_bytes: u64) -> Result<(), Error> {
        let needed_bytes = self.needed_bytes();
        let folder = Output::directory(&self.plan.route.output);
        let free_bytes = image::free_bytes(&folder).map_err(Error::OutputFile)?;
        let free_bytes = free_bytes.saturating_sub(taken_bytes);
        if free_bytes < needed_bytes {
            return Err(Error::NoSpace {
                needed_bytes,
                free_bytes,
                folder,
            });
        }
        Ok(())
    }

    /// Does it. An error, a stop and a kill leave nothing but what the file system cannot do without
    /// (docs/differences.md, "An output is never replaced by accident").
    pub fn run(&self, observer: &dyn Observer, stop: &StopFlag) -> Result<(), Error> {
        self.check_room()?;
        debug!("{} threads encrypt", self.threads);
        let output = self.create()?;
        let shrunk = self.shrunk(observer, stop)?;
        let parts = self.parts(shrunk.as_ref())?;
        let disk = self.disk_of(&output)?;
        let pass = Pass::new(&parts, &disk);
        observer.begin(Phase::Encrypt, pass.total_bytes());
        data_pass::run_one(pass, self.threads, observer, stop)?;
        self.complete(&output)?;
        let finished = self.finish(output, observer)?;
        let mut published = publish(finished, observer, stop)?;
        published.durable().map_err(Error::OutputFile)
    }

    /// The image in memory.
    pub(crate) fn prepared(&self) -> &EncryptedDisk<Arc<dyn ReadAt>> {
        &self.prepared
    }

    /// Threads for the data pass.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Length of the output in bytes.
    pub(crate) fn file_bytes(&self) -> Result<u64, Error> {
        let disk_bytes = self.plan.layout.disk_bytes;
        let file_bytes = self.plan.route.output_format.file_bytes(disk_bytes);
        file_bytes.ok_or(Error::TooLong { disk_bytes })
    }

    /// Makes the output, which has no name yet.
    pub(crate) fn create(&self) -> Result<Output, Error> {
        let path = &self.plan.route.output;
        let len_bytes = self.file_bytes()?;
        let output = Output::create(path, len_bytes, self.replace, Temporary::default());
        output.map_err(Error::OutputFile)
    }

    /// What the data pass makes the output of.
    pub(crate) fn parts<'a>(&'a self, shrunk: Option<&'a Shrunk>) -> Result<[Part<'a>; 3], Error> {
        self.prepared.parts(shrunk)
    }

    /// The disk in an output.
    pub(crate) fn disk_of<'a>(&self, output: &'a Output) -> Result<Slice<&'a FileStorage>, Error> {
        let disk = Slice::new(output.storage(), 0, self.plan.layout.disk_bytes);
        disk.map_err(Error::Output)
    }

    /// Writes what comes behind the data pass: the container's head, the partition table, a footer.
    pub(crate) fn complete(&self, output: &Output) -> Result<(), Error> {
        self.prepared.write_tables(&self.disk_of(output)?)?;
        if let Some(footer) = &self.footer {
            let bytes = footer.to_bytes();
            let written = output
                .storage()
                .write_all_at(&bytes, self.plan.layout.disk_bytes);
            written.map_err(Error::Output)?;
        }
        Ok(())
    }

    /// The shrunk filesystem, where the layout needs one.
    pub(crate) fn shrunk(
        &self,
        observer: &dyn Observer,
        stop: &StopFlag,
    ) -> Result<Option<Shrunk>, Error> {
        let Room::Shrunk { blocks } = self.plan.layout.room else {
            return Ok(None);
        };
        let len_bytes = self.prepared.filesystem.len_bytes();
        let path = &self.plan.route.output;
        let copy = Output::create(path, len_bytes, Replace::Existing, Temporary::default())
            .map_err(Error::OutputFile)?;
        let root = self.prepared.root()?;
        let used = self.prepared.used();
        shrink::shrink(root, used, blocks, copy, self.threads, observer, stop).map(Some)
    }

    /// Completes the output's file, which has no name yet.
    pub(crate) fn finish(
        &self,
        output: Output,
        observer: &dyn Observer,
    ) -> Result<Finished, Error> {
        if self.replaces_source {
            keep_owner(&output, &self.source);
        }
        // Exactly, whatever the umask: it was made with what the umask left.
        output.set_mode(self.mode).map_err(Error::OutputFile)?;
        observer.begin(Phase::Flush, 0);
        output.finish().map_err(Error::OutputFile)
    }
}

/// Gives an output its name, unless it is stopped before.
pub(crate) fn publish(
    finished: Finished,
    observer: &dyn Observer,
    stop: &StopFlag,
) -> Result<Published, Error> {
    let mut on_step = |step: PublishStep| {
        observer.publishing(step);
        if stop.is_raised() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    finished.publish(&mut on_step).map_err(|error| match error {
        image::Error::Stopped => Error::Interrupted,
        error => Error::OutputFile(error),
    })
}

/// A warning where the output's name promises a format that is not written.
fn other_extension(output: &Path, format: DiskFormat) -> Option<String> {
    let extension = output.extension()?.to_str()?;
    let promised = ["qcow2", "qcow", "vhdx", "vmdk", "vdi"]
        .iter()
        .any(|other| extension.eq_ignore_ascii_case(other));
    let written = match format {
        DiskFormat::Raw => "a raw image",
        DiskFormat::FixedVhd => "a fixed VHD",
    };
    promised.then(|| {
        format!(
            "the output is {written}, whatever the ending .{extension} says (--output-format chooses)"
        )
    })
}

/// Gives a file that replaces the source the source's owner, where this user may.
fn keep_owner(output: &Output, source: &Source) {
    let (user, group) = source.owner();
    // An ordinary user cannot give files away; then it is this user's file, like any other output.
    let _ = output.set_owner(user, group);
}

/// The mode of a file that is replaced by its encrypted self.
fn own_mode(source: &Source, warnings: &mut Vec<String>) -> u32 {
    let mode = owners_mode(source, warnings);
    if source.links() > 1 {
        warnings.push(format!(
            "the file has {} names; the others keep the plain image",
            source.links()
        ));
    }
    mode
}

/// The mode of a file that will hold its own key: nobody's but its owner's.
fn owners_mode(source: &Source, warnings: &mut Vec<String>) -> u32 {
    let mode = source.mode() & 0o700;
    if mode != source.mode() {
        warnings.push(format!(
            "the file's mode becomes {mode:04o} instead of {:04o}: until deploy it holds its own key",
            source.mode()
        ));
    }
    mode
}

/// A footer for a disk of this length, with an id of its own.
fn footer(disk_bytes: u64, now: i64, entropy: &mut dyn Entropy) -> Result<Footer, Error> {
    let mut random = [0; 16];
    entropy.fill(&mut random)?;
    let id = Builder::from_random_bytes(random).into_uuid();
    let time_stamp = image::vhd_time(u64::try_from(now).unwrap_or(0));
    Ok(Footer::new(disk_bytes, id, time_stamp))
}
