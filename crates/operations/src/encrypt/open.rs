//! The disk in the source, whatever it lies in.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common::backing::BackingFiles;
use crate::common::error::Error;
use crate::common::observer::{Observer, Phase, StopFlag};
use base::storage::ReadAt;
use image::{self, OpenDisk, Output, Packing, Scratch, Source};

/// Opens the disk, above its backing files, and unpacks it first where it is packed: beside the output that `beside`
/// names.
pub fn open(
    source: &Arc<Source>,
    backing: &BackingFiles,
    beside: impl FnOnce(Packing) -> Result<PathBuf, Error>,
    observer: &dyn Observer,
    stop: &StopFlag,
) -> Result<(OpenDisk, Option<Packing>), Error> {
    let disk_end_bytes = gpt::disk_end_bytes(source.storage())?;
    let opened = match image::open_disk_over(Arc::clone(source), disk_end_bytes, backing.files()) {
        Ok(opened) => opened,
        Err(error) => {
            let packing = match &error {
                image::Error::OtherFormat { format } => Packing::of(*format),
                _ => None,
            };
            let packing = packing.ok_or(Error::SourceFile(error))?;
            let output = beside(packing)?;
            let opened = unpack(source, backing, packing, &output, observer, stop)?;
            return Ok((opened, Some(packing)));
        }
    };
    Ok((opened, None))
}

/// Writes the plain bytes beside the output, and opens the disk in them.
fn unpack(
    source: &Source,
    backing: &BackingFiles,
    packing: Packing,
    output: &Path,
    observer: &dyn Observer,
    stop: &StopFlag,
) -> Result<OpenDisk, Error> {
    let scratch = Scratch::create(output).map_err(Error::OutputFile)?;
    observer.notice(&format!(
        "the source is packed ({packing}): its plain bytes pass through a file without a name in {}",
        Output::directory(output).display()
    ));
    observer.begin(Phase::Unpack, source.len_bytes());
    let told = AtomicU64::new(0);
    let unpacked = image::unpack(source, packing, scratch, &mut |read_bytes| {
        let before = told.swap(read_bytes, Ordering::Relaxed);
        observer.advance(read_bytes.saturating_sub(before));
        if stop.is_raised() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let unpacked = unpacked.map_err(|error| match error {
        image::Error::Stopped => Error::Interrupted,
        image::Error::Storage(error) => Error::Source(error),
        error @ image::Error::Scratch(_) => Error::OutputFile(error),
        error => Error::SourceFile(error),
    })?;
    let disk_end_bytes = gpt::disk_end_bytes(&unpacked)?;
    image::open_disk_over(unpacked, disk_end_bytes, backing.files()).map_err(Error::SourceFile)
}
