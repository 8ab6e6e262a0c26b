//! Why a file cannot be read as a disk, or an output not be made.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::dynamic_vhd::DynamicVhdDefect;
use super::format::{BackingFormat, SourceFormat};
use super::other_format::OtherFormat;
use super::packed::{PackedDefect, Packing};
use super::qcow2::Qcow2Defect;
use super::vhdx::VhdxDefect;
use super::vmdk::VmdkDefect;
use base::storage;

/// What a path can name instead of a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A disk or a part of one.
    BlockDevice,
    /// A terminal, `/dev/null` and the like.
    CharacterDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl fmt::Display for FileKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Directory => "a directory",
            Self::BlockDevice => "a block device",
            Self::CharacterDevice => "a character device",
            Self::Fifo => "a named pipe",
            Self::Socket => "a socket",
        })
    }
}

/// Something that a user should know and that does not stop the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Azure takes whole mebibytes only.
    #[error("the VHD's disk of {disk_bytes} bytes is no multiple of 1 MiB, which Azure refuses")]
    NotWholeMebibytes {
        /// Length of the disk.
        disk_bytes: u64,
    },
    /// For this creator qemu takes the geometry for the size.
    #[error(
        "qemu reads the VHD as {geometry_bytes} bytes of its {disk_bytes}, because of its creator \
         and geometry"
    )]
    OtherSizeForQemu {
        /// Length of the disk.
        disk_bytes: u64,
        /// Cylinders x heads x sectors x 512.
        geometry_bytes: u64,
    },
    /// A guest may have chosen what a raw file below an image looks like.
    #[error(
        "the image does not state the format of its backing file, which is read as {format} by what it holds"
    )]
    BackingFormatNotStated {
        /// What it was taken for.
        format: SourceFormat,
    },
}

/// Why a file is no disk to us, or an output cannot be made or published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read or written.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The file could not be opened.
    #[error("cannot open the file")]
    Open(#[source] io::Error),
    /// The path names neither a regular file nor a block device.
    #[error("it is {kind}; only image files and block devices are read")]
    NotAFile {
        /// What it is.
        kind: FileKind,
    },
    /// Somebody else works with the file.
    #[error("the file is locked: another program works with it")]
    Locked,
    /// A block device that is mounted, mapped or otherwise claimed, or has a partition that is.
    #[error("the device is in use: it, or a partition of it, is mounted or part of another volume")]
    InUse,
    /// The guest would not find the partition table.
    #[error(
        "the device has sectors of {device_bytes} bytes, and the partition table is one for sectors of {table_bytes}: nobody would find it there"
    )]
    DeviceSectors {
        /// Sector size of the device.
        device_bytes: u64,
        /// Sector size of the disk that the table describes.
        table_bytes: u64,
    },
    /// An output device is shorter than the disk.
    #[error("the device has {device_bytes} bytes, and the disk takes {needed_bytes}")]
    DeviceTooShort {
        /// Length of the device.
        device_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// An output device that is not blank.
    #[error("the device is not blank")]
    DeviceNotBlank,
    /// There is not a single byte.
    #[error("the file is empty")]
    Empty,
    /// Neither a disk nor anything else that we could name.
    #[error(
        "the file is not a disk image: no partition table and no known format in {len_bytes} bytes"
    )]
    NotAnImage {
        /// Length of the file.
        len_bytes: u64,
    },
    /// A file system or volume on its own.
    #[error("the file holds {content} alone, not a disk with partitions")]
    NotADisk {
        /// What it holds.
        content: &'static str,
    },
    /// A format that must be converted first.
    #[error("the file is {format}, which is not read directly")]
    OtherFormat {
        /// Which one.
        format: OtherFormat,
    },
    /// The footer's checksum does not match.
    #[error("the VHD footer's checksum {stored:#010x} should be {computed:#010x}")]
    VhdChecksum {
        /// As stored, at offset 64 of the footer.
        stored: u32,
        /// One's complement of the sum of the footer's bytes.
        computed: u32,
    },
    /// A type other than fixed, dynamic and differencing.
    #[error("the VHD footer's disk type {kind} is not 2 (fixed)")]
    VhdType {
        /// As stored, at offset 60 of the footer.
        kind: u32,
    },
    /// The footer describes a disk that does not fill the file: truncated, or something was put in between.
    #[error("the VHD footer says {stated_bytes} bytes of disk, before it lie {disk_bytes}")]
    VhdSize {
        /// Current size, at offset 48 of the footer.
        stated_bytes: u64,
        /// Length of the file less the footer.
        disk_bytes: u64,
    },
    /// A dynamic VHD that contradicts itself.
    #[error("the dynamic VHD is damaged: {defect}")]
    DynamicVhd {
        /// What is wrong.
        defect: DynamicVhdDefect,
    },
    /// A qcow2 image that is damaged, or has something that is not read.
    #[error("the qcow2 image cannot be read: {defect}")]
    Qcow2 {
        /// What is wrong.
        defect: Qcow2Defect,
    },
    /// What is wrong with a file below an image.
    #[error("the backing file {}: {}", path.display(), whole(problem))]
    BackingFile {
        /// The file that the user named.
        path: PathBuf,
        /// What is wrong with it.
        problem: Box<Error>,
    },
    /// The user named a file below an image that has none.
    #[error("it has no backing file, but {} was named as one", named.display())]
    NoBackingFile {
        /// The file.
        named: PathBuf,
    },
    /// The file below an image is not what the image states.
    #[error("it is no {stated} image, though the image above it says so")]
    NotAsStated {
        /// The format.
        stated: BackingFormat,
    },
    /// A VMDK that is damaged, or has something that is not read.
    #[error("the VMDK image cannot be read: {defect}")]
    Vmdk {
        /// What is wrong.
        defect: VmdkDefect,
    },
    /// A VHDX that is damaged, or has something that is not read.
    #[error("the VHDX image cannot be read: {defect}")]
    Vhdx {
        /// What is wrong.
        defect: VhdxDefect,
    },
    /// A packed image that cannot be unpacked.
    #[error("the {packing} file cannot be unpacked: {defect}")]
    Packed {
        /// How it is packed.
        packing: Packing,
        /// What is wrong.
        defect: PackedDefect,
    },
    /// The plain bytes of a packed image could not be written beside the output.
    #[error("the plain bytes of the packed source could not be written beside the output")]
    Scratch(#[source] storage::Error),
    /// The path has no last part that could name a file.
    #[error("the output's path names no file")]
    NoName,
    /// The output's directory is not there.
    #[error("the output's directory {} does not exist", directory.display())]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// What should be the output's directory is something else.
    #[error("{} is not a directory", directory.display())]
    NotADirectory {
        /// The path.
        directory: PathBuf,
    },
    /// No file can be made in the output's directory.
    #[error("cannot make a file in the directory {}", directory.display())]
    CannotCreate {
        /// The directory.
        directory: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The output's name could not be looked up.
    #[error("cannot look up the output's name")]
    Target(#[source] io::Error),
    /// The output is there and was not to be replaced.
    #[error("the output exists already")]
    Exists,
    /// The output is there, and is nothing that may be replaced.
    #[error("the output is {kind}, which is not replaced")]
    TargetNotAFile {
        /// What it is.
        kind: FileKind,
    },
    /// A symbolic link that leads nowhere: which file to replace is not known.
    #[error("the output is a symbolic link that leads to no file")]
    DanglingLink,
    /// Output and source are one file, perhaps by a link.
    #[error("the output is the source itself")]
    OutputIsSource,
    /// Mode or owner of the output could not be set.
    #[error("cannot set the output's mode or owner")]
    Attributes(#[source] io::Error),
    /// The complete file could not be given its name, and is gone.
    #[error("cannot give the finished output its name")]
    Publish(#[source] io::Error),
    /// The publishing was called off; the file is gone.
    #[error("stopped before the output got its name")]
    Stopped,
    /// The file has its name, but the directory could not be flushed.
    #[error("the output is complete, but its directory could not be flushed")]
    SyncDirectory(#[source] io::Error),
    /// The room in a directory could not be learnt.
    #[error("cannot learn how much room there is in {}", directory.display())]
    Space {
        /// The directory.
        directory: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// An error with its causes, in one line.
fn whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The way out where a backing file is not named.
const NAME_IT: &str = "name the file to read, the one in the image is not followed: --backing-file FILE, once for each file below, from the top down";

impl From<Error> for io::Error {
    /// The operating system's part of it, where there is one.
    fn from(error: Error) -> Self {
        match error {
            Error::Open(source)
            | Error::CannotCreate { source, .. }
            | Error::Target(source)
            | Error::Attributes(source)
            | Error::Publish(source)
            | Error::SyncDirectory(source)
            | Error::Space { source, .. } => source,
            Error::Storage(error) => error.into(),
            Error::Exists => Errno::EXIST.into(),
            Error::NoDirectory { .. } => Errno::NOENT.into(),
            Error::NotADirectory { .. } => Errno::NOTDIR.into(),
            error => io::Error::other(error),
        }
    }
}

impl Error {
    /// The command that is a way out, where there is one; `path` is the file that the error is about.
    pub fn hint(&self, path: &Path) -> Option<String> {
        match self {
            Self::OtherFormat { format } => Some(format.conversion(path)),
            Self::Packed {
                packing,
                defect: PackedDefect::Holds(_) | PackedDefect::Memory | PackedDefect::Method(_),
            } => Some(OtherFormat::from(*packing).conversion(path)),
            Self::BackingFile { path, problem } => problem.hint(path),
            Self::Qcow2 {
                defect: Qcow2Defect::BackingFile { .. },
            } => Some(NAME_IT.to_owned()),
            Self::NoBackingFile { .. } => Some(
                "--backing-file is given once for each file below an image, from the top down"
                    .to_owned(),
            ),
            Self::Qcow2 {
                defect: Qcow2Defect::Unsupported(_) | Qcow2Defect::BackingFormat { .. },
            } => Some(OtherFormat::Qcow2.conversion(path)),
            Self::Vmdk {
                defect: VmdkDefect::Kind { .. } | VmdkDefect::Unsupported(_),
            } => Some(OtherFormat::Vmdk.conversion(path)),
            Self::Vhdx {
                defect: VhdxDefect::Log | VhdxDefect::Parent,
            } => Some(OtherFormat::Vhdx.conversion(path)),
            Self::InUse => Some("unmount it first, and close what else uses it".to_owned()),
            Self::DeviceNotBlank => Some(
                "--overwrite writes over what stands there, which is lost with the first write"
                    .to_owned(),
            ),
            Self::NoName => Some("name the file itself: FOLDER/NAME".to_owned()),
            _ => None,
        }
    }
}
