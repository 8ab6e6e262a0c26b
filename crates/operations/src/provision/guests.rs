//! The use case `provision`: from a plain image to one that a guest's vTPM opens, in one pass, for one guest or for several.
//!
//! It is `encrypt` and `deploy` in one. The deploy is planned on what `encrypt` would write, in memory, and written there:
//! the unlock key is sealed before the first byte of the output exists, and no token holds it at any time. Each guest has
//! a volume key, an unlock key and a growpart key of its own.
//!
//! The guests of a [`Batch`] are written in one pass that reads the source once. One that fails does not touch the others.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::common::backing::BackingFiles;
use crate::common::data_pass::{self, CHUNK_BYTES, Part, Pass};
use crate::deploy::key_file::KeyFile;
use crate::deploy::{self, Binding, Done, Error, Recovery};
use crate::encrypt::Job;
use crate::encrypt::{self, OpenedSource, ReadyToEncrypt, Shrunk, UnlockKey};
use crate::provision::bound::BoundImage;
use crate::{Error as CommonError, Observer, Phase, StopFlag};
use base::secret::Entropy;
use base::storage::{Cached, FileStorage, ReadAt, ReadOnce, Slice};
use image::{self, Lock, Output, Source};

/// The most guests of a batch: each has the 16 MiB before its segment, and what changes in its filesystems, in memory.
pub const AT_ONCE: usize = 16;

/// What is kept of the source while the guests of a batch are planned.
const KEPT_BYTES: usize = 64 << 20;

/// A plain image that is open.
pub struct PlainImage {
    opened: OpenedSource,
    digest: OnceLock<[u8; 32]>,
}

/// Guests that are written in one pass.
pub struct Batch<'a> {
    image: &'a PlainImage,
    /// The source's disk, where several guests read it.
    shared: Option<Arc<Shared>>,
}

type Shared = ReadOnce<Cached<Arc<dyn ReadAt>>>;

/// A guest's image that was found feasible; nothing is written yet.
pub struct GuestImage {
    ready: ReadyToEncrypt,
    bound: BoundImage,
}

/// A guest's image that is complete and has no name yet.
pub struct Written<'a> {
    image: &'a GuestImage,
    output: Output,
    key: KeyFile,
}

impl PlainImage {
    /// Opens an image, and the files below it, from the top down. A packed one is unpacked once, beside the output of the
    /// first of `jobs` whose place does.
    pub fn open(
        path: &Path,
        backing_files: &[PathBuf],
        jobs: impl IntoIterator<Item = Job>,
        observer: &dyn Observer,
        stop: &StopFlag,
    ) -> Result<Self, Error> {
        let source = Source::open(path, Lock::Shared).map_err(CommonError::SourceFile)?;
        let source = Arc::new(source);
        let backing = BackingFiles::open(backing_files)?;
        let (file, below) = (Arc::clone(&source), backing.clone());
        let beside = |_| {
            let checked = |job: Job| {
                job.check_output(&file, &below)?;
                Ok(job.output.unwrap_or(job.source))
            };
            first_that_does(jobs.into_iter().map(checked))
        };
        Ok(Self {
            opened: OpenedSource::new(source, backing, beside, observer, stop)?,
            digest: OnceLock::new(),
        })
    }

    /// Begins so many guests; [`AT_ONCE`] at most.
    pub fn batch(&self, guests: usize) -> Batch<'_> {
        let shared = if guests > 1 {
            let kept = Cached::new(Arc::clone(&self.opened.disk), KEPT_BYTES);
            Some(Arc::new(ReadOnce::new(kept, CHUNK_BYTES)))
        } else {
            None
        };
        Batch {
            image: self,
            shared,
        }
    }

    /// Length of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.opened.source.len_bytes()
    }

    /// SHA-256 of the file. The first call reads all of it.
    pub fn digest(&self, observer: &dyn Observer, stop: &StopFlag) -> Result<[u8; 32], Error> {
        if let Some(digest) = self.digest.get() {
            return Ok(*digest);
        }
        observer.begin(Phase::Digest, self.file_bytes());
        let digest = deploy::digest(&self.opened.source, observer, stop)?;
        Ok(*self.digest.get_or_init(|| digest))
    }
}

/// The first of these that is no error, else the first error.
fn first_that_does(
    places: impl Iterator<Item = Result<PathBuf, CommonError>>,
) -> Result<PathBuf, CommonError> {
    let mut first_error = None;
    for place in places {
        match place {
            Ok(place) => return Ok(place),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or(CommonError::OutputFile(image::Error::NoName)))
}

impl Batch<'_> {
    /// Plans a guest's image, `job.output`, down to its header. `now` is the time of all changes, in seconds since 1970.
    ///
    /// Nothing is written; whatever can be found wrong with image, guest and flags is found here.
    pub fn prepare(
        &self,
        job: Job,
        binding: &Binding,
        entropy: &mut dyn Entropy,
        now: i64,
    ) -> Result<GuestImage, Error> {
        let opened = &self.image.opened;
        job.check_output(&opened.source, &opened.backing)?;
        let disk: Arc<dyn ReadAt> = match &self.shared {
            Some(shared) => Arc::<Shared>::clone(shared),
            None => Arc::clone(&opened.disk),
        };
        let ready = job.prepare_on(opened, disk, UnlockKey::InMemory, entropy, now)?;
        let (plan, disk, bytes) = (ready.plan(), ready.prepared(), ready.file_bytes()?);
        let bound = BoundImage::new(plan, disk, bytes, binding, now, entropy)?;
        Ok(GuestImage { ready, bound })
    }

    /// Writes images of this batch, and tells of each what became of it. They have no names yet.
    pub fn write<'i>(
        &self,
        images: &'i [GuestImage],
        observer: &dyn Observer,
        stop: &StopFlag,
    ) -> Vec<Result<Written<'i>, Error>> {
        if let Some(shared) = &self.shared {
            shared.base().complete();
        }
        let mut room = Room::default();
        let make = |image| Begun::new(image, &mut room, observer, stop);
        let begun: Vec<_> = images.iter().map(make).collect();
        let live: Vec<_> = begun.iter().flatten().collect();
        let mut outcomes = encrypt(&live, observer, stop).into_iter();
        let complete = |begun: Result<Begun<'i>, Error>| {
            let Begun {
                image, output, key, ..
            } = begun?;
            outcomes.next().unwrap_or(Err(CommonError::Interrupted))?;
            image.ready.complete(&output)?;
            Ok(Written { image, output, key })
        };
        begun.into_iter().map(complete).collect()
    }
}

/// An image whose output is there, and holds nothing yet.
struct Begun<'a> {
    image: &'a GuestImage,
    output: Output,
    shrunk: Option<Shrunk>,
    key: KeyFile,
}

impl<'a> Begun<'a> {
    fn new(
        image: &'a GuestImage,
        room: &mut Room,
        observer: &dyn Observer,
        stop: &StopFlag,
    ) -> Result<Self, Error> {
        room.take(&image.ready)?;
        Ok(Self {
            image,
            output: image.ready.create()?,
            key: image.bound.key_file()?,
            shrunk: image.ready.shrunk(observer, stop)?,
        })
    }

    /// What the pass over the data makes, and where.
    fn pieces(&self) -> Result<([Part<'_>; 3], Slice<&FileStorage>), CommonError> {
        let ready = &self.image.ready;
        Ok((
            ready.parts(self.shrunk.as_ref())?,
            ready.disk_of(&self.output)?,
        ))
    }
}

/// The pass over the data, for all of these.
fn encrypt(
    begun: &[&Begun<'_>],
    observer: &dyn Observer,
    stop: &StopFlag,
) -> Vec<Result<(), CommonError>> {
    let threads = begun.first().map_or(1, |begun| begun.image.ready.threads());
    let pieces: Vec<_> = begun.iter().map(|begun| begun.pieces()).collect();
    let made = pieces.iter().flatten();
    let passes: Vec<_> = made.map(|(parts, disk)| Pass::new(parts, disk)).collect();
    observer.begin(Phase::Encrypt, passes.iter().map(Pass::total_bytes).sum());
    let mut outcomes = data_pass::run(passes, threads, observer, stop).into_iter();
    let outcome = |piece: Result<_, CommonError>| {
        piece?;
        outcomes.next().unwrap_or(Err(CommonError::Interrupted))
    };
    pieces.into_iter().map(outcome).collect()
}

/// What the outputs of a batch take of their file systems.
#[derive(Default)]
struct Room {
    /// Bytes by the number of the device.
    taken: HashMap<u64, u64>,
}

impl Room {
    /// Refuses what has no room beside those before it.
    fn take(&mut self, ready: &ReadyToEncrypt) -> Result<(), Error> {
        let folder = fs::metadata(Output::directory(&ready.plan().route.output));
        let device = folder.map_or(0, |folder| folder.dev());
        let taken = self.taken.entry(device).or_default();
        ready.check_room_beside(*taken)?;
        *taken += ready.needed_bytes();
        Ok(())
    }
}

impl GuestImage {
    /// What is encrypted, and how.
    pub fn plan(&self) -> &encrypt::EncryptPlan {
        self.ready.plan()
    }

    /// To whom it is bound, and how.
    pub fn binding(&self) -> &deploy::DeployPlan {
        self.bound.plan()
    }

    /// A recovery key that was made for this guest.
    pub fn new_recovery_key(&self) -> Option<&Recovery> {
        self.bound.new_recovery_key()
    }

    /// Refuses what the output's file system has no room for. [`Batch::write`] begins with it, and counts the batch's
    /// outputs together.
    pub fn check_room(&self) -> Result<(), Error> {
        Ok(self.ready.check_room_beside(0)?)
    }
}

impl Written<'_> {
    /// SHA-256 of the output, for which all of it is read.
    pub fn digest(&self, observer: &dyn Observer, stop: &StopFlag) -> Result<[u8; 32], Error> {
        observer.begin(Phase::Digest, self.output.storage().len_bytes());
        deploy::digest(self.output.storage(), observer, stop)
    }

    /// Gives a new recovery key its name, then the image. Where that fails, neither is left.
    pub fn publish(self, observer: &dyn Observer, stop: &StopFlag) -> Result<Done, Error> {
        let Self { image, output, key } = self;
        let finished = image.ready.finish(output, observer)?;
        if stop.is_raised() {
            return Err(CommonError::Interrupted.into());
        }
        let published = key.with(|| Ok(encrypt::publish(finished, observer, stop)?))?;
        Ok(Done::published(published))
    }
}
