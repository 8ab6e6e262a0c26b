//! What a use case tells while it runs, and how it is told to stop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use image::PublishStep;

/// Takes what a use case has to tell. The command line shows it; tests watch it, and kill there.
pub trait Observer: Sync {
    /// A phase of long work begins; `total_bytes` is how far [`Observer::advance`] will count.
    fn begin(&self, phase: Phase, total_bytes: u64);

    /// So many bytes more of the phase are done. Called from several threads.
    fn advance(&self, bytes: u64);

    /// Something that the user should hear before long work begins.
    fn notice(&self, _text: &str) {}

    /// The output is about to take this step towards its name.
    fn publishing(&self, step: PublishStep);
}

/// A phase of long work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A packed source is unpacked.
    Unpack,
    /// The plain filesystem is copied, to be shrunk.
    CopyFilesystem,
    /// `resize2fs` runs; it does not tell how far it is.
    ShrinkFilesystem,
    /// The source is read, encrypted and written.
    Encrypt,
    /// What was written is being made durable.
    Flush,
    /// The encrypted image is copied.
    CopyImage,
    /// The image is read for its digests.
    Digest,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unpack => "unpacking",
            Self::CopyFilesystem => "copying the filesystem",
            Self::ShrinkFilesystem => "shrinking the filesystem",
            Self::Encrypt => "encrypting",
            Self::Flush => "flushing",
            Self::CopyImage => "copying the image",
            Self::Digest => "digesting the image",
        })
    }
}

/// Who watches a run, and what ends it.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Is told how far it is.
    pub observer: &'a dyn Observer,
    /// Ends it at its next step.
    pub stop: &'a StopFlag,
}

/// Raised from outside, by a signal handler, to make a use case end at its next step.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the use case to end.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once the flag was raised.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for a signal handler, which may do no more than store into it.
    pub fn shared(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}
