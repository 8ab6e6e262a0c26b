//! Images that are packed: compressed by gzip, xz or zstd, or a member of a ZIP archive.
//!
//! None of them can be read at random, so [`unpack`] writes the plain bytes into a [`Scratch`], a file without a name
//! beside the output, from where the disk is read like any other. Runs of zeros become holes there, so a sparse image
//! takes the room of its data. What it takes is bounded by the room on the file system; what the unpacking takes in
//! memory, by [`MAX_MEMORY_BYTES`]. The checksums that the formats have are checked.

mod scratch;
mod sink;
mod zip;

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};

pub use scratch::Scratch;

use self::sink::Sink;
use super::other_format::OtherFormat;
use super::{Error, Result};
use base::storage::{self, FileStorage, ReadAt};

/// What a stream may make its decoder allocate: the window of zstd's own program, twice that for xz.
const MAX_WINDOW_BYTES: u64 = 128 << 20;
/// The dictionary of xz: four times that of its largest preset.
pub const MAX_MEMORY_BYTES: u64 = 256 << 20;

/// How much of the packed file is read at a time.
const READ_BYTES: usize = 256 << 10;

/// How an image is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// The first member of a ZIP archive whose name ends in `.img` or `.vhd`.
    Zip,
    /// One gzip member or several.
    Gzip,
    /// One xz stream or several.
    Xz,
    /// One zstd frame or several.
    Zstd,
}

impl Packing {
    /// The packing of a file of this format, if it is one.
    pub fn of(format: OtherFormat) -> Option<Self> {
        Some(match format {
            OtherFormat::Zip => Self::Zip,
            OtherFormat::Gzip => Self::Gzip,
            OtherFormat::Xz => Self::Xz,
            OtherFormat::Zstd => Self::Zstd,
            _ => return None,
        })
    }
}

impl From<Packing> for OtherFormat {
    fn from(packing: Packing) -> Self {
        match packing {
            Packing::Zip => Self::Zip,
            Packing::Gzip => Self::Gzip,
            Packing::Xz => Self::Xz,
            Packing::Zstd => Self::Zstd,
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zip => "ZIP",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

/// Why a packed image cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackedDefect {
    /// The end is missing.
    #[error("it ends too early: it was cut off, or its end is damaged")]
    CutOff,
    /// Something in it is not as its format has it.
    #[error("it is damaged")]
    Damaged,
    /// A checksum does not match.
    #[error("it is damaged: a checksum does not match")]
    Checksum,
    /// The decoder would need more memory than we give.
    #[error("unpacking it needs more memory than the {} MiB that are allowed", MAX_MEMORY_BYTES >> 20)]
    Memory,
    /// The archive holds no image.
    #[error("it has no member whose name ends in .img or .vhd")]
    NoMember,
    /// The member is encrypted.
    #[error("the image in it is encrypted by a password")]
    Encrypted,
    /// The member is compressed in a way that is not read.
    #[error(
        "the image in it is compressed by method {0}; 0 (stored), 8 (deflate) and 9 (deflate64) are read"
    )]
    Method(u16),
    /// There is nothing in it.
    #[error("the image in it is empty")]
    Empty,
    /// What is in it must be converted first.
    #[error("in it is {0}, which is not read directly")]
    Holds(OtherFormat),
}

/// Unpacks a file into a scratch file. `told` hears how far the packed file was read, and can call it off.
pub fn unpack(
    file: &dyn ReadAt,
    packing: Packing,
    scratch: Scratch,
    told: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<FileStorage> {
    let mut input = Input::new(file);
    let mut sink = Sink::new(&scratch, told);
    let unpacked = {
        let reader = BufReader::with_capacity(READ_BYTES, &mut input);
        match packing {
            Packing::Zip => zip::unpack(reader, &mut sink),
            Packing::Gzip => sink.take(&mut MultiGzDecoder::new(reader), |reader| {
                position(reader.get_ref())
            }),
            Packing::Xz => {
                let limit = u32::try_from(MAX_MEMORY_BYTES >> 10).unwrap_or(u32::MAX);
                let mut xz = XzReader::new_mem_limit(reader, true, limit);
                sink.take(&mut xz, |xz| position(xz.inner()))
            }
            Packing::Zstd => unpack_zstd(reader, &mut sink),
        }
    };
    let unpacked = unpacked.and_then(|()| sink.finish());
    match unpacked {
        Ok(0) => Err(defect(packing, PackedDefect::Empty)),
        Ok(len_bytes) => scratch.finish(len_bytes),
        Err(Failure::Defect(found)) => Err(defect(packing, found)),
        Err(Failure::Stopped) => Err(Error::Stopped),
        Err(Failure::Write(error)) => Err(Error::Scratch(error)),
        Err(Failure::Read(error)) => Err(match input.failure.take() {
            Some(failure) => Error::Storage(failure),
            None => defect(packing, judge(&error)),
        }),
    }
}

fn defect(packing: Packing, defect: PackedDefect) -> Error {
    Error::Packed { packing, defect }
}

/// Why an unpacking ended.
enum Failure {
    /// The decoder, or the file below it.
    Read(io::Error),
    /// The scratch file.
    Write(storage::Error),
    /// It was called off.
    Stopped,
    /// What was found.
    Defect(PackedDefect),
}

/// The packed file, as a stream.
struct Input<'a> {
    file: &'a dyn ReadAt,
    at: u64,
    /// What the operating system said; decoders hand on less.
    failure: Option<storage::Error>,
}

impl<'a> Input<'a> {
    fn new(file: &'a dyn ReadAt) -> Self {
        Self {
            file,
            at: 0,
            failure: None,
        }
    }
}

/// What is wrong with the file where a decoder fails with this.
fn judge(error: &io::Error) -> PackedDefect {
    match error.kind() {
        io::ErrorKind::OutOfMemory => PackedDefect::Memory,
        io::ErrorKind::UnexpectedEof => PackedDefect::CutOff,
        _ => PackedDefect::Damaged,
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.len_bytes().saturating_sub(self.at);
        let count = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.file.read_exact_at(&mut buffer[..count], self.at);
        if let Err(error) = read {
            self.failure = Some(error);
            return Err(io::Error::other("the packed file"));
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Input<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.file.len_bytes().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// How far the packed file was read.
fn position(reader: &BufReader<&mut Input<'_>>) -> u64 {
    reader.get_ref().at
}

/// Frames one after the other; those that say that they can be skipped are.
fn unpack_zstd(
    mut reader: BufReader<&mut Input<'_>>,
    sink: &mut Sink<'_>,
) -> std::result::Result<(), Failure> {
    while !reader.fill_buf().map_err(Failure::Read)?.is_empty() {
        match StreamingDecoder::new_with_max_window_size(&mut reader, MAX_WINDOW_BYTES) {
            Ok(mut frame) => {
                sink.take(&mut frame, |frame| position(frame.get_ref()))
                    .map_err(of_zstd)?;
                let decoder = frame.into_frame_decoder();
                let stored = decoder.get_checksum_from_data();
                if stored.is_some() && stored != decoder.get_calculated_checksum() {
                    return Err(Failure::Defect(PackedDefect::Checksum));
                }
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = u64::from(length);
                let skipped = io::copy(&mut (&mut reader).take(length), &mut io::sink());
                if skipped.map_err(Failure::Read)? < length {
                    return Err(Failure::Defect(PackedDefect::CutOff));
                }
            }
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => {
                return Err(Failure::Defect(PackedDefect::Memory));
            }
            Err(error) => return Err(of_zstd(Failure::Read(io::Error::other(error)))),
        }
    }
    Ok(())
}

/// The decoder wraps the end of its input in errors of its own.
fn of_zstd(failure: Failure) -> Failure {
    let Failure::Read(error) = &failure else {
        return failure;
    };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            if io.kind() == io::ErrorKind::UnexpectedEof {
                return Failure::Read(io::ErrorKind::UnexpectedEof.into());
            }
            // The source of an error made of another is that one's source.
            cause = io.get_ref().map(|inner| inner as _);
        } else {
            cause = error.source();
        }
    }
    failure
}
