//! The use case `deploy`: binds an encrypted image to one guest's vTPM.
//!
//! The disk key, which `encrypt` left in clear in the LUKS2 header, is sealed to the guest's SRK and its predicted PCR
//! values, and goes to the EFI system partition; then it vanishes from the header. Or, for systemd's reader, a new
//! keyslot takes a key that is sealed in tokens of the header. [`Job`] is what is asked for.
//! [`Job::prepare`] plans everything down to the bytes and reads it back; any error until then leaves the image as it
//! was. [`ReadyToDeploy::run`] writes the planned [`Step`]s in an order that survives a crash at any point, into the image
//! itself or into a copy.
//!
//! A deploy that ended between the two header copies, of which the second is the last that is written, is completed by the
//! next one. An image that is deployed is
//! sealed again with a key of its owner's ([`Job::unlock_with`]): under a fresh key, for whatever guest and state are
//! asked for then.

mod binding;
pub(crate) mod container;
mod copy;
mod digests;
mod error;
pub(crate) mod esp;
mod header;
pub(crate) mod key_file;
mod new_image;
mod plan;
mod recovery;
mod reseal;
mod sealing;
mod step;
mod tokens;
mod unlock;

use std::path::{Path, PathBuf};

pub use binding::Binding;
pub use digests::Digests;
pub(super) use digests::digest;
pub use error::Error;
pub use esp::{SEALED_KEY, SRK_TEMPLATE};
pub(super) use new_image::{NewImage, RecoveryKeyOf};
pub use plan::{
    Again, DeployPlan, Disk, FileFacts, KeyObjectKind, KeyslotFacts, Luks, Purpose, SrkFacts,
};
pub use recovery::{Recovery, RecoveryForm, RecoverySource};
pub use sealing::{KeyObject, SrkMode, SrkOptions, TemplateChoice};
use step::Before;
pub use step::{Step, WritePhase, write};

pub use keyobject::systemd_tpm2::{DEFAULT_SRK_HANDLE, Parent};

use crate::common::observer::{Observer, Phase, StopFlag};
use crate::common::partitions::{self, Named, byte_range, window};
use crate::deploy::key_file::KeyFile;
use crate::predict::Sealable;
use crate::{Error as CommonError, encrypt};
use base::secret::Entropy;
use base::storage::{ReadAt, Slice, WriteAt};
use binding::{Parts, Unlocked};
use container::{Container, State};
use gpt::{self, Table};
use image::{self, Lock, Output, Published, Replace, Source, Temporary};

/// What is asked for.
#[derive(Clone)]
pub struct Job {
    /// The encrypted image.
    pub source: PathBuf,
    /// A copy that is deployed in its place.
    pub output: Option<PathBuf>,
    /// An existing output is replaced.
    pub overwrite: bool,
    /// Nothing will be written: the image is opened for reading alone.
    pub dry_run: bool,
    /// The partitions, where they are not found by what they hold.
    pub partitions: Option<Named>,
    /// The guest.
    pub binding: Binding,
    /// The file of a key that opens a deployed image, which is sealed again.
    pub unlock_with: Option<PathBuf>,
}

/// A job that was found feasible; nothing is written yet.
pub struct ReadyToDeploy {
    plan: DeployPlan,
    steps: Vec<Step>,
    source: Source,
    /// Both header copies, in the file.
    header_copies: std::ops::Range<u64>,
    /// The output, where it is a copy.
    copy: Option<(PathBuf, Replace)>,
    recovery: Option<(RecoverySource, Recovery)>,
}

/// Only a form that is written can be changed where it lies.
fn of_format(error: image::Error) -> Error {
    match error {
        image::Error::OtherFormat { format } => Error::NotInPlace { format },
        error => CommonError::SourceFile(error).into(),
    }
}

/// An EFI system partition carries the sealed key of one container.
fn refuse_the_key_of_another(
    container: &Container,
    key_object: KeyObjectKind,
    esp: &dyn ReadAt,
) -> Result<(), Error> {
    if let Some(partition) = container.deployed_elsewhere
        && key_object == KeyObjectKind::Secboot
        && esp::has_sealed_key(esp).map_err(Error::esp)?
    {
        return Err(Error::SealedKeyOfAnother { partition });
    }
    Ok(())
}

impl Job {
    /// Opens the image and plans everything. `now` is the time of all changes, in seconds since 1970.
    ///
    /// Nothing is written; whatever can be found wrong with image, guest and flags is found here.
    pub fn prepare(self, entropy: &mut dyn Entropy, now: i64) -> Result<ReadyToDeploy, Error> {
        let source = self.open()?;
        let copy = self.checked_output(&source)?;
        let disk_end_bytes = gpt::disk_end_bytes(source.storage()).map_err(CommonError::Gpt)?;
        let detected = image::detect(source.storage(), disk_end_bytes).map_err(of_format)?;
        let disk = Slice::new(&source, 0, detected.disk_bytes).map_err(CommonError::Source)?;
        let (table, found) = Table::read(&disk).map_err(CommonError::Gpt)?;
        let mut warnings: Vec<_> = detected.warnings.iter().map(ToString::to_string).collect();
        warnings.extend(found.iter().map(ToString::to_string));

        let esp = partitions::choose_esp(&table, self.partitions.map(|named| named.esp))?;
        let esp_range = byte_range(&esp, table.sector_bytes());
        let esp_window = window(&disk, &esp_range)?;
        let container = Container::find(&disk, &table, self.partitions)?;
        let key_object = self.key_object_of(&container, &esp_window)?;
        refuse_the_key_of_another(&container, key_object, &esp_window)?;
        warnings.extend(esp::warnings(&esp_window, key_object).map_err(Error::esp)?);
        warnings.extend(container.header.warnings().iter().map(ToString::to_string));

        let storage = container.window(&disk)?;
        let mut plan = DeployPlan {
            source: self.source.clone(),
            output: self.output.as_ref().unwrap_or(&self.source).clone(),
            file_bytes: source.len_bytes(),
            format: detected.format,
            disk: Disk::new(&table, container.partition.number, esp.number),
            completes: false,
            key_object,
            recovery: None,
            again: None,
            luks: Luks::of(&container, &storage)?,
            srk: None,
            prediction: None,
            files: Vec::new(),
            written_bytes: 0,
            warnings,
        };
        let parts = Parts {
            container: &container,
            storage: &storage,
            esp: &esp_window,
            esp_start_bytes: esp_range.start,
        };
        let mut recovery = None;
        let steps = if let Some(unlocked) = self.unlocked(parts, &mut plan)? {
            let bound = self.binding.plan(parts, &unlocked, now, entropy)?;
            let key = bound.recovery.as_ref().map(|(_, key)| key);
            plan.recovery = key.map(Recovery::form);
            plan.warnings.extend(bound.warnings);
            plan.srk = Some(bound.srk);
            plan.prediction = bound.prediction.map(Sealable::into_prediction);
            plan.files = bound.files;
            recovery = bound.recovery;
            bound.steps
        } else {
            plan.completes = true;
            completing_steps(parts, key_object, now, entropy)?
        };
        plan.luks = Luks::after(&steps, &storage, &container)?;
        plan.written_bytes = steps.iter().map(Step::len_bytes).sum();
        let copies = container.header.metadata().keyslots_start_bytes();
        let header_copies = container.range.start..container.range.start + copies;
        Ok(ReadyToDeploy {
            plan,
            steps,
            source,
            header_copies,
            copy,
            recovery,
        })
    }

    /// Which key object the image has, or gets. Only what `encrypt` has made is worked on, and what `deploy` has
    /// finished only where a key of its owner's is given.
    fn key_object_of(
        &self,
        container: &Container,
        esp: &dyn ReadAt,
    ) -> Result<KeyObjectKind, Error> {
        let partition = container.partition.number;
        let wanted = KeyObjectKind::from(self.binding.key_object);
        let is_again = self.unlock_with.is_some();
        if let State::NotDeployed { .. } = container.state {
            return if is_again {
                Err(Error::ClearKeyThere { partition })
            } else {
                binding::key_object_for(container, self.binding.key_object)
            };
        }
        let found = if container.has_tpm2_token() {
            KeyObjectKind::SystemdTpm2
        } else if container.is_labelled() && esp::has_sealed_key(esp).map_err(Error::esp)? {
            KeyObjectKind::Secboot
        } else {
            return Err(Error::NotOurs { partition });
        };
        match container.state {
            _ if is_again && found != wanted => Err(Error::OtherKeyObject { found }),
            _ if is_again => Ok(found),
            _ if !container.half_replaced().is_empty() => Err(Error::HalfReplaced { partition }),
            State::Interrupted => Ok(found),
            _ => Err(Error::AlreadyDeployed { partition }),
        }
    }

    /// What opens the container; `None` where an interrupted deploy is completed, which takes no key.
    fn unlocked(&self, parts: Parts<'_>, plan: &mut DeployPlan) -> Result<Option<Unlocked>, Error> {
        if let State::NotDeployed { clear_key } = &parts.container.state {
            return Ok(Some(Unlocked::ByClearKey(clear_key.clone())));
        }
        let Some(path) = &self.unlock_with else {
            return Ok(None);
        };
        let replaced = match plan.key_object {
            KeyObjectKind::Secboot => reseal::replaced(parts.container),
            KeyObjectKind::SystemdTpm2 => tokens::replaced(parts.container),
        };
        let opened = unlock::open(parts.container, parts.storage, path, &replaced)?;
        plan.again = Some(Again {
            unlocked: opened.keyslot,
            replaced,
        });
        Ok(Some(Unlocked::ByOwner(opened)))
    }

    fn open(&self) -> Result<Source, Error> {
        let source = if self.output.is_some() || self.dry_run {
            Source::open(&self.source, Lock::Shared)
        } else {
            Source::open_to_change(&self.source)
        };
        Ok(source.map_err(CommonError::SourceFile)?)
    }

    /// Checks the output's place, where there is one.
    fn checked_output(&self, source: &Source) -> Result<Option<(PathBuf, Replace)>, Error> {
        let Some(output) = &self.output else {
            return Ok(None);
        };
        let replace = if self.overwrite {
            Replace::Existing
        } else {
            Replace::Never
        };
        let checked = source
            .refuse_as_output(output)
            .and_then(|()| Output::check(output, replace));
        checked.map_err(CommonError::OutputFile)?;
        Ok(Some((output.clone(), replace)))
    }
}

/// The steps that complete a deploy that ended between the two header copies. The first one is written although it counts
/// already: where its flush has failed, the disk may not have it, and what the old copy names is overwritten next.
fn completing_steps(
    parts: Parts<'_>,
    key_object: KeyObjectKind,
    now: i64,
    entropy: &mut dyn Entropy,
) -> Result<Vec<Step>, Error> {
    let [first, second] = header::rewritten(parts.container, entropy)?;
    // Where keyslots are gone, nobody knows any more which areas were theirs.
    let gaps = header::gaps(parts.container.header.metadata());
    let mut tidy = header::overwriting(parts.container, &gaps, entropy)?;
    if key_object == KeyObjectKind::Secboot {
        let mending = esp::mending_step(parts.esp, parts.esp_start_bytes, now)?;
        tidy.writes.extend(mending.writes);
    }
    Ok(vec![first, tidy, second])
}

impl ReadyToDeploy {
    /// What will be done.
    pub fn plan(&self) -> &DeployPlan {
        &self.plan
    }

    /// What will be written, in its order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// A recovery key that was made for this deploy.
    pub fn new_recovery_key(&self) -> Option<&Recovery> {
        match &self.recovery {
            Some((RecoverySource::New(_), key)) => Some(key),
            _ => None,
        }
    }

    /// Reads the whole image for its digests before and after, without writing.
    pub fn digests(&self, observer: &dyn Observer, stop: &StopFlag) -> Result<Digests, Error> {
        observer.begin(Phase::Digest, self.source.len_bytes());
        digests::digests(&self.source, &self.steps, observer, stop)
    }

    /// Refuses what the output's file system has no room for. [`ReadyToDeploy::run`] begins with it.
    pub fn check_room(&self) -> Result<(), Error> {
        let Some((path, _)) = &self.copy else {
            return Ok(());
        };
        let needed_bytes = copy::data_bytes(&self.source, &self.header_copies)?;
        let folder = Output::directory(path);
        let free_bytes = image::free_bytes(&folder).map_err(CommonError::OutputFile)?;
        if free_bytes < needed_bytes && !copy::can_share(&self.source, &folder) {
            return Err(Error::Common(CommonError::NoSpace {
                needed_bytes,
                free_bytes,
                folder,
            }));
        }
        Ok(())
    }

    /// Does it. A stop is heard until the first write to an image in place, and until a copy gets its name.
    pub fn run(&self, observer: &dyn Observer, stop: &StopFlag) -> Result<Done, Error> {
        self.check_room()?;
        let key = match &self.recovery {
            Some((from, key)) => from.create_file(key)?,
            None => KeyFile::none(),
        };
        match &self.copy {
            None => self.change(key, stop),
            Some((path, replace)) => self.make_copy(path, *replace, key, observer, stop),
        }
    }

    /// Changes the image where it lies. The key's file is there before a header that counts may name its keyslot.
    fn change(&self, mut key: KeyFile, stop: &StopFlag) -> Result<Done, Error> {
        if stop.is_raised() {
            return Err(CommonError::Interrupted.into());
        }
        let disk = self.source.storage();
        let mut first_header: Option<Before> = None;
        let mut last_header: Option<Before> = None;
        let written = self.write_steps(disk, |step| {
            if step.phase.is_header() && first_header.is_none() {
                key.give_name()?;
                first_header = Some(Before::of(step, disk)?);
            }
            if step.phase == WritePhase::SecondHeader {
                last_header = Some(Before::of(step, disk)?);
            }
            Ok(())
        });
        // It may be whole and not durable: no run may take it for a sign that all is done.
        if let (Err(_), Some(before)) = (&written, last_header) {
            before.tear(disk);
        }
        match written {
            Ok(()) => Ok(Done(None)),
            Err(error) if first_header.is_none_or(|before| before.still_is(disk, &error)) => {
                Err(key.take_back(error))
            }
            Err(error) => Err(key.kept(error)),
        }
    }

    fn make_copy(
        &self,
        path: &Path,
        replace: Replace,
        key: KeyFile,
        observer: &dyn Observer,
        stop: &StopFlag,
    ) -> Result<Done, Error> {
        let (source, left_out) = (&self.source, &self.header_copies);
        let output = Output::create(path, source.len_bytes(), replace, Temporary::default());
        let output = output.map_err(CommonError::OutputFile)?;
        observer.begin(Phase::CopyImage, copy::data_bytes(source, left_out)?);
        copy::copy(source, output.storage(), left_out, observer, stop)?;
        // No step matters: there is no image yet.
        let written = self.write_steps(output.storage(), |_| Ok(()));
        written.map_err(|error| match error {
            Error::Write { source, .. } => Error::Copy(source),
            error => error,
        })?;
        let finished = output.finish().map_err(CommonError::OutputFile)?;
        if stop.is_raised() {
            return Err(CommonError::Interrupted.into());
        }
        let published = key.with(|| Ok(encrypt::publish(finished, observer, stop)?))?;
        Ok(Done::published(published))
    }

    fn write_steps(
        &self,
        disk: &dyn WriteAt,
        mut before: impl FnMut(&Step) -> Result<(), Error>,
    ) -> Result<(), Error> {
        step::write(&self.steps, disk, |step| {
            tracing::debug!("writing {} bytes: {}", step.len_bytes(), step.phase);
            before(step)
        })
    }
}

/// An image that is there, whole, and its new recovery key with it.
#[must_use = "a new image's name may not be durable"]
pub struct Done(Option<Published>);

impl Done {
    /// An image that has got its name.
    pub(crate) fn published(image: Published) -> Self {
        Self(Some(image))
    }

    /// Fails where the name of a new image may not outlast a power cut.
    pub fn durable(self) -> Result<(), Error> {
        let Some(mut copy) = self.0 else {
            return Ok(());
        };
        Ok(copy.durable().map_err(CommonError::OutputFile)?)
    }
}
